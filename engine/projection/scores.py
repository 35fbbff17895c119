"""How well spans of a translation fit the entities of a sentence: scores, float (S, T) of S entities and T candidates.

Entities and candidates are spans, (first word, word after the last). Formulas: the thesis behind Politov et al. 2025; they are
given in docs/projection.md.
"""

from collections.abc import Sequence

import numpy as np

from engine.errors import DataError
from engine.projection.candidates import Candidates


def align(matrix: np.ndarray, entities: Sequence[tuple[int, int]], candidates: Candidates) -> np.ndarray:
    """Return the sum of the alignment between the words of both, by the number of their words.

    `matrix`: the alignment, float32 (source words, target words). At most a half where every word has one counterpart.
    """
    first, stop = candidates.T
    scores = np.empty((len(entities), len(candidates)))
    for row, (start, end) in zip(scores, entities, strict=True):
        aligned = _running(matrix[start:end].sum(0, dtype=float))
        row[:] = (aligned[stop] - aligned[first]) / (end - start + stop - first)
    return scores


def by_type(probabilities: np.ndarray, tags: Sequence[str], candidates: Candidates, alpha: float, threshold: float) -> dict[str, np.ndarray]:
    """Return for each entity type how surely each candidate is one such entity, (T,), by a tagger's probabilities (words, K).

    The mean over its words of the probability of B- at the first and of I- at the others, times `alpha` for each word but
    the first, since long spans are less probable; 0 below `threshold`. `tags`: the K tags.
    """
    first, stop = candidates.T
    columns = {tag: probabilities[:, index].astype(float) for index, tag in enumerate(tags)}
    scores = {}
    for kind in sorted({tag[2:] for tag in tags if tag != "O"}):
        inside = _running(columns[f"I-{kind}"])
        sums = columns[f"B-{kind}"][first] + inside[stop] - inside[first + 1]
        score = alpha ** (stop - first - 1) * sums / (stop - first)
        scores[kind] = np.where(score < threshold, 0.0, score)
    return scores


def ner(likely: dict[str, np.ndarray], kinds: Sequence[str]) -> np.ndarray:
    """Return (S, T): of each entity's type the candidates' scores, by type as `by_type` returns them.

    Raises DataError for a type that the tagger does not know.
    """
    unknown = ", ".join(sorted({*kinds} - {*likely}))
    if unknown:
        raise DataError(f"the sentence has entities of type {unknown}, which the tagger does not know: it has {', '.join(likely)}.")
    return np.array([likely[kind] for kind in kinds])


def ner_spans(likely: dict[str, np.ndarray], entities: int) -> np.ndarray:
    """Return (S, T): for each of S `entities` the candidates' highest score over the types."""
    return np.tile(np.max(list(likely.values()), axis=0), (entities, 1))


def nmt(given: np.ndarray | None, shape: tuple[int, int], threshold: float) -> np.ndarray:
    """Return a translation model's scores (S, T), with 0 for those below the threshold. Raises DataError for another shape."""
    if given is None or given.shape != shape:
        raise DataError(
            f"a translation model's scores of {shape[0]} entities and {shape[1]} candidates are needed, and there are "
            f"{'none' if given is None else given.shape}."
        )
    return np.where(given < threshold, 0.0, given)


def _running(values: np.ndarray) -> np.ndarray:
    """Sums of the values before each place, and of all: so that a span's sum is one difference."""
    return np.concatenate([[0.0], np.cumsum(values)])
