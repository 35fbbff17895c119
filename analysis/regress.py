"""How well features predict transfer to a language that was held out, against baselines, with calibrated intervals.

Languages are held out whole, never rows at random: with a shuffled fold a model has seen the target, and knows how hard it
is. What is imputed, scaled or chosen (a penalty) is so from the training languages alone. The explanatory models are
`analysis.mixed`'s and `analysis.importance`'s.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from joblib import Parallel, delayed
from scipy.stats import ttest_1samp
from sklearn.base import BaseEstimator, RegressorMixin, clone, is_regressor
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNetCV, LinearRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from analysis.conformal import Fold, interval
from analysis.folds import Folds
from analysis.pairs import Pairs, count, labels, own_roles, required
from analysis.ranking import ndcg, rank_correlation, regret
from engine.errors import DataError, did_you_mean

PARTS = 5  # of the training languages: for the penalty, and for the intervals
SCORES = ("mae", "rmse", "rank_correlation", "ndcg3", "regret", "coverage", "language_coverage", "width")


def pipelines(features: Sequence[str], random_state: int = 0) -> dict[str, BaseEstimator]:
    """The models that are compared: unfitted scikit-learn estimators, by name.

    Each imputes the median, with an indicator of what was missing. "ridge" and "elastic-net" scale, and folds of languages
    choose their penalty; "boosting" is trees on histograms. A Gaussian process is not among them: on LangRank's parsing
    table its error was larger and its NDCG@3 lower than boosting's, at five times the time and growing with the cube of rows.
    """
    columns = list(features)
    boosting = HistGradientBoostingRegressor(
        max_iter=100, max_leaf_nodes=15, l2_regularization=1.0, early_stopping=False, random_state=random_state
    )  # fmt: skip
    return {
        "ridge": _linear(columns, RidgeByLanguage()),
        "elastic-net": _linear(columns, ElasticNetCV(l1_ratio=[0.5, 1.0], alphas=20, cv=PARTS)),
        "boosting": make_pipeline(make_column_transformer((_imputer(), columns)), boosting),
    }


def baselines(
    source: str = "source", target: str = "target", size: str | None = None, overlap: str | None = None,
    distances: pl.DataFrame | None = None, english: str | None = None,
) -> dict[str, BaseEstimator]:  # fmt: skip
    """What a model must beat: unfitted estimators, by name.

    `size`, `overlap`: a column each, whose line of regression is the baseline. `distances`: of all languages in the role
    that is held out, as `analysis.typology.distances` has it with a column "distance"; see `NearestLanguage`. `english`:
    the source to always take; it ranks, and predicts no value.
    """
    models: dict[str, BaseEstimator] = {"target mean": Mean(target), "source mean": Mean(source)}
    for name, column in (("size only", size), ("overlap only", overlap)):
        if column is not None:
            models[name] = _linear([column], LinearRegression())
    if distances is not None:
        models["nearest language"] = NearestLanguage(distances, held=target, other=source)
    if english is not None:
        models["English"] = Always(source, english)
    return models


class RidgeByLanguage(RegressorMixin, BaseEstimator):
    """Ridge regression; of `alphas` the one with the least squared error over the splits `cv` of the rows, the first if several.

    What `RidgeCV` does with splits, at a tenth of its time: one fit a split serves all penalties.
    """

    def __init__(self, alphas: Sequence[float] = tuple(np.logspace(4, -1, 11)), cv: Sequence[tuple[np.ndarray, np.ndarray]] = ()) -> None:
        self.alphas, self.cv = alphas, cv

    def fit(self, X: np.ndarray, y: np.ndarray) -> "RidgeByLanguage":
        errors = np.zeros(len(self.alphas))
        several = np.tile(y[:, None], len(self.alphas))
        for fit, check in self.cv:
            fitted = Ridge(alpha=np.array(self.alphas)).fit(X[fit], several[fit])
            errors += ((fitted.predict(X[check]) - several[check]) ** 2).sum(axis=0)
        self.alpha_ = float(self.alphas[np.argmin(errors)])
        self.model_ = Ridge(alpha=self.alpha_).fit(X, y)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.model_.predict(X)


class Mean(RegressorMixin, BaseEstimator):
    """The mean outcome of the row's language in the role `by`; of all rows where that language was held out."""

    def __init__(self, by: str) -> None:
        self.by = by

    def fit(self, X: pl.DataFrame, y: np.ndarray) -> "Mean":
        self.mean_ = float(np.mean(y))
        means = X.select(self.by, outcome=pl.Series(y)).group_by(self.by).mean()
        self.means_ = dict(means.iter_rows())
        return self

    def predict(self, X: pl.DataFrame) -> np.ndarray:
        return np.array([self.means_.get(name, self.mean_) for name in X[self.by]])


class NearestLanguage(RegressorMixin, BaseEstimator):
    """The outcome of the typologically nearest training language in the role `held`, with the same language in `other`.

    Where that one has none with it, the nearest language's mean; where no distance is known, the mean of all.
    `distances`: "source", "target" and "distance", null where unknown, for each pair of languages in the role.
    """

    def __init__(self, distances: pl.DataFrame, held: str = "target", other: str = "source") -> None:
        self.distances, self.held, self.other = distances, held, other

    def fit(self, X: pl.DataFrame, y: np.ndarray) -> "NearestLanguage":
        self.mean_ = float(np.mean(y))
        rows = X.select(near=self.held, other=self.other, y=pl.Series(y))
        self.cells_ = rows.group_by("near", "other").agg(cell=pl.col("y").mean())
        self.means_ = rows.group_by("near").agg(mean=pl.col("y").mean())
        return self

    def predict(self, X: pl.DataFrame) -> np.ndarray:
        known = self.distances.select(held="source", near="target", distance="distance").drop_nulls()
        known = known.join(self.means_, on="near")  # only languages that were trained on
        nearest = known.sort("distance", "near").group_by("held", maintain_order=True).first()
        rows = X.select(held=self.held, other=self.other).join(nearest, on="held", how="left", maintain_order="left")
        rows = rows.join(self.cells_, on=["near", "other"], how="left", maintain_order="left")
        return rows.select(pl.coalesce("cell", "mean", pl.lit(self.mean_))).to_series().to_numpy()


class Always(BaseEstimator):
    """Ranks one source first wherever it is among the sources, the others after it, equal. It predicts no value."""

    def __init__(self, by: str, source: str) -> None:
        self.by, self.source = by, source

    def fit(self, X: pl.DataFrame, y: np.ndarray) -> "Always":
        self.fitted_ = True
        return self

    def predict(self, X: pl.DataFrame) -> np.ndarray:
        return (X[self.by] == self.source).cast(pl.Float64).to_numpy()


def held_out(
    frame: pl.DataFrame, outcome: str, features: Sequence[str], by: str = "target",
    models: Mapping[str, BaseEstimator] | None = None, *, source: str = "source", target: str = "target",
    family: str = "family", settings: Sequence[str] = (), level: float | None = 0.9, random_state: int = 0,
    n_jobs: int | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Predict each language's rows by models that were fitted without it.

    What is held out, and what stays:
    - "target": the rows with the language as target. Those with it as source stay: it is known as a source.
    - "source": the rows with the language as source, or in the source set (written a+b); a row with a set of two is so
      predicted twice; one that is in every set is not held out. Those with it as target stay.
    - "language": the rows with the language as target are predicted, and those with it in either role are left out.
    - "family": the rows whose target is of the family (the column `family`; a null is a family of its own).

    `models`: estimators by name, `pipelines(features)` and `baselines()` if not given. Each is fitted on the table less the
    outcome, a polars frame with `features` as float64 (NaN where null), and so can use any column. One that is no regressor
    (`sklearn.base.is_regressor`) only ranks. A parameter of it named cv, or of its pipeline's last step, is set to splits of
    the training rows by language. `settings`: columns that with source and target name a cell, a volume say.

    Intervals at `level` (none if None) are `analysis.conformal`'s. They hold for a new row of a new language, over languages
    on average, not for each language.

    Returns one row per model and prediction: model, fold (what was held out), row (of `frame`), source, target, truth,
    prediction (null where the model only ranks), score (what ranks), low, high (null where fewer languages than
    level / (1 - level) calibrate them: no finite interval has that coverage).

    Raises DataError for a table from which nothing can be predicted (`Pairs.of`), fewer than 4 languages to hold out, and
    more predictors than languages (`check_predictors`); StudyError for another `by`.
    """
    required(frame, (outcome, *features, source, target, *settings))
    sets = frame[source].dtype == pl.List
    frame = frame.with_columns(pl.col(source).list.join("+") if sets else pl.col(source).cast(pl.String), pl.col(target).cast(pl.String))
    cell = pl.concat_str([source, *settings], separator=", ", ignore_nulls=True)
    pairs = Pairs.of(frame.with_columns(cell.alias(source)), outcome, features, source, target)
    check_predictors(frame, features, source, target)
    folds = Folds.of(frame, by, source, target, family)
    table = frame.drop(outcome).with_columns(pl.Series(name, column) for name, column in zip(features, pairs.features.T, strict=True))
    models = pipelines(features, random_state) | baselines(source, target) if models is None else models
    order = np.random.default_rng(random_state).permutation(len(folds.units))
    work = (
        delayed(_hold_out)(name, model, table, pairs.outcome, folds, unit, order, level)
        for name, model in models.items() for unit in range(len(folds.units))
    )  # fmt: skip
    parts = Parallel(n_jobs=n_jobs)(work)
    roles = frame.select(source=pl.col(source), target=pl.col(target), truth=pl.Series(pairs.outcome)).with_row_index("row")
    table = pl.concat(parts).join(roles, on="row", how="left", maintain_order="left")
    return table.select("model", "fold", "row", "source", "target", "truth", "prediction", "score", "low", "high")


def scores(predictions: pl.DataFrame) -> pl.DataFrame:
    """Score `held_out`'s predictions: one row per model, in their order.

    Columns: model, n (predictions), languages (held out); over predictions mae, rmse and coverage (the share inside the
    interval); language_coverage, its mean over what was held out, and width, the mean width; over targets with at least two
    sources the means of rank_correlation (Spearman, of targets where it is defined), ndcg3 and regret. Errors and regret are
    in the outcome's units. Null where a model does not have it.
    """
    inside = pl.col("truth").is_between("low", "high")
    errors = predictions.with_columns(error=pl.col("prediction") - pl.col("truth"), inside=inside)
    values = errors.group_by("model", maintain_order=True).agg(
        n=pl.len(), languages=pl.col("fold").n_unique(), mae=pl.col("error").abs().mean(),
        rmse=(pl.col("error") ** 2).mean().sqrt(), coverage=pl.col("inside").mean(),
        width=(pl.col("high") - pl.col("low")).mean(),
    )  # fmt: skip
    each = errors.group_by("model", "fold").agg(pl.col("inside").mean()).group_by("model").agg(language_coverage=pl.col("inside").mean())
    ranks = rankings(predictions).group_by("model").agg(pl.col("rank_correlation", "ndcg3", "regret").mean())
    table = values.join(each, on="model", maintain_order="left").join(ranks, on="model", how="left", maintain_order="left")
    return table.select("model", "n", "languages", *SCORES)


def rankings(predictions: pl.DataFrame) -> pl.DataFrame:
    """How each model ranks each target's sources: model, target, sources, rank_correlation, ndcg3, regret."""
    rows = predictions.group_by("model", "target", "row", maintain_order=True).agg(pl.col("truth").first(), pl.col("score").mean())
    table = []
    for (model, target), part in rows.group_by("model", "target", maintain_order=True):
        truth, score = part["truth"].to_numpy(), part["score"].to_numpy()
        if len(part) > 1:
            table.append((model, target, len(part), rank_correlation(truth, score), ndcg(truth, score), regret(truth, score)))
    kinds = {"model": pl.String, "target": pl.String, "sources": pl.Int64}
    kinds |= dict.fromkeys(("rank_correlation", "ndcg3", "regret"), pl.Float64)
    return pl.DataFrame(table, schema=kinds, orient="row").fill_nan(None)


def errors(predictions: pl.DataFrame) -> pl.DataFrame:
    """Each model's mean absolute error on each language (or family) that was held out: model, unit, mae; null without predictions."""
    error = (pl.col("prediction") - pl.col("truth")).abs()
    return predictions.group_by("model", pl.col("fold").alias("unit"), maintain_order=True).agg(mae=error.mean())


def differences(predictions: pl.DataFrame, baseline: str, level: float = 0.95) -> pl.DataFrame:
    """How much better or worse than one of the models the others are on the same held-out languages.

    Columns: model; metric, "mae" (of `errors`) or "rank_correlation", "ndcg3", "regret" (of `rankings`); difference, the mean over
    languages of the model's less the baseline's; low, high and p, of Student's t, not corrected for several models and metrics, null
    where all differences are equal; languages, of how many both have the metric. Raises DataError where there is no such model.
    """
    if baseline not in set(predictions["model"]):
        raise DataError(f"no predictions of {baseline!r}.{did_you_mean(baseline, set(predictions['model']))}")
    ranks = rankings(predictions).rename({"target": "unit"})
    table = []
    for metric, values in (("mae", errors(predictions)), *((name, ranks) for name in ("rank_correlation", "ndcg3", "regret"))):
        base = values.filter(pl.col("model") == baseline).select("unit", base=metric)
        paired = values.join(base, on="unit", maintain_order="left").select("model", difference=pl.col(metric) - pl.col("base"))
        for (model,), part in paired.drop_nulls().group_by("model", maintain_order=True):
            if model != baseline:
                table.append((model, metric, part["difference"].mean(), *_student(part["difference"].to_numpy(), level), len(part)))
    kinds = {"model": pl.String, "metric": pl.String} | dict.fromkeys(("difference", "low", "high", "p"), pl.Float64)
    return pl.DataFrame(table, schema=kinds | {"languages": pl.Int64}, orient="row")


def _student(values: np.ndarray, level: float) -> tuple[float | None, float | None, float | None]:
    if np.ptp(values) < 1e-12:  # rounding is no spread
        return None, None, None
    test = ttest_1samp(values, 0)
    found = test.confidence_interval(level)
    return float(found.low), float(found.high), float(test.pvalue)


def predictors(
    frame: pl.DataFrame, features: Sequence[str], source: str = "source", target: str = "target"
) -> dict[str, tuple[int, int]]:  # fmt: skip
    """How many predictors there are for how many languages: those that vary with the source alone, with the target alone, all.

    A property of the targets has as many values as there are targets, whatever the sources. What is unknown is a predictor
    too, one for each set of rows in which features are unknown, for the models have an indicator of it.
    """
    values = frame.select(pl.col(features).cast(pl.Float64).fill_null(np.nan)).to_numpy().reshape(len(frame), -1)
    unknown = np.unique(np.isnan(values), axis=1)
    columns = np.column_stack([values, unknown])
    columns = columns[:, [len(np.unique(column)) > 1 for column in columns.T]]
    names = {"source": labels(frame[source]), "target": labels(frame[target])}
    roles = own_roles(columns, *names.values())
    languages = {role: count(set(held)) for role, held in names.items()}
    return {role: (roles.count(role), number) for role, number in languages.items()} | {"": (len(roles), max(languages.values()))}


def check_predictors(frame: pl.DataFrame, features: Sequence[str], source: str = "source", target: str = "target") -> None:
    """Raise DataError where there are more `predictors` than languages."""
    for role, (number, languages) in predictors(frame, features, source, target).items():
        if number > languages:
            which, what = (f" that vary with the {role} alone", f"{role}s") if role else ("", "languages")
            raise DataError(
                f"{number} predictors{which} for {languages} {what}: rows of one language are no independent observations, so this "
                f"many predictors can fit anything (what is unknown counts too). Name at most {languages}, or add languages."
            )


def _hold_out(
    name: str, model: BaseEstimator, X: pl.DataFrame, y: np.ndarray, folds: Folds, unit: int, order: np.ndarray,
    level: float | None,
) -> pl.DataFrame:  # fmt: skip
    """Predict one unit's rows, with intervals. `order`: all units', shuffled."""
    test, train = np.flatnonzero(folds.tested[:, unit]), ~folds.excluded[:, unit]
    groups = [part for part in np.array_split(order[order != unit], PARTS) if len(part)]
    score = _fit(model, X, y, folds, train, groups).predict(X[test])
    prediction, low, high = np.full((3, len(test)), np.nan)
    if is_regressor(model):
        prediction = score
        if level is not None:
            low, high = interval(_calibrate(model, X, y, folds, train, groups, test), level)
    columns = {"prediction": prediction, "score": score.astype(float), "low": low, "high": high}
    table = pl.DataFrame({"row": pl.Series(test, dtype=pl.UInt32)} | columns)
    return table.fill_nan(None).with_columns(model=pl.lit(name), fold=pl.lit(folds.units[unit]))


def _fit(
    model: BaseEstimator, X: pl.DataFrame, y: np.ndarray, folds: Folds, train: np.ndarray, groups: list[np.ndarray]
) -> BaseEstimator:
    """Fit a copy on the rows of `train`; what it chooses by cross-validation, by the groups of units."""
    rows = np.flatnonzero(train)
    fresh = clone(model)
    last = f"{fresh.steps[-1][0]}__cv" if isinstance(fresh, Pipeline) else "cv"
    if last in fresh.get_params():
        splits = _choosing(folds, train, groups)
        fresh.set_params(**{last: [(np.flatnonzero(fit[rows]), np.flatnonzero(check[rows])) for _, fit, check in splits]})
    return fresh.fit(X[rows], y[rows])


def _choosing(folds: Folds, train: np.ndarray, groups: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Splits by the groups; by single units where source sets tie the groups together so that fewer than two can be split off."""
    for parts in (groups, list(np.concatenate(groups)[:, None])):
        if len(splits := list(folds.splits(train, parts))) > 1:
            return splits
    left = ", ".join(folds.units[unit] for unit in np.concatenate(groups))
    raise DataError(
        f"a penalty is chosen by holding out some of {left} in turn, and fewer than two of these folds leave rows to train on: their "
        "source sets overlap too much. Hold out targets, or name models without a penalty."
    )


def _calibrate(
    model: BaseEstimator, X: pl.DataFrame, y: np.ndarray, folds: Folds, train: np.ndarray, groups: list[np.ndarray],
    test: np.ndarray,
) -> list[Fold]:  # fmt: skip
    """For each group of training units, a model without it: its predictions of `test`, and its errors on the group."""
    found = []
    for group, fit, check in folds.splits(train, groups):
        fitted = _fit(model, X, y, folds, fit, [other for other in groups if other is not group])
        rows = np.flatnonzero(check)
        predicted = fitted.predict(X[np.concatenate([test, rows])])
        residual = np.abs(y[rows] - predicted[len(test) :])
        found.append(Fold(predicted[: len(test)], residual, folds.tested[np.ix_(rows, group)]))
    return found


def _linear(columns: list[str], model: BaseEstimator) -> Pipeline:
    return make_pipeline(make_column_transformer((make_pipeline(_imputer(), StandardScaler()), columns)), model)


def _imputer() -> SimpleImputer:
    return SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)

