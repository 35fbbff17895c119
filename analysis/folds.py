"""Folds of languages: which rows are predicted when a language is held out, and which the models are then fitted on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from analysis.pairs import FEWEST, required
from engine.errors import DataError, StudyError, did_you_mean

BY = ("target", "source", "language", "family")


@dataclass(frozen=True, eq=False)
class Folds:
    """What is held out in turn; `analysis.regress.held_out` says what each way means.

    `units`: the languages or families. `tested`, `excluded`: (n, units) bool, the rows to predict and those not to train on.
    """

    units: list[str]
    tested: np.ndarray
    excluded: np.ndarray

    @classmethod
    def of(cls, frame: pl.DataFrame, by: str, source: str, target: str, family: str) -> "Folds":
        """Read the roles of a table. Raises StudyError for another `by`, DataError for fewer than 4 units."""
        if by not in BY:
            raise StudyError(f"by={by!r}: what can be held out is {', '.join(BY)}.{did_you_mean(by, BY)}")
        sources, targets = frame[source].str.split("+").to_list(), [[name] for name in frame[target]]
        if by == "family":
            required(frame, (family,))
            targets = [[name or code[0]] for name, code in zip(frame[family], targets, strict=True)]
        held = sources if by == "source" else targets
        units = np.array(sorted({name for names in held for name in names}))
        tested = _members(held, units)
        excluded = tested | _members(sources, units) if by == "language" else tested
        possible = ~excluded.all(axis=0)  # without a language that all rows have, nothing would be left to train on
        if possible.sum() < FEWEST:
            raise DataError(f"{possible.sum()} of {by} can be held out, and at least {FEWEST} are needed to speak of a new one.")
        return cls(units[possible].tolist(), tested[:, possible], excluded[:, possible])

    def splits(self, train: np.ndarray, groups: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """For each group of units' numbers: the group, the training rows without it, and those that test it, (n,) bool.

        A group that leaves no row to train on, or none to test, is passed over.
        """
        for group in groups:
            check = train & self.tested[:, group].any(axis=1)
            fit = train & ~self.excluded[:, group].any(axis=1)
            if check.any() and fit.any():
                yield group, fit, check


def _members(names: list[list[str]], units: np.ndarray) -> np.ndarray:
    place = {name: column for column, name in enumerate(units)}
    members = np.zeros((len(names), len(units)), dtype=bool)
    for row, held in enumerate(names):
        members[row, [place[name] for name in held if name in place]] = True
    return members
