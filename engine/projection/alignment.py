"""Which words of a sentence and of its translation say the same: pairs of positions, or a matrix of how surely they do.

The sandbox's own alignments are in `engine.data.sandbox.translations`; aligners in `engine.projection.aligners`.
"""

from collections.abc import Iterable

import numpy as np

from engine.errors import DataError

Alignment = tuple[tuple[int, int], ...]  # (source word, target word), both from 0


def as_matrix(alignment: Iterable[tuple[int, int]] | np.ndarray, source: int, target: int) -> np.ndarray:
    """Return an alignment of `source` and `target` words as float32 (source, target): 1 where two words align, 0 elsewhere.

    A soft alignment, which is such a matrix with numbers of 0 to 1, is returned as it is. Raises DataError where the alignment
    points outside of the sentences.
    """
    if isinstance(alignment, np.ndarray):
        if alignment.shape != (source, target):
            raise DataError(f"a soft alignment of {source} and {target} words has shape {alignment.shape}: it needs {source, target}.")
        return alignment.astype(np.float32, copy=False)
    matrix = np.zeros((source, target), np.float32)
    for i, j in alignment:
        if not (0 <= i < source and 0 <= j < target):
            raise DataError(f"the alignment has {i, j}, which is outside of sentences of {source} and {target} words, counted from 0.")
        matrix[i, j] = 1.0
    return matrix


def as_pairs(matrix: np.ndarray) -> Alignment:
    """Return the pairs of words, in order, at which a matrix (source, target) is not 0."""
    return tuple(map(tuple, np.argwhere(matrix).tolist()))
