"""Source sets: how far their languages lie apart, and what that does to transfer where the target is as near (Q1)."""

from collections.abc import Collection, Sequence

import numpy as np
import polars as pl
from scipy.special import stdtr, stdtrit

from analysis.pairs import required
from analysis.typology import DISTANCES, matrices
from engine.errors import DataError, did_you_mean
from engine.source_sets import diversity as mean_distance
from engine.spec import STUDENTS

DISTANCE = "syntactic"  # by which studies make source sets, and so by which their diversity is judged
MEASURES = ("mean_distance", "log_determinant")
FLOOR = 0.01  # least eigenvalue: a set that holds a language twice has a determinant of 0


def questions(methods: Collection[str]) -> list[tuple[str, str, str]]:
    """What there is to ask of source sets where a study has these methods: the hypothesis, the method, the outcome.

    Of direct transfer its score; of students, of a pooled teacher or of one for each source, the gain over their teacher too.
    """
    asked = [(method, outcome) for method in STUDENTS if method in methods for outcome in ("f1", "gain")]
    said = {"f1": "score", "gain": "gain"}
    direct = [("diverse sources raise the score of direct transfer", "direct", "f1")] if "direct" in methods else []
    return direct + [(f"diverse sources raise the {said[outcome]} of {method}", method, outcome) for method, outcome in asked]


def source_sets(sets: Sequence[Sequence[str]], targets: Sequence[str], distance: str = DISTANCE) -> pl.DataFrame:
    """Describe each source set beside its target; a row each, in order.

    Columns: n_sources; mean_distance, over the pairs of sources (0 for a single one); log_determinant, of the sources'
    kernel cos(pi d / 2), which for an angular distance d is the cosine of their features (Kulesza & Taskar 2012: the
    larger, the more diverse; 0 for a single source, and for several only if they share nothing); to_target, the mean
    distance of the sources to the target; nearest, the least. Null where one of the distances is unknown.

    Raises StudyError for unknown codes, DataError for an unknown distance.
    """
    if distance not in DISTANCES:
        hint = did_you_mean(distance, DISTANCES)
        raise DataError(f"{distance!r} is no distance.{hint} There are: {', '.join(DISTANCES)}.")
    codes = sorted({*targets, *(code for codes in sets for code in codes)})
    place = {code: number for number, code in enumerate(codes)}
    values = matrices(codes, names=[distance])[distance].values
    within: dict[tuple[str, ...], dict[str, float]] = {}
    rows = []
    for members, target in zip(map(tuple, sets), targets, strict=True):
        chosen = [place[code] for code in members]
        if members not in within:
            apart = mean_distance(members, lambda a, b: values[place[a], place[b]])
            spanned = np.nan if np.isnan(apart) else _log_determinant(values[np.ix_(chosen, chosen)])
            within[members] = {"n_sources": len(members), "mean_distance": apart, "log_determinant": spanned}
        to = values[chosen, place[target]]
        rows.append(within[members] | {"to_target": to.mean(), "nearest": to.min()})
    return pl.DataFrame(rows).fill_nan(None)


def _log_determinant(distances: np.ndarray) -> float:
    return float(np.log(np.maximum(np.linalg.eigvalsh(np.cos(np.pi / 2 * distances)), FLOOR)).sum())


def diversity(
    frame: pl.DataFrame, outcome: str = "f1", sources: str = "sources", target: str = "target",
    distance: str = DISTANCE,
) -> pl.DataFrame:  # fmt: skip
    """The partial effect of the sources' diversity on an outcome, a row for each of MEASURES.

    The sources' mean distance to the target (linearly), the size of the set and the target are held fixed. Source sets share
    languages, so the interval is a jackknife by language (`jackknife`, `spread`). Rows with unknown distances are left
    out.

    Columns: measure, estimate (outcome per unit of the measure), low, high (95%), p, per_sd (the effect of one standard
    deviation of what of the measure is not fixed too), rows, languages, left_out. Raises DataError for a missing
    outcome, and where the measure does not vary once the others are fixed.
    """
    required(frame, [outcome, sources, target])
    y = frame[outcome].cast(pl.Float64).fill_null(np.nan).to_numpy()
    if np.isnan(y).any():
        missing = np.isnan(y).sum()
        raise DataError(f"{missing} of {len(y)} rows have no {outcome}. Leave such rows out, and say how many.")
    sets, targets = frame[sources].to_list(), frame[target].to_list()
    described = source_sets(sets, targets, distance)
    known = described.select(pl.all_horizontal(pl.all().is_not_null())).to_series()
    described, y = described.filter(known), y[known.to_numpy()]
    sets, targets = ([value for value, kept in zip(values, known, strict=True) if kept] for values in (sets, targets))
    rows = []
    for measure in MEASURES:
        coefficients = jackknife(described, measure, sets, targets)
        if not np.isfinite(coefficients).all():
            raise DataError(
                f"{measure} does not vary where the target, the size of the source set and its distance to the target are "
                f"fixed{', once some one language is left out' if np.isfinite(coefficients[0]).all() else ''}. Give each "
                "target several source sets of one size."
            )
        estimate, half, p = (float(value) for value in spread(coefficients @ y))
        per_sd = estimate / np.sqrt(len(y) * coefficients[0] @ coefficients[0])
        rows.append({
            "measure": measure, "estimate": estimate, "low": estimate - half, "high": estimate + half, "p": p,
            "per_sd": per_sd, "rows": len(y), "languages": len(coefficients) - 1, "left_out": len(known) - len(y),
        })  # fmt: skip
    return pl.DataFrame(rows)


def jackknife(
    described: pl.DataFrame, measure: str, sets: Sequence[Sequence[str]], targets: Sequence[str]
) -> np.ndarray:
    """The coefficients, (1 + languages, n), that make the partial effect of a measure from n outcomes.

    The first row is of all n; the others are without each language in turn, whether it is a target or one of a set.
    Least squares with the mean distance to the target and intercepts for targets and sizes. NaN where the measure does
    not vary.
    """
    held = [described["to_target"].to_numpy()[:, None], *map(_indicators, (described["n_sources"].to_list(), targets))]
    held, x = np.hstack(held), described[measure].to_numpy()
    members = [{*codes, code} for codes, code in zip(sets, targets, strict=True)]
    languages = sorted(set().union(*members))
    kept = [np.ones(len(x), dtype=bool), *(np.array([code not in row for row in members]) for code in languages)]
    coefficients = np.zeros((len(kept), len(x)))
    for row, rows in zip(coefficients, kept, strict=True):
        fixed = held[rows]
        left = x[rows] - fixed @ np.linalg.lstsq(fixed, x[rows], rcond=None)[0]
        if left @ left > 1e-9 * (x @ x):
            row[rows] = left / (left @ left)
        else:
            row[:] = np.nan
    return coefficients


def spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimate, half width of its 95% interval, and p value.

    `values`: (1 + languages, ...), `jackknife`'s coefficients times outcomes. Student's t with the jackknife's standard
    error (Efron & Tibshirani 1993, chapter 11). As each language is in many rows, and a row goes with any of its
    languages, the error is too large rather than too small.
    """
    freedom = len(values) - 2
    error = np.sqrt(freedom * values[1:].var(axis=0))
    return values[0], -stdtrit(freedom, 0.025) * error, 2 * stdtr(freedom, -np.abs(values[0]) / error)


def _indicators(values: Sequence[object]) -> np.ndarray:
    return (np.array(values)[:, None] == np.unique(values)).astype(float)
