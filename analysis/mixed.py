"""A linear model of an outcome of transfer in which the source and the target each have a random effect.

It answers what a correlation cannot: what a feature adds to the others, and how much is the languages' own. The fixed
effects' intervals count the languages, not the rows: Satterthwaite's degrees of freedom, and never more than languages less
coefficients, nor for a property of the target than targets less such properties. Satterthwaite's alone count rows where a feature is the pair's own, and take no account of what estimating the
variances from so few languages does to the standard error (Kenward & Roger 1997): at 10 languages 7.4% of 500 simulated
tables without an effect then had one, and 3.4% have (`python -m benchmarks statistics`).

statsmodels has the model (MixedLM, one group with variance components), and the tests hold this one against it. It is not
used, for two reasons. Where a variance is near zero, as happens with ten languages, its optimizers stop short: they did not
converge on 20 of 40 simulated tables of 10 x 13 languages, in three of four of which a variance was 0 to .02 of the noise's;
and its standard errors take a variance of zero for an infinite one. And its cost grows with the rows (`python -m benchmarks
statistics` times both on 65 x 105 languages). The likelihood here is that of Bates et al. 2015 (lme4).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import linalg, optimize, sparse, stats
from statsmodels.stats.outliers_influence import variance_inflation_factor

from analysis.pairs import check, count, labels, own_roles
from engine.errors import DataError

LEVEL = 0.95
STARTS = (1.0, 0.05)  # of each effect's variance, as a share of the noise's
EXACT = 1e-10  # of the outcome's variance: less noise than this is none


class CrossedEffects:
    """outcome = intercept + features + effect of the source + effect of the target + noise, by REML.

    `groups`: the columns with random effects; the first two are source and target. Where a pair of them has several rows
    (volumes, seeds), pairs have a random effect too. A column with one level, or with a level for each row, has none.

    After `fit`:
    - `coef_`: one row a feature: feature, estimate (of the outcome, per unit of the feature), se, df, low, high, p, sd (the
      feature's; estimates times sd can be compared), vif. `vif_`: the variance inflation factors, (p,).
    - `variances_`: one row a random effect, and "residual": effect, levels, variance (null where it has none), share.
    - `r2_marginal_`: the share of the variance that the features explain, `r2_conditional_`: with the random effects
      (Nakagawa & Schielzeth 2013).
    - `n_`, `dropped_`: rows used, and rows left out because a feature is unknown.
    """

    def __init__(self, groups: Sequence[str] = ("source", "target")) -> None:
        self.groups = groups

    def fit(self, frame: pl.DataFrame, outcome: str, features: Sequence[str]) -> "CrossedEffects":
        """Fit to the rows whose features are all known. An interaction is a column like any other.

        Raises DataError as `analysis.pairs.check`; and for rows that agree in groups and features, for as many coefficients
        (features and an intercept) as languages or more, of all or of those that vary with one role alone, for features that
        follow from others, where nothing is noise, and without convergence.
        """
        check(frame, outcome, features, self.groups)
        named = frame.with_columns(labels(frame[name]) for name in self.groups)
        rows = named.with_columns(pl.col(outcome, *features).cast(pl.Float64).fill_nan(None)).drop_nulls(features)
        self.n_, self.dropped_ = len(rows), len(frame) - len(rows)
        check(rows, outcome, features, self.groups)
        left = _check_design(rows, features, self.groups)
        x, y = rows.select(features).to_numpy().reshape(len(rows), -1), rows[outcome].to_numpy()
        levels = _levels(rows, self.groups)
        random = {name: codes for name, codes in levels.items() if 1 < codes.max() + 1 < len(rows)}
        model = _Reml(_standard(x), _standard(y), list(random.values()))
        variances = model.fit()
        self._report(model, variances, left, features, x.std(axis=0), y.std(), levels, random)
        return self

    def _report(
        self, model: "_Reml", variances: np.ndarray, most: np.ndarray, features: Sequence[str], sd: np.ndarray, unit: float,
        levels: Mapping[str, np.ndarray], random: Mapping[str, np.ndarray],
    ) -> None:  # fmt: skip
        beta, covariance, freedom = model.effects(variances)
        freedom = np.minimum(freedom[1:], most)
        scale = unit / sd
        estimate, se = beta[1:] * scale, np.sqrt(np.diag(covariance))[1:] * scale
        half = stats.t.ppf(0.5 + LEVEL / 2, freedom) * se
        self.vif_ = np.array([variance_inflation_factor(model.x, number) for number in range(1, len(sd) + 1)])
        self.coef_ = pl.DataFrame({
            "feature": list(features), "estimate": estimate, "se": se, "df": freedom, "low": estimate - half,
            "high": estimate + half, "p": 2 * stats.t.sf(abs(estimate / se), freedom), "sd": sd,
            "vif": self.vif_,
        })  # fmt: skip
        explained = np.var(model.x @ beta)
        whole = explained + variances.sum()
        self.r2_marginal_, self.r2_conditional_ = float(explained / whole), float(1 - variances[0] / whole)
        found = dict(zip(("residual", *random), variances, strict=True))
        self.variances_ = pl.DataFrame(
            [
                (name, count, *((found[name] * unit**2, found[name] / whole) if name in found else (None, None)))
                for name, count in [*((name, codes.max() + 1) for name, codes in levels.items()), ("residual", self.n_)]
            ],
            {"effect": pl.String, "levels": pl.Int64, "variance": pl.Float64, "share": pl.Float64}, orient="row",
        )  # fmt: skip


class _Projected(NamedTuple):
    """What the likelihood needs at given ratios: the names are those of `_Reml`; `logs` is log|V| + log|x'Wx|."""

    logs: float
    beta: np.ndarray
    inverse: np.ndarray  # of x'Wx
    ypy: float
    xz: np.ndarray  # x'Wz
    zpz: np.ndarray
    zpy: np.ndarray


class _Reml:
    """The restricted likelihood of y = x b + sum of z_i u_i + noise, from cross products: languages cost, rows do not.

    Below, V = I + sum of ratio_i z_i z_i' is the outcome's covariance in units of the noise, W its inverse, and
    P = W - W x (x'Wx)^-1 x'W.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, groups: Sequence[np.ndarray]) -> None:
        self.x = np.column_stack([np.ones(len(y)), x])
        self.sizes = [codes.max() + 1 for codes in groups]
        self.freedom = len(y) - self.x.shape[1]
        ones, rows = np.ones(len(y)), np.arange(len(y))
        dummies = [sparse.csr_array((ones, (rows, codes))) for codes in groups]
        z = sparse.hstack([sparse.csr_array((len(y), 0)), *dummies], "csr")
        b = np.column_stack([self.x, y])
        self.zz, self.zb, self.bb = (z.T @ z).toarray(), z.T @ b, b.T @ b
        self.edges = np.cumsum([0, *self.sizes])

    def fit(self) -> np.ndarray:
        """Variances of the noise and of each group's effects. Raises DataError where there is no noise, or no optimum found."""
        bounds = [(0, 1 / EXACT)] * len(self.sizes)
        starts = [np.full(len(self.sizes), start) for start in (STARTS if self.sizes else ())]
        found = [optimize.minimize(self._deviance, start, jac=True, method="L-BFGS-B", bounds=bounds) for start in starts]
        best = min(found, key=lambda result: result.fun, default=None)
        ratios = best.x if best else np.zeros(0)
        noise = self._projected(ratios).ypy / self.freedom
        if noise < EXACT:
            raise DataError("features and languages explain the outcome to the last digit: was it computed from them?")
        if best and not best.success:
            raise DataError(f"the random effects' variances did not converge ({best.message}): leave out features that overlap.")
        return noise * np.array([1, *ratios])

    def effects(self, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coefficients with the intercept (q,), their covariance (q, q), and degrees of freedom (q,), at these variances.

        Degrees of freedom: Satterthwaite's, from the expected information of the variances (Giesbrecht & Burns 1985; lmerTest).
        A variance estimated as zero counts as known.
        """
        noise = variances[0]
        found = self._projected(variances[1:] / noise)
        covariance, xz, zpz = found.inverse * noise, found.xz / noise, found.zpz / noise
        kept = np.flatnonzero(variances[1:] > 0)
        parts = [slice(self.edges[number], self.edges[number + 1]) for number in kept]
        kept_variances = variances[1:][kept]
        # |z_i' P z_j|^2, and from P V P = P the same of the noise, whose z is the identity
        among = np.array([[(zpz[one, other] ** 2).sum() for other in parts] for one in parts]).reshape(len(kept), len(kept))
        traces = np.array([np.trace(zpz[part, part]) for part in parts])
        with_noise = (traces - among @ kept_variances) / noise
        of_noise = ((self.freedom - kept_variances @ traces) / noise - kept_variances @ with_noise) / noise
        information = np.block([[np.array([[of_noise]]), with_noise[None]], [with_noise[:, None], among]]) / 2
        # how the coefficients' variances change with each variance
        changes = np.array([((covariance @ xz[:, part]) ** 2).sum(axis=1) for part in parts]).reshape(len(parts), len(covariance))
        squares = np.diag(covariance)
        changes = np.vstack([(squares - kept_variances @ changes) / noise, changes])
        spread = np.einsum("iq,iq->q", changes, np.linalg.solve(information, changes))
        return found.beta, covariance, 2 * squares**2 / spread

    def _deviance(self, ratios: np.ndarray) -> tuple[float, np.ndarray]:
        """-2 log restricted likelihood, but for a constant, with the noise at its best; and its gradient."""
        found = self._projected(ratios)
        slopes = np.add.reduceat(np.diag(found.zpz) - self.freedom / found.ypy * found.zpy**2, self.edges[:-1])
        return found.logs + self.freedom * np.log(found.ypy), slopes

    def _projected(self, ratios: np.ndarray) -> _Projected:
        root = np.sqrt(np.repeat(ratios, self.sizes))[:, None]
        chol = linalg.cholesky(np.eye(len(root)) + root * self.zz * root.T, lower=True)
        half_b, half_z = (linalg.solve_triangular(chol, root * columns, lower=True) for columns in (self.zb, self.zz))
        bb, zb, zz = self.bb - half_b.T @ half_b, self.zb - half_z.T @ half_b, self.zz - half_z.T @ half_z
        inverse = np.linalg.inv(bb[:-1, :-1])
        beta = inverse @ bb[:-1, -1]
        zx = zb[:, :-1]
        logs = 2 * np.log(np.diag(chol)).sum() - np.linalg.slogdet(inverse)[1]
        ypy = max(bb[-1, -1] - bb[:-1, -1] @ beta, self.freedom * EXACT / 2)
        return _Projected(logs, beta, inverse, ypy, zx.T, zz - zx @ inverse @ zx.T, zb[:, -1] - zx @ beta)


def _levels(rows: pl.DataFrame, groups: Sequence[str]) -> dict[str, np.ndarray]:
    """Each random effect's level in each row, 0, 1, ...; a pair's too, where it has several rows."""
    levels = {name: np.unique(rows[name].to_numpy(), return_inverse=True)[1] for name in groups}
    source, target, *_ = levels.values()
    pair = np.unique(source * len(rows) + target, return_inverse=True)[1]
    return levels | ({"pair": pair} if pair.max() + 1 < len(rows) else {})


def _check_design(rows: pl.DataFrame, features: Sequence[str], groups: Sequence[str]) -> np.ndarray:
    """The degrees of freedom that languages leave each feature, (p,): languages less coefficients. Raises DataError as `fit`.

    Of a feature that varies with one role alone it is that role's languages, less its features and the intercept.
    """
    twice = rows.filter(rows.select(*groups, *features).is_duplicated())
    if len(twice):
        raise DataError(
            f"{len(twice)} rows share {', '.join(groups)} and all features with another (the first: {twice.select(groups).row(0)}). "
            "Take the mean over seeds, or give the seed as a third group."
        )
    x = rows.select(features).to_numpy().reshape(len(rows), -1)
    names = dict(zip(("source", "target"), (rows[name] for name in groups[:2]), strict=True))
    roles = own_roles(x, *names.values())
    languages = {role: count(set(held)) for role, held in names.items()}
    languages["pair"] = max(languages.values())
    used = {role: roles.count(role) for role in names} | {"pair": len(features)}
    for role, number in used.items():
        if number and languages[role] - number < 2:
            which, what = ("", "languages") if role == "pair" else (f" that vary with the {role} alone", f"{role}s")
            raise DataError(
                f"{number} features{which} and {languages[role]} {what}: each feature needs several languages. Leave features out, or use "
                "a model with a penalty (analysis.regress)."
            )
    for number, name in enumerate(features):
        if np.linalg.matrix_rank(_centered(x[:, : number + 1])) <= number:
            raise DataError(f"{name} follows from {', '.join(features[:number]) or 'nothing: it is constant'}. Leave it out.")
    left = {role: languages[role] - number - 1 for role, number in used.items()}
    return np.array([min(left[role], left["pair"]) for role in roles])


def _centered(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=0)


def _standard(values: np.ndarray) -> np.ndarray:
    return _centered(values) / values.std(axis=0)
