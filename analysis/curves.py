"""F1 as a curve of the volume: what form it has, how much it rises, and from where on more text hardly helps.

For volume n, in sentences: log-linear a + b log10(n + 1); a power law a - b (n + 1)^-c; an exponential a - b exp(-n / s). The
shift by 1 lets volume 0 stand on the curve. Given c or s all three are linear in a and b, which least squares then gives
in closed form (variable projection: Golub & Pereyra 1973); c or s is found on a fine grid, so no start is needed and a bootstrap of a
thousand curves is a few matrix products. The form is chosen by AICc (Hurvich & Tsai 1989).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import polars as pl
from scipy.special import stdtrit

from engine.errors import DataError, did_you_mean

FORMS = ("log-linear", "power", "exponential")
COEFFICIENTS = {"log-linear": 2, "power": 3, "exponential": 3}
SHARE = 0.95  # of the asymptote
GRID = 400  # values of c or s: neighbors differ by about 1%
SIMILAR = 2.0  # a difference in AICc that says little (Burnham & Anderson 2002, section 2.6)


class Curve(NamedTuple):
    """Curves of one form: a and b, and c or s (1 for log-linear), arrays of one shape."""

    form: str
    a: np.ndarray
    b: np.ndarray
    scale: np.ndarray

    def at(self, volume: float) -> np.ndarray:
        """The outcome at a volume."""
        return self.a + self.b * basis(self.form, self.scale, np.float64(volume))

    def enough(self) -> np.ndarray:
        """The volume from which on the curve is above 95% of its asymptote; NaN for log-linear, which has none."""
        if self.form == "log-linear":
            return np.full(np.shape(self.a), np.nan)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.maximum(self.b / ((1 - SHARE) * self.a), 1.0)  # 1: it is there from the start, or falls to it
            return ratio ** (1 / self.scale) - 1 if self.form == "power" else self.scale * np.log(ratio)


def basis(form: str, scale: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """What b is multiplied by: rises with the volume, and to 0 where the form has an asymptote."""
    if form == "log-linear":
        return np.log10(volume + 1) + 0 * scale
    return -((volume + 1) ** -scale) if form == "power" else -np.exp(-volume / scale)


def scales(form: str, volumes: np.ndarray) -> np.ndarray:
    """The grid of c or s. From hardly bent over the observed volumes to level from the smallest on."""
    if form == "log-linear":
        return np.ones(1)
    if form == "power":
        return np.geomspace(0.02, 2, GRID)
    return np.geomspace(volumes[volumes > 0].min() / 5, 5 * volumes.max(), GRID)


class VolumeCurve:
    """The curve of one pair, with its seeds as replicates.

    `form`: one of FORMS; by AICc if None. `highest`: the largest value that the outcome can take, which the asymptote is not
    to pass; None for an outcome like the gain, that has none (nor a lowest, which is 0 else).

    After `fit`: `form_`, `reason_` (why this form), `aicc_` (by form; NaN where so few scores allow none), `curve_`,
    `rss_`, `seeds_`.
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
        fits = {form: _fit(form, x, y, np.ones((1, len(y))), self.highest) for form in ([self.form] if self.form else FORMS)}
        rss = {form: float(left[0]) for form, (_, left) in fits.items()}
        self.form_, self.reason_, self.aicc_ = choose(rss, len(y), len(np.unique(x)), COEFFICIENTS)
        self.curve_, self.rss_ = fits[self.form_][0], rss[self.form_]
        self.volume_, self.outcome_ = x, y
        names, runs = np.unique(np.asarray(seed), return_inverse=True) if seed is not None else (np.zeros(1), None)
        self.seeds_ = len(names)
        if self.seeds_ > 1:
            without = (runs != np.arange(len(names))[:, None]).astype(float)
            self._replicates = _fit(self.form_, x, y, without, self.highest)[0]
        return self

    def predict(self, volume: Sequence[float]) -> np.ndarray:
        """The curve at these volumes: (n, 3), with the ends of 95% intervals for the curve itself (not for one run)."""
        return np.array([self.interval(lambda curve, n=n: curve.at(n)) for n in np.asarray(volume, dtype=float)])

    def interval(self, quantity: Callable[[Curve], np.ndarray]) -> tuple[float, float, float]:
        """Estimate and 95% interval of what a function makes of curves.

        With seeds: the jackknife over seeds with Student's t (Efron & Tibshirani 1993, chapter 11), for all scores of a seed share
        its teacher, and a bootstrap cannot leave the range of so few. Without: the profile likelihood (Bates & Watts 1988,
        section 6.1.2), that is the range of the quantity over all curves that fit nearly as well. NaN where neither can be had.
        """
        estimate = float(quantity(self.curve_)[0])
        if self.seeds_ > 1:
            values = quantity(self._replicates)
            error = np.sqrt((self.seeds_ - 1) * values.var())
            half = -stdtrit(self.seeds_ - 1, 0.025) * error
            return estimate, estimate - half, estimate + half
        if (freedom := len(self.outcome_) - COEFFICIENTS[self.form_]) < 1:
            return estimate, np.nan, np.nan
        limit = self.rss_ * (1 + stdtrit(freedom, 0.025) ** 2 / freedom)
        values = quantity(_region(self.form_, self.volume_, self.outcome_, limit, self.highest))
        return estimate, min(estimate, values.min()), max(estimate, values.max())

    def summary(self) -> dict[str, Any]:
        """A row of `curves`."""
        how = f"jackknife over {self.seeds_} seeds" if self.seeds_ > 1 else "profile"
        return summarize(self, self.volume_.max()) | {"interval": how, "scores": len(self.outcome_)}


def curves(
    frame: pl.DataFrame, outcome: str = "f1", by: Sequence[str] = ("source", "target"), volume: str = "volume",
    seed: str | None = "seed", highest: float | None = 1.0,
) -> pl.DataFrame:  # fmt: skip
    """Fit a `VolumeCurve` to the rows of each combination of the columns `by`.

    One row each: `by`; form, reason; aicc_<form>; a, b, scale (c or s); start, asymptote, rise (from volume 0 to the largest
    observed) and enough (the volume for 95% of the asymptote), each with _low and _high; enough_says, why it is null;
    interval (how intervals were had); scores. Where all scores are at one volume, only the reason says so. Raises DataError
    as `VolumeCurve.fit`, and where no column says the volume.
    """
    required(frame, [outcome, volume, *by, *([seed] if seed else [])])
    check(frame[volume].to_numpy().astype(float), frame[outcome].to_numpy(), highest)
    rows = []
    for key, part in frame.group_by(by, maintain_order=True):
        if part[volume].n_unique() > 1:
            curve = VolumeCurve(highest=highest).fit(part[volume], part[outcome], part[seed] if seed else None)
            row = curve.summary()
        else:
            row = {"form": None, "reason": f"all {len(part)} scores are at volume {part[volume][0]}", "scores": len(part)}
        rows.append(dict(zip(by, key, strict=True)) | row)
    return pl.DataFrame(rows, infer_schema_length=None)


def students(results: pl.DataFrame) -> pl.DataFrame:
    """The engine's results as curves: each student's scores, and at volume 0 those of its teacher, which is direct transfer.

    One row per dataset, model, form, pair, volume and seed; "source" is the source set as one name. Raises DataError where
    the results hold no student.
    """
    done = results.filter((pl.col("entity_type") == "ALL") & (pl.col("status") == "done"))
    rows = done.filter(pl.col("method").is_in(["direct", "teacher-student"])).with_columns(
        pl.col("sources").list.join("+").alias("source"), method=pl.lit("teacher-student")
    )
    several = pl.col("volume").n_unique().over("dataset", "model", "form", "source", "target") > 1
    if (rows := rows.filter(several)).is_empty():
        raise DataError(
            "the results hold no students at several volumes: run a study with teacher-student in its methods and, say, "
            "--set volumes=0,100,1000,10000."
        )
    return rows


def choose(
    rss: Mapping[str, float], scores: int, volumes: int, coefficients: Mapping[str, int]
) -> tuple[str, str, dict[str, float]]:
    """The form with the smallest AICc, the reason in words, and all AICc (NaN where there are too few scores or volumes).

    A form is a candidate where there are more volumes than its own coefficients, else it fits their means whatever they are.
    """
    aicc = dict.fromkeys(FORMS, np.nan)
    for form, left in rss.items():
        parameters = coefficients[form] + 1  # and the variance
        room = scores - parameters - 1
        if volumes > COEFFICIENTS[form] and room > 0:
            aicc[form] = scores * np.log(left / scores) + 2 * parameters * (1 + (parameters + 1) / room)
    if len(rss) == 1:
        return next(iter(rss)), "as asked", aicc
    known = {form: value for form, value in aicc.items() if not np.isnan(value)}
    few = f"{scores} scores at {volumes} volumes"
    if not known:
        return "log-linear", f"{few} are too few for AICc: log-linear is taken, not chosen", aicc
    if len(known) == 1:
        return "log-linear", f"{few} allow no form with an asymptote", aicc
    best = min(known, key=known.__getitem__)
    near = [form for form in known if form != best and known[form] < known[best] + SIMILAR]
    return best, f"smallest AICc{'; ' + ' and '.join(near) + ' fits about as well' if near else ''}", aicc


def summarize(curve: Any, largest: float) -> dict[str, Any]:
    """The columns of `curves` that any fitted curve has."""
    row = {"form": curve.form_, "reason": curve.reason_} | {f"aicc_{form}": value for form, value in curve.aicc_.items()}
    row |= {name: float(getattr(curve.curve_, name)[0]) for name in ("a", "b", "scale")}
    quantities = {
        "start": lambda curve: curve.at(0),
        "rise": lambda curve: curve.at(largest) - curve.at(0),
        "asymptote": lambda curve: curve.a if curve.form != "log-linear" else np.full(np.shape(curve.a), np.nan),
        "enough": lambda curve: np.log1p(curve.enough()),  # its errors are of the volume's order
    }
    for name, quantity in quantities.items():
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), curve.interval(quantity), strict=True))
    for name in ("enough", "enough_low", "enough_high"):
        number = np.expm1(row[name])
        row[name] = max(0.0, number) if number <= largest else None
    says = "" if row["enough"] is not None else f"beyond the observed volumes (up to {largest:,.0f})"
    row["enough_says"] = says if curve.form_ != "log-linear" else "log-linear has no asymptote"
    return {name: (float(value) if np.isfinite(value) else None) if isinstance(value, float) else value for name, value in row.items()}


def required(frame: pl.DataFrame, columns: Sequence[str]) -> None:
    """Raise DataError for the first of the columns that is missing."""
    for column in columns:
        if column not in frame.columns:
            raise DataError(
                f"the table has no column {column!r}.{did_you_mean(column, frame.columns)} It has: {', '.join(frame.columns)}."
            )


def check(volume: np.ndarray, outcome: np.ndarray, highest: float | None) -> None:
    """Raise DataError for scores that no curve can be fitted to."""
    if np.isnan(outcome).any() or np.isnan(volume).any():
        raise DataError(f"{np.isnan(outcome + volume).sum()} of {len(outcome)} scores or volumes are missing. Leave such rows out.")
    if (volume < 0).any():
        raise DataError(f"volume {volume.min():g}: is a number of sentences, 0 or more.")
    if len(np.unique(volume)) < 2:
        raise DataError(
            f"all {len(volume)} scores are at volume {volume[0]:g}: a curve needs several. Run a study with --set "
            "volumes=0,100,1000,10000, or leave the curves out."
        )
    if highest is not None and (outcome.max() > highest or outcome.min() < 0):
        raise DataError(
            f"scores from {outcome.min():g} to {outcome.max():g} with highest={highest:g}: scores lie between 0 and that. Give "
            "highest=100 for percent, or highest=None for an outcome without bounds, as the gain."
        )


def _fit(
    form: str, volume: np.ndarray, outcome: np.ndarray, weights: np.ndarray, highest: float | None
) -> tuple[Curve, np.ndarray]:
    """Least squares for each row of `weights`, (d, n): the curves, (d,), and their residual sums of squares."""
    scale = scales(form, volume)
    a, b, rss = _project(basis(form, scale[:, None], volume), outcome, weights, highest if form != "log-linear" else None)
    best = rss.argmin(axis=1)
    rows = np.arange(len(best))
    return Curve(form, a[rows, best], b[rows, best], scale[best]), rss[rows, best]


def _project(
    g: np.ndarray, y: np.ndarray, weights: np.ndarray, highest: float | None, a: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best a (or the one given, its last axis over g), b and their rss, (d, scales), for bases g, (scales, n)."""
    total, of_g, of_gg = weights.sum(axis=1, keepdims=True), weights @ g.T, weights @ (g**2).T
    of_y, of_gy, of_yy = (weights @ y)[:, None], weights @ (g * y).T, (weights @ y**2)[:, None]
    if a is None:
        a = (of_y * of_gg - of_g * of_gy) / (total * of_gg - of_g**2)
        a = a if highest is None else np.clip(a, 0, highest)
    b = (of_gy - a * of_g) / of_gg
    rss = of_yy - 2 * a * of_y - 2 * b * of_gy + a**2 * total + 2 * a * b * of_g + b**2 * of_gg
    return a, b, np.maximum(rss, 1e-12 * of_yy)  # what rounding leaves of none


def _region(form: str, volume: np.ndarray, outcome: np.ndarray, limit: float, highest: float | None) -> Curve:
    """Curves on the border of all those whose rss is at most `limit`, a fine net of them."""
    scale = scales(form, volume)
    g, one = basis(form, scale[:, None], volume), np.ones((1, len(outcome)))
    highest = highest if form != "log-linear" else None
    center, _, least = _project(g, outcome, one, None)
    of_g, of_gg = g.sum(axis=1), (g**2).sum(axis=1)
    half = np.sqrt(np.maximum(limit - least, 0) / (len(outcome) - of_g**2 / of_gg))
    a = center + half * np.linspace(-1, 1, 41)[:, None]
    a = a if highest is None else np.clip(a, 0, highest)
    a, b, rss = _project(g, outcome, one, None, a)
    spread = np.sqrt(np.maximum(limit - rss, 0) / of_gg)
    inside = np.broadcast_to(rss <= limit * (1 + 1e-9), (2, *rss.shape))
    net = np.stack([b - spread, b + spread])
    return Curve(form, *(np.broadcast_to(part, net.shape)[inside] for part in (a, net, scale)))
