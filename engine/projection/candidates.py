"""Where in a translation an entity may stand: spans of target words, as (first word, word after the last)."""

from collections.abc import Sequence

import numpy as np

from engine.tasks.ner import spans

Candidates = np.ndarray  # (T, 2) int: first word, word after the last


def ngrams(words: int, longest: int) -> Candidates:
    """Return all spans of 1 to `longest` of the `words` words of a sentence, the short ones first."""
    lengths = range(1, min(longest, words) + 1)
    return np.array([(start, start + length) for length in lengths for start in range(words - length + 1)], int).reshape(-1, 2)


def predicted(probabilities: np.ndarray, tags: Sequence[str]) -> Candidates:
    """Return the spans of whatever type that are most probable by a tagger's `probabilities`, (words, K) of K IOB2 `tags`."""
    found = spans([tags[index] for index in probabilities.argmax(-1)])
    return np.array([(first, last + 1) for _, first, last in found], int).reshape(-1, 2)
