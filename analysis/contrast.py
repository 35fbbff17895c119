"""Contrasts over pairs of languages: method against method, near against far, loss per share of what was edited.

Source sets are `analysis.diversity`'s, sentences `analysis.sentences`', volumes `analysis.curves`'. Estimates, their
intervals by language (`analysis.jackknife`) and, in `analysis.design`, the simulation of their power come from the same
functions: given weights of the pairs, they return an estimate for each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.jackknife import Jackknife
from analysis.pairs import Pairs, required
from engine.errors import DataError


@dataclass(frozen=True, eq=False)
class Matched:
    """Pairs that have an outcome at every value of a column.

    `outcomes`: (n, values). `features`: (features, n, values). `left_out`: how many pairs lack one of these.
    """

    pairs: Pairs
    outcomes: np.ndarray
    features: np.ndarray
    values: tuple[str, ...]
    left_out: int


def paired(
    frame: pl.DataFrame, outcome: str, by: str, source: str = "source", target: str = "target",
) -> pl.DataFrame:  # fmt: skip
    """Mean outcome at each value of `by` (method, setting, perturbation), and its differences to the first value.

    Differences are within pairs: those that lack a value of `by` are left out. Values stand in the order in which the
    table first has them. Returns the columns of `estimates`. Raises DataError as `matched`.
    """
    table = matched(frame, outcome, by, [], source, target)
    return estimates(table, lambda weights: mean(weights) @ table.outcomes)


def degradation(
    frame: pl.DataFrame, outcome: str, distance: str, by: str, source: str = "source", target: str = "target",
    split: float | None = None, hold: str | None = None,
) -> pl.DataFrame:  # fmt: skip
    """How an outcome changes with distance at each value of `by` (Q4), and how that differs from the first value.

    These differences are the interaction of distance and method. The estimate is the slope, outcome per unit of
    distance; with `split`, it is the mean of the pairs farther apart than that (distant) minus the mean of the others
    (related). `hold`: "target" compares only the sources of one target with each other, so that a target's own
    difficulty is held fixed ("source" likewise); without it, far targets that are hard for other reasons are in the
    estimate. A role of so few languages that it is fixed (`analysis.jackknife`) is held if none is named. Pairs of unknown
    distance are left out. Returns and raises as `paired`, and raises DataError where distances do not vary.
    """
    table = matched(frame, outcome, by, [distance], source, target)
    x = table.features[0, :, 0]
    x = x if split is None else (x > split).astype(float)
    if hold not in ("source", "target", None):
        raise DataError(f"hold={hold!r}: can be 'source' or 'target', or be left out.")
    held = hold or Jackknife.of(table.pairs).fixed
    groups = held and getattr(table.pairs, held)
    if not np.isfinite(slope(np.ones((1, len(x))), x, groups)).all():
        raise DataError(
            f"{distance}{'' if split is None else f' > {split:g}'} is the same in all {len(x)} pairs"
            f"{f' of each {held}' if held else ''}: there is no slope. Give pairs at several distances"
            f"{f', or leave hold={hold!r} out' if hold else ''}."
        )
    return estimates(table, lambda weights: slope(weights, x, groups) @ table.outcomes, 2)


def relative_drop(
    frame: pl.DataFrame, outcome: str, distance: str, by: str, source: str = "source", target: str = "target",
) -> pl.DataFrame:  # fmt: skip
    """The share of its nearest source's outcome that a target loses with its other sources, at each value of `by` (Q4).

    The mean over these pairs of 1 - outcome / outcome from the target's nearest source (several that are as near: their
    mean). Returns and raises as `paired`, and raises DataError where no target has sources at two distances.
    """
    table = matched(frame, outcome, by, [distance], source, target)
    pairs, far = table.pairs, table.features[0, :, 0]
    same = pairs.target[:, None] == pairs.target
    near = far == np.where(same, far, np.inf).min(axis=1)
    if near.all():
        raise DataError(f"no target has sources at two values of {distance}: none to compare with the nearest.")
    nearest = same & near
    base = nearest @ table.outcomes / nearest.sum(axis=1, keepdims=True)
    if not (base > 0).all():
        raise DataError(f"{outcome} from the nearest source of a target is {base.min():g}: no share of it can be lost.")
    drops = 1 - table.outcomes / base
    rest = replace(pairs, outcome=drops[~near, 0], source=pairs.source[~near], target=pairs.target[~near])
    table = replace(table, pairs=rest, outcomes=drops[~near])
    return estimates(table, lambda weights: mean(weights) @ table.outcomes)


def robustness(
    frame: pl.DataFrame, change: str, exposure: str, by: str, source: str = "source", target: str = "target",
) -> pl.DataFrame:  # fmt: skip
    """The change of an outcome under a perturbation, per share of the test set edited, at each value of `by` (Q3).

    `change`: outcome after minus before. `exposure`: the share of entities (or words) that was edited. It differs by
    method or setting: one that loses little where little was edited is not therefore robust. The estimate is the sum of
    changes over the sum of exposures: what editing everything would cost, were the loss proportional. Returns and
    raises as `paired`, and raises DataError where nothing was edited.
    """
    table = matched(frame, change, by, [exposure], source, target)
    shares = table.features[0]
    if (shares < 0).any() or not (shares.sum(axis=0) > 0).all():
        raise DataError(f"{exposure} is below 0, or 0 in all pairs of one {by}: it must be the share that was edited.")
    return estimates(table, lambda weights: (weights @ table.outcomes) / (weights @ shares))


def mean(weights: np.ndarray) -> np.ndarray:
    """The coefficients, (draws, n), of the weighted means of n outcomes."""
    return weights / weights.sum(axis=1, keepdims=True)


def slope(weights: np.ndarray, x: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """The coefficients, (draws, n), of the weighted least-squares slopes of n outcomes on `x`, (n,).

    `groups`, (n,) int: each group has its own intercept (Frisch & Waugh 1933). NaN where `x` does not vary.
    """
    groups = np.zeros(len(x)) if groups is None else groups
    own = (groups[:, None] == np.unique(groups)).astype(float)
    total = weights @ own
    middle = ((weights * x) @ own) / np.where(total > 0, total, 1)
    centered = x - middle @ own.T
    coefficients = weights * centered
    spread = coefficients @ x
    spread[spread <= 1e-12 * (weights @ x**2)] = np.nan  # what rounding leaves of no spread
    return coefficients / spread[:, None]


def estimates(table: Matched, statistic: Callable[[np.ndarray], np.ndarray], coefficients: int = 1) -> pl.DataFrame:
    """An estimate for each value, and for each later value minus the first: "student", "student - direct".

    `statistic`: weights, (rows, n) -> estimates, (rows, values). Columns: contrast, estimate, low, high (95%), p
    (two-sided, against zero), pairs, languages (`Pairs.units`), over (in words: which languages the interval is over, and
    for which others alone it holds), left_out. Interval, p and `over` are `Jackknife`'s. Raises DataError where there is
    no estimate without some one language.
    """
    pairs, names = table.pairs, [*table.values, *(f"{value} - {table.values[0]}" for value in table.values[1:])]
    left = Jackknife.of(pairs)
    values = statistic(left.weights)
    values = np.hstack([values, values[:, 1:] - values[:, :1]])
    for language in (name for name, row in zip(left.names, values[1:], strict=True) if not np.isfinite(row).all()):
        raise DataError(f"without {language} there is nothing to estimate this from: add languages, or leave this contrast out.")
    estimate, low, high, p = left.interval(values, coefficients)
    counts = {"pairs": len(pairs.outcome), "languages": pairs.units, "over": left.over, "left_out": table.left_out}
    frame = pl.DataFrame({"contrast": names, "estimate": estimate, "low": low, "high": high, "p": p})
    return frame.with_columns(pl.lit(count).alias(name) for name, count in counts.items())


def matched(
    frame: pl.DataFrame, outcome: str, by: str, features: Sequence[str], source: str = "source", target: str = "target"
) -> Matched:
    """Put the values of `by` side by side.

    Pairs that lack one of them, or of which a feature is unknown, are left out. Raises DataError as `Pairs.of`, also
    for two rows of one pair and value, and where no pair is left.
    """
    required(frame, [by])
    parts = frame.partition_by(by, maintain_order=True)
    wanted = (outcome, *features)
    table = pl.DataFrame()
    for number, part in enumerate(parts):
        held = Pairs.of(part, outcome, features, source, target)
        codes = np.array(held.languages)
        columns = dict(zip((f"{name} {number}" for name in wanted), (held.outcome, *held.features.T), strict=True))
        named = pl.DataFrame({"source": codes[held.source], "target": codes[held.target], **columns}).fill_nan(None)
        table = named.join(table, on=["source", "target"], how="full", coalesce=True) if number else named
    whole = table.drop_nulls().sort("source", "target")
    values = tuple(str(part[by][0]) for part in parts)
    if whole.is_empty():
        raise DataError(f"no pair has {' and '.join(wanted)} at each of {by}={', '.join(values)}.")
    numbers = [whole.select(f"{name} {number}" for number in range(len(parts))).to_numpy() for name in wanted]
    pairs = Pairs.of(whole, f"{outcome} 0", ())
    return Matched(pairs, numbers[0], np.array(numbers[1:]), values, len(table) - len(whole))

