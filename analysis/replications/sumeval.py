"""SumEval 2022 (LITMUS): predict a fine-tuned model's score per target from how many examples of each language it saw.

Two questions on WikiANN. Here the first: configurations held out, all targets known. The second, a target language held
out, is `analysis.replications.new_target`'s.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split

from analysis.published import sumeval
from analysis.replications import Figure
from analysis.replications.new_target import litmus_features, new_targets

SPLITS = 5  # seeds of the split
KINDS = ("extra trees", "process")
SHARE = 0.2  # of the configurations, held out
# On the official test part, which is not in the folder, computed from the published scores.
OFFICIAL = {"mean": 3.98, "ridge": 1.66, "extra trees": 0.77}


class Mixtures(NamedTuple):
    """`examples`: (configurations, languages). `scores`: (configurations, targets), of 100, NaN where there is none."""

    configs: list[str]
    languages: list[str]
    targets: list[str]
    examples: np.ndarray
    scores: np.ndarray


class SizeProcess(RegressorMixin, BaseEstimator):
    """A Gaussian process of the logarithms of sizes, each scaled by how much extremely randomized trees make of it.

    One length scale per language is what this stands for. Thirty-seven of them are slow to fit by likelihood, and predicted
    no better; the trees' importances give their proportions, and the likelihood the rest: one scale, variance and noise.
    """

    def __init__(self, trees: int = 50, random_state: int = 0) -> None:
        self.trees, self.random_state = trees, random_state

    def fit(self, X: np.ndarray, y: np.ndarray) -> "SizeProcess":
        trees = ExtraTreesRegressor(self.trees, random_state=self.random_state).fit(X, y)
        largest = trees.feature_importances_.max()
        self.scale_ = np.sqrt(trees.feature_importances_ / largest) if largest > 0 else np.ones(X.shape[1])
        kernel = ConstantKernel(10.0, (1e-4, 1e6)) * RBF(2.0, (0.05, 1e3)) + WhiteKernel(0.1, (1e-6, 1e1))
        self.process_ = GaussianProcessRegressor(kernel, normalize_y=True).fit(_steps(X) * self.scale_, y)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.process_.predict(_steps(X) * self.scale_)


def replicate(data: Path, test: Path | None = None) -> list[Figure]:
    """RMSE in F1 points on configurations held out: of five random splits, or with `test` of all of its configurations."""
    table = mixtures(*sumeval(data))
    if test is not None:
        return _shape(table) + _on_test(table, mixtures(*sumeval(test), like=table)) + new_targets(data, test)
    figures = _shape(table)
    errors: dict[str, list[float]] = {}
    for seed in range(SPLITS):
        train, held = train_test_split(np.arange(len(table.configs)), test_size=SHARE, random_state=seed)
        for name, predicted in predictions(_rows(table, train), _rows(table, held)).items():
            errors.setdefault(name, []).append(_rmse(predicted, table.scores[held]))
            figures.append(Figure(f"configurations.{name}.split{seed}", errors[name][-1]))
    means = [Figure(f"configurations.{name}.rmse", float(np.mean(values)), OFFICIAL.get(name)) for name, values in errors.items()]
    return figures + means + new_targets(data)


def predictions(train: Mixtures, test: Mixtures) -> dict[str, np.ndarray]:
    """Per model, (test configurations, targets): predicted scores by models of each target, and by one on LITMUS's features.

    "ours" is the trees, the process or the mean of both: whichever was best on a quarter of the training configurations, when
    fitted to the others.
    """
    found = {name: _per_target(model, train, test) for name, model in models().items()}
    fit, check = (_rows(train, rows) for rows in train_test_split(np.arange(len(train.configs)), test_size=0.25, random_state=0))
    inner = _ours({name: _per_target(model, fit, check) for name, model in models().items() if name in KINDS})
    chosen = min(inner, key=lambda name: _rmse(inner[name], check.scores))
    return found | {"ours": _ours(found)[chosen], "LITMUS features, boosting": _litmus(train, test)}


def models() -> Mapping[str, BaseEstimator]:
    """The three to beat, and the process."""
    return {"mean": DummyRegressor(), "ridge": Ridge(), "extra trees": ExtraTreesRegressor(100, random_state=0), "process": SizeProcess()}


def _ours(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    kinds = {name: found[name] for name in KINDS}
    return kinds | {"both": np.mean(list(kinds.values()), axis=0)}


def mixtures(sizes: pl.DataFrame, scores: pl.DataFrame, like: Mixtures | None = None) -> Mixtures:
    """Arrange `analysis.published.sumeval`'s tables as arrays; `like` gives languages and targets, and drops its configurations."""
    known = set(like.configs) if like else set()
    configs = [name for name in scores["config"].unique(maintain_order=True) if name not in known]
    languages = like.languages if like else sorted(sizes["language"].unique())
    targets = like.targets if like else sorted(scores["target"].unique())
    return Mixtures(
        configs, languages, targets,
        np.nan_to_num(_array(sizes, configs, "language", languages, "examples")), _array(scores, configs, "target", targets, "score"),
    )  # fmt: skip


def _array(frame: pl.DataFrame, rows: list[str], by: str, columns: list[str], values: str) -> np.ndarray:
    """(rows, columns) of `values`, NaN where the frame has none."""
    row, column = ({name: place for place, name in enumerate(names)} for names in (rows, columns))
    known = frame.filter(pl.col("config").is_in(rows), pl.col(by).is_in(columns))
    array = np.full((len(rows), len(columns)), np.nan)
    array[[row[name] for name in known["config"]], [column[name] for name in known[by]]] = known[values].to_numpy()
    return array


def _shape(table: Mixtures) -> list[Figure]:
    """What could leak: in how many languages' sizes a configuration differs from the one most like it."""
    differing = np.array([(table.examples != row).sum(axis=1) for row in table.examples])
    np.fill_diagonal(differing, len(table.languages) + 1)
    values = {"configurations": len(table.configs), "targets": len(table.targets), "languages": len(table.languages),
              "duplicates": int((differing.min(axis=1) == 0).sum()), "least_differing_languages": int(differing.min())}  # fmt: skip
    return [Figure(f"table.{name}", value) for name, value in values.items()]


def _on_test(train: Mixtures, test: Mixtures) -> list[Figure]:
    figures = [Figure("test.configurations", len(test.configs))]
    for name, predicted in predictions(train, test).items():
        figures.append(Figure(f"test.{name}.rmse", _rmse(predicted, test.scores), OFFICIAL.get(name)))
    return figures


def _per_target(model: BaseEstimator, train: Mixtures, test: Mixtures) -> np.ndarray:
    x, new = _logs(train.examples), _logs(test.examples)
    fit = (delayed(_one)(model, x, train.scores[:, target], new) for target in range(len(train.targets)))
    return np.column_stack(Parallel(n_jobs=-1, prefer="threads")(fit))


def _one(model: BaseEstimator, x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    known = ~np.isnan(y)
    return clone(model).fit(x[known], y[known]).predict(new)


def _litmus(train: Mixtures, test: Mixtures) -> np.ndarray:
    """One model for all targets; scikit-learn's histogram boosting in place of XGBoost: 100 trees of depth 10, rate 0.1."""
    x, y = litmus_features(train.examples, train.languages, train.targets), train.scores.ravel()
    new = litmus_features(test.examples, test.languages, test.targets)
    boosting = HistGradientBoostingRegressor(max_iter=100, max_depth=10, learning_rate=0.1, early_stopping=False, random_state=0)
    return boosting.fit(x[~np.isnan(y)], y[~np.isnan(y)]).predict(new).reshape(test.scores.shape)


def _logs(examples: np.ndarray) -> np.ndarray:
    return np.log10(1 + examples)


def _steps(logs: np.ndarray) -> np.ndarray:
    """From none to the least size there is (100) is one step, as from 100 to 1,000: not the two that 10**2 would be."""
    return np.where(logs > 0, np.maximum(logs - 1, 0.5), 0.0)


def _rows(table: Mixtures, rows: np.ndarray) -> Mixtures:
    return table._replace(configs=[table.configs[row] for row in rows], examples=table.examples[rows], scores=table.scores[rows])


def _rmse(predicted: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean((predicted - truth) ** 2)))
