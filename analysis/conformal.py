"""Prediction intervals for a new language, from the errors on languages that a model was not fitted on.

The hierarchical jackknife+ (Lee, Barber & Willett 2023) with folds (CV+: Barber, Candes, Ramdas & Tibshirani 2021): what is
exchangeable is the languages, not the rows. So each of L languages has the mass 1 / (L + 1), shared by its rows, and the new
one the rest, at infinity. The guarantee is 1 - 2 alpha; what is seen is near 1 - alpha, a little above it where L is small.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Fold:
    """One fold's model: `center`, (m,), what it predicts for the new rows; `residual`, (n,), its absolute errors on the rows
    of the languages that it was fitted without; `languages`, (n, l) bool, whose rows these are.
    """

    center: np.ndarray
    residual: np.ndarray
    languages: np.ndarray


def interval(folds: Sequence[Fold], level: float) -> tuple[np.ndarray, np.ndarray]:
    """The low and high ends for the new rows, (m,) each; NaN where L / (L + 1) < level: no finite interval covers so much."""
    number = sum(int(fold.languages.any(axis=0).sum()) for fold in folds)
    center = np.array([fold.center for fold in folds])
    if number / (number + 1) < level:
        return np.full(center.shape[1:], np.nan), np.full(center.shape[1:], np.nan)
    steps = [_steps(fold, number) for fold in folds]
    return -_quantile(-center, steps, level), _quantile(center, steps, level)


def _steps(fold: Fold, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Residuals, ascending (n,), and the mass below each place among them, (n + 1,)."""
    shares = fold.languages / np.maximum(fold.languages.sum(axis=0), 1)
    ascending = np.argsort(fold.residual)
    mass = shares.sum(axis=1)[ascending] / (number + 1)
    return fold.residual[ascending], np.concatenate([[0.0], np.cumsum(mass)])


def _quantile(center: np.ndarray, steps: list[tuple[np.ndarray, np.ndarray]], level: float) -> np.ndarray:
    """The least value below which lies `level` of the mass of center[j] + residuals of j, for each column of `center`, (j, m).

    Found by bisection, for the mass grows with the value; all the values would fill an array of m x n.
    """
    low, high = center.min(axis=0), center.max(axis=0) + max(residual[-1] for residual, _ in steps)
    for _ in range(50):
        middle = (low + high) / 2
        below = np.zeros(len(middle))
        for each, (residual, mass) in zip(center, steps, strict=True):
            below += mass[np.searchsorted(residual, middle - each, side="right")]
        enough = below >= level - 1e-12
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high
