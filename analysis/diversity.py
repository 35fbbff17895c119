"""Source sets: how far their languages lie apart, and what that does to transfer where the target is as near (Q1)."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.special import stdtr, stdtrit

from analysis.curves import required
from analysis.typology import DISTANCES, matrices
from engine.errors import DataError, did_you_mean

MEASURES = ("mean_distance", "log_determinant")
FLOOR = 0.01  # least eigenvalue: a set that holds a language twice has a determinant of 0


def source_sets(sets: Sequence[Sequence[str]], targets: Sequence[str], distance: str = "featural") -> pl.DataFrame:
    """Describe each source set beside its target; a row each, in order.

    Columns: n_sources; mean_distance, over the pairs of sources (0 for a single one); log_determinant, of the sources' kernel
    cos(pi d / 2), which for an angular distance d is the cosine of their features (Kulesza & Taskar 2012: the larger, the more
    diverse; 0 for a single source; less than that for any two that share something); to_target, the mean distance of the sources to
    the target; nearest, the least. NaN becomes null: unknown where one of the distances is.

    Raises StudyError for unknown codes, DataError for an unknown distance.
    """
    if distance not in DISTANCES:
        raise DataError(f"{distance!r} is no distance.{did_you_mean(distance, DISTANCES)} There are: {', '.join(DISTANCES)}.")
    codes = sorted({*targets, *(code for codes in sets for code in codes)})
    place = {code: number for number, code in enumerate(codes)}
    values = matrices(codes)[distance].values
    rows = []
    for codes, target in zip(sets, targets, strict=True):
        chosen = [place[code] for code in codes]
        among, to = values[np.ix_(chosen, chosen)], values[chosen, place[target]]
        apart = among[np.triu_indices(len(chosen), 1)]
        kernel = np.cos(np.pi / 2 * among)
        known = not np.isnan(among).any()
        rows.append({
            "n_sources": len(chosen), "mean_distance": apart.mean() if len(apart) else 0.0,
            "log_determinant": np.log(np.maximum(np.linalg.eigvalsh(kernel), FLOOR)).sum() if known else np.nan,
            "to_target": to.mean(), "nearest": to.min(),
        })  # fmt: skip
    return pl.DataFrame(rows).fill_nan(None)


def diversity(
    frame: pl.DataFrame, outcome: str = "f1", sources: str = "sources", target: str = "target", distance: str = "featural"
) -> pl.DataFrame:
    """The partial effect of the sources' diversity, a row for each of MEASURES.

    Least squares of the outcome on the measure, with the sources' mean distance to the target, and an intercept for each set
    size and each target, held fixed. Source sets share languages, so the interval is a jackknife by language: without each
    language in turn, whether it is a target or one of a set, with Student's t. Rows with unknown distances are left out.

    Columns: measure, estimate (outcome per unit of the measure), low, high, p, per_sd (the effect of one standard deviation of what
    the measure does not share with what is held fixed), rows, languages, left_out. Raises DataError where the measure does not vary once the others
    are fixed, also without some one language: then the effect rests on that language.
    """
    required(frame, [outcome, sources, target])
    sets, targets = frame[sources].to_list(), frame[target].to_list()
    described = source_sets(sets, targets, distance)
    known = described.select(pl.all_horizontal(pl.all().is_not_null())).to_series().to_numpy()
    y = frame[outcome].cast(pl.Float64).to_numpy()
    if np.isnan(y).any():
        raise DataError(f"{np.isnan(y).sum()} of {len(y)} rows have no {outcome}. Leave such rows out, and say how many.")
    members = [{*codes, code} for codes, code in zip(sets, targets, strict=True)]
    languages = sorted(set().union(*(members[row] for row in np.flatnonzero(known))))
    held = np.column_stack([
        described["to_target"].fill_null(np.nan).to_numpy(),
        _indicators(described["n_sources"].to_list()), _indicators(targets)[:, 1:],
    ])  # fmt: skip
    rows = []
    for measure in MEASURES:
        x = described[measure].fill_null(np.nan).to_numpy()
        estimate, spread = _partial(x[known], held[known], y[known])
        without = []
        for code in languages:
            kept = known & np.array([code not in row for row in members])
            without.append(_partial(x[kept], held[kept], y[kept])[0])
        if not np.isfinite([estimate, *without]).all():
            lost = [code for code, value in zip(languages, without, strict=True) if not np.isfinite(value)]
            raise DataError(
                f"{measure} of the source sets does not vary where their size, their distance to the target and the target are fixed"
                + (f", once {', '.join(lost)} is left out" if np.isfinite(estimate) else "")
                + ". Give several source sets of one size to each target."
            )
        freedom = len(languages) - 1
        error = np.sqrt(freedom * np.var(without))
        half = -stdtrit(freedom, 0.025) * error
        rows.append({
            "measure": measure, "estimate": estimate, "low": estimate - half, "high": estimate + half,
            "p": 2 * stdtr(freedom, -abs(estimate) / error), "per_sd": estimate * spread, "rows": int(known.sum()),
            "languages": len(languages), "left_out": int((~known).sum()),
        })  # fmt: skip
    return pl.DataFrame(rows)


def _indicators(values: Sequence[object]) -> np.ndarray:
    return (np.array(values)[:, None] == np.unique(values)).astype(float)


def _partial(x: np.ndarray, held: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The coefficient of x beside what is held fixed, and the standard deviation of the part of x that it rests on."""
    held = held[:, held.any(axis=0)]
    left = x - held @ np.linalg.lstsq(held, x, rcond=None)[0]
    if left @ left < 1e-9 * (x @ x):
        return np.nan, np.nan
    return float(left @ y / (left @ left)), float(left.std())
