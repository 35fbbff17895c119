"""F1 over the volume for each pair: its form, how much it rises, and from where on more text hardly helps.

The forms are `analysis.forms`', all pairs together `analysis.pooled`'s.
"""

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import polars as pl
from scipy.special import stdtrit

from analysis.forms import COEFFICIENTS, Curve, candidates, choose, fit, region
from analysis.pairs import required
from engine.errors import DataError


class VolumeCurve:
    """The curve of one pair, with its seeds as replicates.

    `form`: one of FORMS; by AICc if None. `highest`: the largest value that the outcome can take, which the asymptote
    is not to pass; None for an outcome like the gain, that has none (nor a lowest, which is 0 else).

    After `fit`: `form_`, `reason_` (why this form), `aicc_` (by form; NaN where so few scores allow none), `curve_`,
    `rss_`, `seeds_`, `why_not_` (why there are no intervals, else "").
    """

    def __init__(self, form: str | None = None, highest: float | None = 1.0) -> None:
        self.form = form
        self.highest = highest

    def fit(self, volume: Sequence[float], outcome: Sequence[float], seed: Sequence[Any] | None = None) -> Self:
        """Fit to n scores. `seed`: whose run each is; scores without seeds count as independent of each other.

        Raises DataError for fewer than two volumes, NaN, and scores above `highest`.
        """
        x, y = np.asarray(volume, dtype=float), np.asarray(outcome, dtype=float)
        check(x, y, self.highest)
        alike = np.ones((1, len(y)))
        fits = {form: fit(form, x, y, alike, self.highest) for form in candidates(self.form)}
        rss = {form: float(left[0]) for form, (_, left) in fits.items()}
        self.form_, self.reason_, self.aicc_ = choose(rss, len(y), len(np.unique(x)), COEFFICIENTS)
        self.curve_, self.rss_ = fits[self.form_][0], rss[self.form_]
        self.volume_, self.outcome_ = x, y
        names, runs = np.unique(np.asarray(seed), return_inverse=True) if seed is not None else (np.zeros(1), None)
        self.seeds_ = len(names)
        without = runs != np.arange(len(names))[:, None] if self.seeds_ > 1 else np.zeros((0, len(y)), dtype=bool)
        self.why_not_ = self._why_not(names, without)
        if self.seeds_ > 1 and not self.why_not_:
            self._replicates = fit(self.form_, x, y, without.astype(float), self.highest)[0]
        return self

    def _why_not(self, names: np.ndarray, without: np.ndarray) -> str:
        """Why there are no intervals, "" where there are. `without`: (seeds, n) bool, the scores without each."""
        for name, rows in zip(names, without, strict=False):
            if len(np.unique(self.volume_[rows])) < 2:
                return f"without seed {name} all scores are at one volume"
        coefficients, scores = COEFFICIENTS[self.form_], len(self.outcome_)
        return f"{scores} scores and {coefficients} coefficients leave no noise to see" if self.seeds_ == 1 and scores <= coefficients else ""

    def predict(self, volume: Sequence[float]) -> np.ndarray:
        """The curve at these volumes: (n, 3), with the ends of 95% intervals for the curve itself (not for one run)."""
        return np.array([self.interval(lambda curve, n=n: curve.at(n)) for n in np.asarray(volume, dtype=float)])

    def interval(self, quantity: Callable[[Curve], np.ndarray]) -> tuple[float, float, float]:
        """Estimate and 95% interval of what a function makes of curves.

        With seeds: the jackknife over seeds with Student's t (Efron & Tibshirani 1993, chapter 11), for all scores of a
        seed share its teacher, and a bootstrap cannot leave the range of so few. Without: the profile likelihood (Bates
        & Watts 1988, section 6.1.2), that is the range of the quantity over all curves that fit nearly as well. NaN
        where neither can be had, for which `why_not_` has the reason.
        """
        estimate = float(quantity(self.curve_)[0])
        if self.why_not_:
            return estimate, np.nan, np.nan
        if self.seeds_ > 1:
            values = quantity(self._replicates)
            error = np.sqrt((self.seeds_ - 1) * values.var())
            half = -stdtrit(self.seeds_ - 1, 0.025) * error
            return estimate, estimate - half, estimate + half
        freedom = len(self.outcome_) - COEFFICIENTS[self.form_]
        limit = self.rss_ * (1 + stdtrit(freedom, 0.025) ** 2 / freedom)
        values = quantity(region(self.form_, self.volume_, self.outcome_, limit, self.highest))
        return estimate, min(estimate, values.min()), max(estimate, values.max())

    def summary(self) -> dict[str, Any]:
        """A row of `curves`."""
        how = f"jackknife over {self.seeds_} seeds" if self.seeds_ > 1 else "profile"
        how = f"none: {self.why_not_}" if self.why_not_ else how
        return summarize(self, self.volume_.min(), self.volume_.max()) | {"interval": how, "scores": len(self.outcome_)}


def curves(
    frame: pl.DataFrame, outcome: str = "f1", by: Sequence[str] = ("source", "target"), volume: str = "volume",
    seed: str | None = "seed", highest: float | None = 1.0,
) -> pl.DataFrame:  # fmt: skip
    """Fit a `VolumeCurve` to the rows of each combination of the columns `by`.

    One row each: `by`; form, reason; aicc_<form>; a, b, scale (c or s); start (at the smallest volume observed), rise
    (from there to the largest), asymptote and enough (the volume for 95% of it; the smallest observed where that has
    as much), each with _low and _high; enough_says, why it is null or no more than that; interval (how intervals were
    had, or why there are none); scores. Where all scores are at one volume, only the reason says so. Raises DataError as `VolumeCurve.fit`,
    and where no column says the volume.
    """
    required(frame, [outcome, volume, *by, *([seed] if seed else [])])
    check(frame[volume].to_numpy(), frame[outcome].to_numpy(), highest)
    rows = []
    for key, part in frame.group_by(by, maintain_order=True):
        if part[volume].n_unique() > 1:
            curve = VolumeCurve(highest=highest).fit(part[volume], part[outcome], part[seed] if seed else None)
            row = curve.summary()
        else:
            reason = f"all {len(part)} scores are at volume {part[volume][0]}"
            row = {"form": None, "reason": reason, "scores": len(part)}
        rows.append(dict(zip(by, key, strict=True)) | row)
    return pl.DataFrame(rows, infer_schema_length=None)


def students(results: pl.DataFrame) -> pl.DataFrame:
    """The scores of the engine's students, whose curves are to be fitted.

    Their teacher (direct transfer, the cell at volume 0) is none of them: a student starts from the pretrained base, so
    that with ever less text it nears the base, not its teacher. A curve through both would have a rise that no text made.

    One row per dataset, model, form, pair, volume and seed; "source" is the source set as one name. Collapsed runs are
    in it, failed ones are not. Raises DataError where no pair has students at two volumes.
    """
    done = results.filter((pl.col("entity_type") == "ALL") & (pl.col("status") == "done"))
    rows = done.filter(pl.col("method") == "teacher-student").with_columns(pl.col("sources").list.join("+").alias("source"))
    several = pl.col("volume").n_unique().over("dataset", "model", "form", "source", "target") > 1
    if (rows := rows.filter(several)).is_empty():
        raise DataError(
            "the results hold no students at several volumes (their teacher, at volume 0, is no student): run a study "
            "with teacher-student in its methods and, say, --set volumes=0,100,1000,10000."
        )
    return rows


def summarize(curve: Any, smallest: float, largest: float) -> dict[str, Any]:
    """The columns of `curves` that any fitted curve has, between the volumes observed."""
    row = {"form": curve.form_, "reason": curve.reason_}
    row |= {f"aicc_{form}": value for form, value in curve.aicc_.items()}
    row |= {name: float(getattr(curve.curve_, name)[0]) for name in ("a", "b", "scale")}
    quantities = {
        "start": lambda curve: curve.at(smallest),
        "rise": lambda curve: curve.at(largest) - curve.at(smallest),
        "asymptote": lambda curve: curve.a if curve.form != "log-linear" else np.full(np.shape(curve.a), np.nan),
        "enough": lambda curve: np.log1p(curve.enough()),  # its errors are of the volume's order
    }
    for name, quantity in quantities.items():
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), curve.interval(quantity), strict=True))
    for name in ("enough", "enough_low", "enough_high"):
        number = np.expm1(row[name])
        row[name] = max(float(smallest), number) if number <= largest else None
    row["enough_says"] = ""
    if curve.form_ == "log-linear":
        row["enough_says"] = "log-linear has no asymptote"
    elif row["enough"] is None:
        row["enough_says"] = f"beyond the observed volumes (up to {largest:,.0f})"
    elif row["enough"] == smallest:
        row["enough_says"] = "the smallest observed, or less"
    known = {name: float(value) for name, value in row.items() if isinstance(value, float) and np.isfinite(value)}
    return {name: known.get(name) if isinstance(value, float) else value for name, value in row.items()}


def check(volume: np.ndarray, outcome: np.ndarray, highest: float | None) -> None:
    """Raise DataError for scores that no curve can be fitted to."""
    volume, outcome = volume.astype(float), outcome.astype(float)
    if np.isnan(outcome).any() or np.isnan(volume).any():
        missing = np.isnan(outcome + volume).sum()
        raise DataError(f"{missing} of {len(outcome)} scores or volumes are missing. Leave such rows out.")
    if (volume < 0).any():
        raise DataError(f"volume {volume.min():g}: is a number of sentences, 0 or more.")
    if len(np.unique(volume)) < 2:
        raise DataError(
            f"all {len(volume)} scores are at volume {volume[0]:g}: a curve needs several. Run a study with --set "
            "volumes=0,100,1000,10000, or leave the curves out."
        )
    if highest is not None and (outcome.max() > highest or outcome.min() < 0):
        raise DataError(
            f"scores from {outcome.min():g} to {outcome.max():g} with highest={highest:g}: scores lie between 0 and that. "
            "Give highest=100 for percent, or highest=None for an outcome without bounds, as the gain."
        )
