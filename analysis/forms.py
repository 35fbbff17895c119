"""The forms that F1 can take as a function of the volume, their least squares, and which of them the scores support.

For volume n, in sentences: log-linear a + b log10(n + 1); a power law a - b (n + 1)^-c; an exponential a - b exp(-n /
s). The shift by 1 lets volume 0 stand on the curve (of labeled sentences, say; of students it is none). Given c or s
all are linear in a and b, which least squares then gives in closed form (variable projection: Golub & Pereyra 1973). c
or s is searched on a fine grid, so no start is needed, and a bootstrap of a thousand curves is a few matrix products.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from engine.errors import DataError, did_you_mean

FORMS = ("log-linear", "power", "exponential")
COEFFICIENTS = {"log-linear": 2, "power": 3, "exponential": 3}
SHARE = 0.95  # of the asymptote
GRID = 400  # values of c or s: neighbors differ by 1 to 3%
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


def candidates(form: str | None) -> Sequence[str]:
    """The form that was asked for, or all. Raises DataError for one that there is not."""
    if form not in (None, *FORMS):
        raise DataError(f"form={form!r}: must be one of {', '.join(FORMS)}.{did_you_mean(form, FORMS)}")
    return FORMS if form is None else (form,)


def choose(
    rss: Mapping[str, float], scores: int, volumes: int, coefficients: Mapping[str, int]
) -> tuple[str, str, dict[str, float]]:
    """The form with the smallest AICc (Hurvich & Tsai 1989), the reason in words, and all AICc.

    These are NaN where there are too few scores or volumes. A form is a candidate where there are more volumes than its
    own coefficients, else it fits their means whatever they are.
    """
    aicc = dict.fromkeys(FORMS, np.nan)
    if not any(rss.values()) and len(rss) > 1:
        return "log-linear", "all scores are 0, as any form has it: log-linear is taken, not chosen", aicc
    for form, left in rss.items():
        parameters = coefficients[form] + 1  # and the variance
        room = scores - parameters - 1
        if volumes > COEFFICIENTS[form] and room > 0 and left > 0:
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


def fit(
    form: str, volume: np.ndarray, outcome: np.ndarray, weights: np.ndarray, highest: float | None
) -> tuple[Curve, np.ndarray]:
    """Least squares for each row of `weights`, (d, n): the curves, (d,), and their residual sums of squares."""
    scale = scales(form, volume)
    highest = highest if form != "log-linear" else None
    a, b, rss = _project(basis(form, scale[:, None], volume), outcome, weights, highest)
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


def region(form: str, volume: np.ndarray, outcome: np.ndarray, limit: float, highest: float | None) -> Curve:
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
