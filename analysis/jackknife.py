"""Intervals by language for any statistic of pairs: how it changes as each language is left out in turn.

The sources' changes and the targets' give a variance each. Their sum has the noise of a pair twice, and so is rather too
large; a language that is both source and target leaves both roles at once (Cameron, Gelbach & Miller 2011; Aronow, Samii
& Assenova 2015). The quantile is Student's, with Satterthwaite's degrees of freedom of the sum: three sources that
differ more than the targets do leave two, however many targets there are.

Of fewer than five languages nothing can be said in general. Such a role is fixed: what is estimated is the mean over these
languages, the interval is over those of the other role, and `Jackknife.over` says so.

Chosen by measurement, of which `python -m benchmarks statistics` repeats a part. Means of tables without an effect, with
the spreads of `analysis.design.Assumptions` or of one role alone, from 5 x 5 to 20 x 20 and 5 x 40 languages, of 5 to 20 in
both roles and of all sets of two of 5 to 8: 3 to 6% false alarms, 1% where all is noise of the pair. The bootstrap with
products of languages' weights and the degrees of freedom of the larger role, which this has replaced: 12% at 5 x 40, 26% at
2 x 20, 13 to 18% of sets. Slopes on distances: 1 to 5%.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from analysis.pairs import Pairs

FEW = 5  # languages of a role, for it to stand for languages in general
ROLES = ("source", "target")


@dataclass(frozen=True, eq=False)
class Jackknife:
    """What is left of some pairs without each language, and what follows from estimates of it.

    `weights`: (1 + languages of each role that is not fixed + those of both, n), 0 or 1; the first row has all pairs, the
    last are without a language in both roles. `places`: for each of these roles, and for both, the numbers of its languages,
    which they share. `names`: what each row of `weights` but the first is without. `fixed`: "source" or "target", the role that the
    estimate takes as it is, or None. `over`: in words, the languages that the interval is over.
    """

    weights: np.ndarray
    places: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    fixed: str | None
    over: str

    @classmethod
    def of(cls, pairs: Pairs) -> "Jackknife":
        """Leave out each language of these pairs, source sets with each of their languages."""
        left = {role: pairs.left_out(getattr(pairs, role)) for role in ROLES}
        fixed = min(left, key=lambda role: len(left[role]))
        fixed = fixed if len(left[fixed]) < FEW else None
        kept = [role for role in ROLES if role != fixed]
        codes = sorted({code for role in kept for code in left[role]})
        counted = kept if fixed else _crossed(left)
        parts = [left[role] for role in counted]
        if len(parts) == 2:
            parts.append({code: rows & parts[1][code] for code, rows in parts[0].items() if code in parts[1]})
        names = tuple(code for part in parts for code in part)
        weights = np.vstack([np.ones(len(pairs.outcome)), *(rows for part in parts for rows in part.values())]).astype(float)
        places = tuple(np.array([codes.index(code) for code in part], dtype=int) for part in parts)
        over = " and ".join(f"{len(left[role])} {role}s" for role in kept)
        return cls(weights, places, names, fixed, over + (_these(pairs, fixed) if fixed else ""))

    def interval(self, values: np.ndarray, coefficients: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Estimate, lower and upper end of its 95% interval, and two-sided p against zero, (m,) each.

        `values`: (rows of `weights`, m), the statistics under these weights. `coefficients`: 1 for a mean, 2 for a slope; a
        role has as many degrees of freedom as languages less these. NaN where nothing changes.
        """
        languages, of = np.unique(np.concatenate(self.places), return_inverse=True)
        changes, total, spread = np.zeros((len(languages), values.shape[1])), 0.0, 0.0
        ends = np.cumsum([len(places) for places in self.places])[:-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = list(zip(np.split(values[1:], ends), np.split(of, ends), strict=True))
            for own, places in parts[:2]:
                number = len(own)
                changes[places] = (own - own.mean(axis=0)) * np.sqrt((number - 1) / number)
                variance = (changes[places] ** 2).sum(axis=0)
                total, spread = total + variance, spread + variance**2 / (number - coefficients)
            for own, places in parts[2:]:
                changes[places] = (own - values[0]) * np.sqrt((len(languages) - 1) / len(languages))
            error = np.sqrt((changes**2).sum(axis=0))
            freedom = np.minimum(total**2 / spread, len(languages) - coefficients)
            half = -stdtrit(freedom, 0.025) * error
            return values[0], values[0] - half, values[0] + half, 2 * stdtr(freedom, -np.abs(values[0]) / error)


def _crossed(left: dict[str, dict[str, np.ndarray]]) -> list[str]:
    """The two roles; without one that is nested in the other: targets with a source each say what their sources say."""
    source, target = (1.0 - np.array(list(rows.values())) for rows in left.values())
    meets = source @ target.T > 0
    if (meets.sum(axis=0) <= 1).all():
        return ["source"]
    return ["target"] if (meets.sum(axis=1) <= 1).all() else list(ROLES)


def _these(pairs: Pairs, role: str) -> str:
    names = sorted({pairs.languages[place] for place in getattr(pairs, role)})
    if len(names) == 1:
        return f", {'from' if role == 'source' else 'to'} {names[0]}"
    return f", for these {len(names)} {role}{' sets' if '+' in ''.join(names) else 's'}"
