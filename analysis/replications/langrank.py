"""LangRank (Lin et al. 2019): rank the sources for a target that was held out, by NDCG@3; ours beside theirs.

Theirs is LightGBM's LambdaMART on LangRank's features with LangRank's parameters. LightGBM is a dependency of development
alone: without it their figures are missing, and said to be.
"""

from pathlib import Path

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator, clone

from analysis.published import Table, langrank
from analysis.ranking import relevance
from analysis.regress import differences, held_out, pipelines, scores
from analysis.replications import Figure, of_scores, scored_on

TASKS = ("pos", "dep")


class LambdaRank(BaseEstimator):
    """LangRank's own ranker: 100 trees of 16 leaves, rate 0.1, at least 5 rows a leaf; the ten best sources are relevant."""

    def __init__(self, features: tuple[str, ...], random_state: int = 0) -> None:
        self.features, self.random_state = features, random_state

    def fit(self, X: pl.DataFrame, y: np.ndarray) -> "LambdaRank":
        from lightgbm import LGBMRanker

        rows = X.select(*self.features, "target", outcome=pl.Series(y)).sort("target", maintain_order=True)
        groups = [part["outcome"].to_numpy() for _, part in rows.group_by("target", maintain_order=True)]
        labels = np.concatenate([np.floor(relevance(outcome)) for outcome in groups]).astype(int)
        self.ranker_ = LGBMRanker(
            num_leaves=16, n_estimators=100, learning_rate=0.1, min_child_samples=5, random_state=self.random_state, n_jobs=1,
            deterministic=True, verbose=-1,
        )  # fmt: skip
        self.ranker_.fit(rows.select(self.features).to_numpy(), labels, group=[len(group) for group in groups])
        return self

    def predict(self, X: pl.DataFrame) -> np.ndarray:
        return self.ranker_.predict(X.select(self.features).to_numpy())


class WithinTarget(BaseEstimator):
    """Ranks by regression on the outcome standardized within each target: what makes a target hard does not matter here."""

    def __init__(self, models: tuple[BaseEstimator, ...], cv: list | int | None = None) -> None:
        self.models, self.cv = models, cv

    def fit(self, X: pl.DataFrame, y: np.ndarray) -> "WithinTarget":
        parts = X.select("target", outcome=pl.Series(y)).with_row_index("row").partition_by("target")
        outcome = np.zeros(len(y))
        for part in parts:
            outcome[part["row"]] = _standard(part["outcome"].to_numpy())
        self.models_ = []
        for model in self.models:
            last = f"{model.steps[-1][0]}__cv"
            chosen = {last: self.cv} if last in model.get_params() else {}
            self.models_.append(clone(model).set_params(**chosen).fit(X, outcome))
        return self

    def predict(self, X: pl.DataFrame) -> np.ndarray:
        return np.mean([model.predict(X) for model in self.models_], axis=0)


def _standard(values: np.ndarray) -> np.ndarray:
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros(len(values))


class ByFeature(BaseEstimator):
    """Ranks by one feature, the highest first."""

    def __init__(self, feature: str, sign: int = 1) -> None:
        self.feature, self.sign = feature, sign

    def fit(self, X: pl.DataFrame, y: np.ndarray) -> "ByFeature":
        self.fitted_ = True
        return self

    def predict(self, X: pl.DataFrame) -> np.ndarray:
        return self.sign * X[self.feature].fill_nan(None).fill_null(-self.sign * 1e9).to_numpy()


def replicate(data: Path, test: Path | None = None) -> list[Figure]:
    """NDCG@3 and regret, leaving each target out; with `test`, of models fitted on all of `data` and scored there."""
    figures = []
    for task in TASKS:
        table = _prepared(langrank(data, task))
        models = _models(table)
        if test is None:
            predictions = held_out(table.frame, table.outcome, table.features, models=models, level=None)
        else:
            predictions = scored_on(models, table.frame, _prepared(langrank(test, task)).frame, table.outcome, table.features)
        figures += of_scores(task, scores(predictions), ("ndcg3", "rank_correlation", "regret"))
        if "LambdaRank" in models:
            figures += _difference(task, predictions)
        else:
            figures.append(Figure(f"{task}.LambdaRank", "LightGBM is not installed"))
    return figures


def _difference(task: str, predictions: pl.DataFrame) -> list[Figure]:
    """How much higher ours is in NDCG@3 than LambdaRank on the same targets, with a 95% interval by target."""
    wanted = (pl.col("model") == "ours") & (pl.col("metric") == "ndcg3")
    found = differences(predictions, "LambdaRank").filter(wanted).row(0, named=True)
    values = {"ndcg3": found["difference"], "low": found["low"], "high": found["high"]}
    return [Figure(f"{task}.ours_less_LambdaRank.{name}", value) for name, value in values.items()]


def _prepared(table: Table) -> Table:
    """With logarithms of what spans orders of magnitude, for the linear models; trees do not mind."""
    logs = [pl.col(name).log10().alias(f"log_{name}") for name in ("source_size", "target_size", "size_ratio")]
    blocks = {**table.blocks, "logs": ("log_source_size", "log_size_ratio")}
    return Table(table.frame.with_columns(logs), table.outcome, blocks)


def _models(table: Table) -> dict[str, BaseEstimator]:
    ours = ("word_overlap", "ttr_distance", "source_ttr", "log_source_size", "log_size_ratio", *table.blocks["typology"])
    known = pipelines(ours)
    models = {
        "ours": WithinTarget((known["ridge"], known["boosting"])),
        "overlap only": ByFeature("word_overlap"),
        "size only": ByFeature("source_size"),
        "genetic only": ByFeature("genetic", -1),
    }
    try:
        import lightgbm  # noqa: F401
    except ImportError:
        return models
    return models | {"LambdaRank": LambdaRank((*table.blocks["data"], *table.blocks["uriel"]))}
