"""Aligners: pairs of sentences to word alignments. The protocol, and the one by an encoder's states.

Those that count are in `engine.projection.statistical`, the ways to take pairs from similarities in `engine.projection.extract`.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch

from engine.data.sentences import Sentence
from engine.errors import StudyError
from engine.models.embed import Embedder
from engine.projection.alignment import Alignment, as_pairs
from engine.projection.extract import argmax, both_ways, itermax, match
from engine.projection.statistical import StatisticalAligner
from engine.spec import WordAlignment

Words = Sequence[str]
MUTUAL: dict[str, Callable[[np.ndarray], np.ndarray]] = {"argmax": argmax, "itermax": itermax, "match": match}


class Aligner(Protocol):
    """Aligns words of sentences with those of their translations."""

    def __call__(self, pairs: Sequence[tuple[Words, Words]]) -> list[Alignment]:
        """Return the alignment of each pair (source words, target words), in order."""


def new_aligner(
    settings: WordAlignment, checkpoint: str = "", max_tokens: int = 256, precision: str = "fp32", device: str = "cpu"
) -> Aligner:
    """Return the aligner that the settings ask for.

    `checkpoint`: the folder or hub id of the encoder, for aligner "embedding", where the settings name none. Raises
    StudyError where the aligner's package is not installed, and for "gold", which is looked up; ModelError where the
    checkpoint cannot be had.
    """
    if settings.aligner == "gold":
        raise StudyError("aligner='gold' is looked up with the translation (engine.data.sandbox.translations), not computed.")
    if settings.aligner == "embedding":
        embedder = Embedder(settings.checkpoint or checkpoint, max_tokens, precision, torch.device(device))
        return EmbeddingAligner(embedder, settings)
    return StatisticalAligner(settings.aligner)


class EmbeddingAligner:
    """Aligns words by the states of an encoder's layer: SimAlign (Jalili Sabet et al. 2020), awesome-align (Dou & Neubig 2021)."""

    def __init__(self, embedder: Embedder, settings: WordAlignment) -> None:
        self.embedder, self.settings = embedder, settings

    def __call__(self, pairs: Sequence[tuple[Words, Words]]) -> list[Alignment]:
        """Return the alignment of each pair (source words, target words)."""
        return [as_pairs(matrix) for matrix in self.soft(pairs)]

    def soft(self, pairs: Sequence[tuple[Words, Words]]) -> list[np.ndarray]:
        """Return for each pair float32 (source words, target words): 0 where two words do not align.

        Elsewhere 1, but with "softmax" the harmonic mean of the two directions' probabilities; of several subwords' the largest.
        """
        sides = [self._states([side[n] for side in pairs]) for n in (0, 1)]
        return [self._align(source, target) for source, target in zip(*sides, strict=True)]

    def _states(self, sentences: Sequence[Words]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each sentence's states (n, d) and whose word each is (n,), from 0."""
        return self.embedder.subwords([Sentence(tuple(words)) for words in sentences], self.settings.layer)

    def _align(self, source: tuple[np.ndarray, np.ndarray], target: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        (ours, our_words), (theirs, their_words) = source, target
        shape = our_words[-1] + 1, their_words[-1] + 1
        if self.settings.units == "words":
            (ours, our_words), (theirs, their_words) = _mean(ours, our_words), _mean(theirs, their_words)
        scores = self._scores(ours, theirs)
        aligned = np.zeros(shape, np.float32)
        np.maximum.at(aligned, (our_words[:, None], their_words), scores)
        return aligned

    def _scores(self, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        """How surely each of ours aligns with each of theirs, 0 to 1."""
        if self.settings.extraction == "softmax":
            forward, backward = both_ways(ours @ theirs.T)
            sure = (forward > self.settings.threshold) & (backward > self.settings.threshold)
            return np.where(sure, 2 * forward * backward / np.maximum(forward + backward, 1e-9), 0.0)
        cosine = _unit(ours) @ _unit(theirs).T
        return MUTUAL[self.settings.extraction]((cosine + 1) / 2).astype(np.float32)


def _mean(states: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean state of each word, and the words."""
    sums = np.zeros((words[-1] + 1, states.shape[1]), np.float32)
    np.add.at(sums, words, states)
    return sums / np.bincount(words)[:, None], np.arange(len(sums))


def _unit(states: np.ndarray) -> np.ndarray:
    return states / np.maximum(np.linalg.norm(states, axis=1, keepdims=True), 1e-9)
