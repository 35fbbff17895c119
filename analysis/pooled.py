"""One curve of F1 over volume for many pairs: a common shape, an offset for each pair, intervals by language."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import polars as pl

from analysis.curves import check, summarize
from analysis.forms import COEFFICIENTS, Curve, basis, candidates, choose, scales
from analysis.jackknife import Jackknife
from analysis.pairs import Pairs, required


class PooledCurve:
    """The forms of `analysis.curves` with b and c (or s) common to all pairs, and an a for each.

    Offsets are the pairs' own (the within estimator of panel data), so that easy pairs, or some measured at other
    volumes, do not bend the curve. Intervals are `analysis.jackknife`'s, by language.

    `form`: one of FORMS; by AICc if None. `highest`: as in `VolumeCurve`, for the mean pair's asymptote.

    After `fit`: `form_`, `reason_`, `aicc_`, `curve_` (the mean pair's), `over_` (as `Jackknife.over`), and `pairs_`, a table with each
    pair's own `rise` over the observed volumes, given the common shape, and `rise_shrunk`: drawn to the mean rise as
    far as noise explains their spread (DerSimonian & Laird 1986); null where pairs have too few scores to know the
    noise.
    """

    def __init__(self, form: str | None = None, highest: float | None = 1.0) -> None:
        self.form = form
        self.highest = highest

    def fit(
        self, frame: pl.DataFrame, outcome: str = "f1", source: str = "source", target: str = "target",
        volume: str = "volume",
    ) -> Self:  # fmt: skip
        """Fit to a table with a row per pair, volume and seed, of one method and model.

        Pairs at one volume are left out. Raises DataError as `VolumeCurve.fit`, and as `Pairs.of`, which asks for four
        languages.
        """
        required(frame, [outcome, source, target, volume])
        check(frame[volume].to_numpy(), frame[outcome].to_numpy(), self.highest)
        keys = [source, target]
        frame = frame.filter(pl.col(volume).n_unique().over(keys) > 1)
        means = frame.group_by(keys, maintain_order=True).agg(pl.col(outcome).cast(pl.Float64).mean())
        means = means.with_row_index("pair")
        pairs = Pairs.of(means, outcome, (), source, target)
        rows = frame.join(means.select(*keys, "pair"), on=keys).sort("pair", volume)
        x, y = (rows[name].cast(pl.Float64).to_numpy() for name in (volume, outcome))
        alike, moments, fits = np.ones((1, len(means))), {}, {}
        for form in candidates(self.form):
            moments[form] = _Moments(form, x, y, rows["pair"].to_numpy())
            fits[form] = moments[form].fit(alike, self.highest)
        rss = {form: float(left[0]) for form, (_, left) in fits.items()}
        offsets = {form: number + len(means) - 1 for form, number in COEFFICIENTS.items()}
        self.form_, self.reason_, self.aicc_ = choose(rss, len(y), len(np.unique(x)), offsets)
        self._left = Jackknife.of(pairs)
        self._replicates = moments[self.form_].fit(self._left.weights, self.highest)[0]
        self.curve_, self.over_ = fits[self.form_][0], self._left.over
        self.observed_, self.scores_ = (x.min(), x.max()), len(y)
        rises = moments[self.form_].rises(float(self.curve_.scale[0]), self.observed_)
        self.pairs_ = means.select(keys).with_columns(**rises).fill_nan(None)
        return self

    def predict(self, volume: Sequence[float]) -> np.ndarray:
        """The mean pair's curve at these volumes: (n, 3), with the ends of its 95% intervals."""
        return np.array([self.interval(lambda curve, n=n: curve.at(n)) for n in np.asarray(volume, dtype=float)])

    def interval(self, quantity: Callable[[Curve], np.ndarray]) -> tuple[float, float, float]:
        """Estimate and 95% interval, by language, of what a function makes of curves."""
        estimate, low, high, _ = self._left.interval(quantity(self._replicates)[:, None])
        return float(estimate[0]), float(low[0]), float(high[0])

    def summary(self) -> dict[str, Any]:
        """The columns of `analysis.curves.curves`, of the mean pair."""
        how = f"jackknife over {self.over_}"
        return summarize(self, *self.observed_) | {"interval": how, "scores": self.scores_}


class _Moments:
    """What least squares within pairs needs of the scores, for each pair and each c or s of the grid."""

    def __init__(self, form: str, volume: np.ndarray, outcome: np.ndarray, pair: np.ndarray) -> None:
        self.form, self.scale = form, scales(form, volume)
        self.volume, self.outcome = volume, outcome
        starts = np.flatnonzero(np.diff(pair, prepend=-1))  # rows stand sorted by pair
        self.counts = np.diff(starts, append=len(pair))
        g = basis(form, self.scale[:, None], volume)

        def mean(values: np.ndarray) -> np.ndarray:
            return np.add.reduceat(values, starts, axis=-1) / self.counts

        self.g, self.y = mean(g), mean(outcome)
        self.gg = (mean(g**2) - self.g**2) * self.counts
        self.gy = (mean(g * outcome) - self.g * self.y) * self.counts
        self.yy = (mean(outcome**2) - self.y**2) * self.counts

    def fit(self, weights: np.ndarray, highest: float | None) -> tuple[Curve, np.ndarray]:
        """The common curves for weights of the pairs, (d, pairs), and their residual sums of squares."""
        of_gg, of_gy = weights @ self.gg.T, weights @ self.gy.T
        b = of_gy / of_gg
        rss = (weights @ self.yy)[:, None] - b * of_gy
        a = ((weights @ self.y)[:, None] - b * (weights @ self.g.T)) / weights.sum(axis=1, keepdims=True)
        if highest is not None and self.form != "log-linear":
            possible = (a >= 0) & (a <= highest)
            possible[~possible.any(axis=1)] = True
            rss = np.where(possible, rss, np.inf)
        best, rows = rss.argmin(axis=1), np.arange(len(weights))
        least = np.maximum(rss[rows, best], 1e-12 * (weights @ (self.yy + self.counts * self.y**2)))
        return Curve(self.form, a[rows, best], b[rows, best], self.scale[best]), least

    def rises(self, scale: float, observed: tuple[float, float]) -> dict[str, np.ndarray]:
        """Each pair's rise on the common shape between these volumes, and the same shrunk."""
        at = int(np.abs(self.scale - scale).argmin())
        own, gg = self.gy[at] / self.gg[at], self.gg[at]
        span = float(np.diff(basis(self.form, np.float64(scale), np.array(observed)))[0])
        freedom = (self.counts - 2).sum()
        if freedom < 1 or len(own) < 2:
            return {"rise": own * span, "rise_shrunk": np.full(len(own), np.nan)}
        noise = (self.yy - own * self.gy[at]).sum() / freedom / gg
        if not (noise > 0).all():
            return {"rise": own * span, "rise_shrunk": own * span}
        weight = 1 / noise
        spread = (weight * (own - np.average(own, weights=weight)) ** 2).sum() - (len(own) - 1)
        between = max(0.0, spread / (weight.sum() - (weight**2).sum() / weight.sum()))
        middle = np.average(own, weights=1 / (noise + between))
        return {"rise": own * span, "rise_shrunk": (middle + (own - middle) * between / (between + noise)) * span}
