"""Predicting held-out languages: what a model may see, what the intervals cover, how sources are ranked, what is refused."""

from typing import ClassVar

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import KFold, cross_val_predict

from analysis.conformal import Fold, interval
from analysis.features import with_typology
from analysis.published import sumeval
from analysis.ranking import ndcg, rank_correlation, regret, relevance
from analysis.regress import baselines, differences, errors, held_out, pipelines, predictors, rankings, scores
from engine.errors import DataError, StudyError


def table(targets: int, sources: int, seed: int, slope: float = 1.0, own: float = 1.0, noise: float = 0.5) -> pl.DataFrame:
    """Sources x targets, the first of each the same languages. y = slope * x + the target's own effect + noise."""
    rng = np.random.default_rng(seed)
    target, source = np.divmod(np.arange(targets * sources), sources)
    x, effect, luck = rng.normal(size=len(source)), rng.normal(size=targets), rng.normal(size=(3, targets))
    y = slope * x + own * effect[target] + noise * rng.normal(size=len(source))
    columns = {"x": x, "u": luck[0][target], "v": luck[1][target], "w": luck[2][target], "y": y}
    return pl.DataFrame({"source": [f"l{i:02}" for i in source], "target": [f"l{i:02}" for i in target]} | columns)


class Spy(RegressorMixin, BaseEstimator):
    """Notes the rows that it is fitted on, those of its splits, and those it is asked for."""

    seen: ClassVar[list] = []

    def __init__(self, cv=5):
        self.cv = cv

    def fit(self, X, y):
        self.train_ = X.select("source", "target").rows()
        self.splits_ = [[X[rows].select("source", "target").rows() for rows in split] for split in self.cv]
        return self

    def predict(self, X):
        Spy.seen.append((self.train_, self.splits_, X.select("source", "target").rows()))
        return np.zeros(len(X))


ROLES = {
    "target": (lambda row: {row[1]}, lambda row: {row[1]}),
    "source": (lambda row: set(row[0].split("+")), lambda row: set(row[0].split("+"))),
    "language": (lambda row: {row[1]}, lambda row: {row[1], *row[0].split("+")}),
    "family": (lambda row: {int(row[1][1:]) // 2}, lambda row: {int(row[1][1:]) // 2}),
}


@pytest.mark.parametrize("by", ROLES)
def test_a_model_never_sees_what_is_held_out_neither_do_its_splits(by):
    frame = table(12, 9, 0).with_columns(family=pl.col("target").str.slice(1).cast(pl.Int64) // 2 + 100)
    sets = pl.col("source") + pl.when(pl.col("source") < "l04").then(pl.lit("+l08")).otherwise(pl.lit(""))
    frame = frame.with_columns(sets, pl.col("family").cast(pl.String))
    Spy.seen = []
    predictions = held_out(frame, "y", ["x"], by, {"spy": Spy()}, level=0.75)
    asked, seen = ROLES[by]
    assert len(Spy.seen) > predictions["fold"].n_unique()
    for train, splits, rows in Spy.seen:
        assert len(splits) >= 2
        for fit, tried in [(train, rows), *splits]:
            known = set().union(*map(seen, fit))
            assert all(asked(row) - known for row in tried)
    rows = predictions.group_by("row").len()
    assert sorted(rows["row"]) == list(range(len(frame)))
    assert rows["len"].max() == (2 if by == "source" else 1)


def test_features_of_a_held_out_language_that_are_luck_do_not_help():
    frame = table(16, 12, 1, slope=0.0)
    features = ["u", "v", "w"]
    model = {"boosting": pipelines(features)["boosting"]} | {"target mean": baselines()["target mean"]}
    errors = dict(scores(held_out(frame, "y", features, models=model, level=None)).select("model", "mae").rows())
    shuffled = cross_val_predict(model["boosting"], frame, frame["y"].to_numpy(), cv=KFold(5, shuffle=True, random_state=0))
    assert np.abs(shuffled - frame["y"]).mean() < 0.6 * errors["target mean"]  # what a shuffled fold would have claimed
    assert errors["boosting"] > 0.9 * errors["target mean"]


@pytest.mark.parametrize("name", ["ridge", "elastic-net", "boosting"])
def test_what_holds_for_all_languages_is_found_with_values_missing(name):
    frame = table(12, 10, 2, own=0.3).with_columns(x=pl.when(pl.int_range(pl.len()) % 7 > 0).then("x"), gone=pl.lit(None, pl.Float64))
    features = ["x", "u", "gone"]
    models = {name: pipelines(features)[name]} | baselines()
    table_ = scores(held_out(frame, "y", features, models=models, level=None)).rows_by_key("model", named=True, unique=True)
    assert table_[name]["rmse"] < 0.8 * table_["target mean"]["rmse"]
    assert table_[name]["rank_correlation"] > 0.5 and table_[name]["ndcg3"] > table_["source mean"]["ndcg3"]


def test_intervals_cover_a_new_language_at_their_level():
    covered = []
    for seed in range(14):
        predictions = held_out(table(18, 5, seed, own=2.0), "y", ["x"], models={"mean": baselines()["target mean"]})
        covered.append(scores(predictions)["coverage"].item())
    assert 0.86 <= np.mean(covered) <= 0.96  # an interval from rows' residuals of known targets covers about 40%


def test_the_ends_of_an_interval_by_hand():
    one = Fold(np.array([0.0, 1.0]), np.array([3.0, 1.0, 2.0]), np.array([[1, 0], [1, 0], [0, 1]], dtype=bool))
    two = Fold(np.array([0.5, 1.0]), np.array([0.1]), np.array([[1]], dtype=bool))
    # Three languages of mass 1/4. First row, ascending: 0.6 (1/4), 1 (1/8), 2 (1/4), 3 (1/8); half the mass lies up to 2.
    low, high = interval([one, two], 0.5)
    assert high == pytest.approx([2, 3]) and low == pytest.approx([-2, -1])
    assert np.isnan(interval([one, two], 0.8)).all()


def test_no_interval_where_too_few_languages_could_calibrate_it():
    nine, ten = (held_out(table(n, 6, 3), "y", ["x"], models=baselines()) for n in (9, 10))  # eight and nine others
    assert nine["low"].null_count() == nine["high"].null_count() == len(nine)
    assert ten["low"].null_count() == 0 and (ten["low"] < ten["high"]).all()
    assert scores(nine)["coverage"].to_list() == [None, None]


def test_baselines_by_hand():
    frame = pl.DataFrame({
        "source": ["a", "b", "eng"] * 4, "target": [t for t in "pqrs" for _ in range(3)],
        "y": [1.0, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 5], "size": [1.0, 2, 3] * 4,
    })  # fmt: skip
    near = pl.DataFrame({"source": ["p", "p", "p", "q"], "target": ["p", "q", "r", "p"], "distance": [0.0, 0.3, 0.2, 0.3]})
    models = baselines(size="size", overlap="y2", distances=near, english="eng")
    del models["overlap only"]
    predictions = held_out(frame, "y", ["size"], models=models)
    found = {(row["model"], row["source"], row["target"]): row for row in predictions.iter_rows(named=True)}
    assert found["target mean", "a", "p"]["prediction"] == np.mean([4, 5, 6, 7, 8, 9, 0, 1, 5])
    assert found["source mean", "a", "p"]["prediction"] == np.mean([4, 7, 0])
    assert found["nearest language", "b", "p"]["prediction"] == 8  # r is nearest; p itself was held out
    assert found["nearest language", "b", "q"]["prediction"] == 2
    assert found["nearest language", "b", "s"]["prediction"] == np.mean([1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert found["size only", "a", "s"]["prediction"] == pytest.approx(4)
    assert found["English", "eng", "p"]["prediction"] is None
    table_ = scores(predictions).rows_by_key("model", named=True, unique=True)
    assert table_["English"]["regret"] == 0 and table_["English"]["mae"] is None and table_["English"]["coverage"] is None
    assert table_["target mean"]["regret"] == pytest.approx((1 + 1 + 1 + 3) / 4)


def test_a_source_of_every_set_is_not_held_out():
    frame = table(6, 6, 7).with_columns(pl.col("source") + "+eng")
    predictions = held_out(frame, "y", ["x"], "source", baselines(), level=None)
    assert sorted(set(predictions["fold"])) == [f"l{i:02}" for i in range(6)]


# Ranking


def test_ndcg_is_langrank_s():
    truth = np.arange(12.0)  # relevance 0, 0, 1, ..., 10
    assert relevance(truth).tolist() == [0, 0, *range(1, 11)]
    score = np.zeros(12)
    score[[8, 11, 0]] = 3, 2, 1  # relevance 7, 10 and 0 in the first three places
    got = (2**7 - 1) + (2**10 - 1) / np.log2(3)
    best = (2**10 - 1) + (2**9 - 1) / np.log2(3) + (2**8 - 1) / 2
    assert ndcg(truth, score) == pytest.approx(got / best)
    assert regret(truth, score) == 3


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=2, max_size=15, unique=True), st.randoms(use_true_random=False))
def test_what_ranks_as_the_truth_does_is_best(values, random):
    truth = np.array(values)
    other = np.array(random.sample(values, len(values)))
    assert ndcg(truth, np.exp(truth)) == pytest.approx(1) and regret(truth, truth**3) == 0
    assert rank_correlation(truth, np.exp(truth)) == pytest.approx(1)
    assert 0 <= ndcg(truth, other) <= 1 + 1e-9 and 0 <= regret(truth, other) <= np.ptp(truth)
    assert regret(truth, np.zeros(len(truth))) == pytest.approx(truth.max() - truth.mean())
    assert np.isnan(rank_correlation(truth, np.zeros(len(truth))))


def test_sources_are_ranked_across_folds_where_sources_are_held_out():
    predictions = held_out(table(10, 12, 4), "y", ["x"], "source", {"line": pipelines(["x"])["ridge"]}, level=None)
    each = rankings(predictions)
    assert each["sources"].to_list() == [12] * 10 and each["rank_correlation"].mean() > 0.6


def test_a_difference_comes_with_its_interval_by_language():
    frame = table(14, 10, 8)
    models = {"line": pipelines(["x"])["ridge"]} | baselines() | {"English": baselines(english="l03")["English"]}
    predictions = held_out(frame, "y", ["x"], models=models, level=None)
    found = {(row["model"], row["metric"]): row for row in differences(predictions, "target mean").iter_rows(named=True)}
    errors = dict(scores(predictions).select("model", "mae").rows())
    line = found["line", "mae"]
    assert line["difference"] == pytest.approx(errors["line"] - errors["target mean"])  # as many rows for each target
    assert line["low"] < line["difference"] < line["high"] < 0 and line["languages"] == 14
    assert found["line", "ndcg3"]["low"] > 0 > found["line", "regret"]["high"]
    assert line["p"] < 0.01 and found["source mean", "mae"]["low"] > line["high"]
    assert ("English", "mae") not in found and ("English", "regret") in found
    with pytest.raises(DataError, match="Did you mean 'target mean'"):
        differences(predictions, "target means")


def test_each_language_counts_once_in_errors_however_many_rows_it_has():
    rows = [("m", "a", 0.0, 1.0), ("m", "a", 0.0, 3.0), ("m", "b", 0.0, -5.0)]
    found = errors(pl.DataFrame(rows, schema=["model", "fold", "truth", "prediction"], orient="row"))
    assert found.rows() == [("m", "a", 2.0), ("m", "b", 5.0)]


def test_differences_are_students_and_equal_ones_have_no_interval():
    """Errors of 1, 2 and 3 against 0 in three languages: mean 2, standard error 1 / sqrt(3), t of 2 degrees of freedom 4.303."""
    rows = [(model, code, "s", code, 0.0, value) for code, value in (("a", 1.0), ("b", 2.0), ("c", 3.0)) for model in ("none", "some", "one")]
    frame = pl.DataFrame(rows, schema=["model", "fold", "source", "target", "truth", "value"], orient="row").with_row_index("row")
    shown = pl.when(pl.col("model") == "none").then(0.0).when(pl.col("model") == "one").then(1.0).otherwise("value")
    found = differences(frame.with_columns(prediction=shown, score=shown), "none").rows_by_key("model", named=True, unique=True)
    assert found["some"]["difference"] == 2 and found["some"]["languages"] == 3
    assert found["some"]["high"] - 2 == pytest.approx(4.3027 / 3**0.5, abs=1e-3) and found["some"]["p"] == pytest.approx(0.0742, abs=1e-3)
    assert found["one"]["difference"] == 1 and found["one"]["low"] is found["one"]["p"] is None


# Bad input


def spoiled(**columns) -> pl.DataFrame:
    return table(8, 8, 5).with_columns(**columns)


def test_properties_of_few_targets_are_counted_against_targets():
    rng = np.random.default_rng(0)
    cells = [(f"s{source:02}", f"t{target}") for source in range(40) for target in range(5)]
    frame = pl.DataFrame(cells, ["source", "target"], orient="row").with_columns(y=pl.Series(rng.normal(size=200)), x=pl.Series(rng.normal(size=200)))
    names = [f"p{number}" for number in range(6)]
    for name in names:
        frame = frame.with_columns(pl.col("target").replace_strict(dict(zip(sorted(set(frame["target"])), rng.normal(size=5), strict=True))).alias(name))
    with pytest.raises(DataError, match="6 predictors that vary with the target alone for 5 targets"):
        held_out(frame, "y", names, models=baselines())
    assert predictors(frame, ["x", *names[:2]]) == {"source": (0, 40), "target": (2, 5), "": (3, 40)}
    holes = frame.with_columns(pl.when(pl.col("target") != "t3").then(pl.col("p0", "p1")), x=pl.when(pl.col("source") != "s07").then("x"))
    assert predictors(holes, ["x", *names[:2]]) == {"source": (1, 40), "target": (3, 5), "": (5, 40)}  # p0 and p1 are unknown together
    with pytest.raises(DataError, match="6 predictors that vary with the target alone"):
        held_out(holes, "y", ["x", *names[:5]], models=baselines())


@pytest.mark.parametrize(
    ("frame", "features", "more", "error", "message"),
    [
        (spoiled(), ["xx"], {}, DataError, "no column 'xx'.*Did you mean 'x'"),
        (spoiled(), ["x"], {"settings": ["volume"]}, DataError, "no column 'volume'"),
        (spoiled(), ["x"], {"by": "family"}, DataError, "no column 'family'"),
        (spoiled(y=pl.lit(1.0)), ["x"], {}, DataError, "y is 1.0 in all 64 rows"),
        (spoiled(y=pl.when(pl.col("x") < 2).then("y").otherwise(float("nan"))), ["x"], {}, DataError, "rows have no y"),
        (pl.concat([spoiled(), spoiled()[:1]]), ["x"], {}, DataError, "share their source and target"),
        (spoiled().filter(pl.col("target") == "l00"), ["x"], {}, DataError, "0 of target can be held out"),
        (spoiled(**{f"x{i}": pl.col("x") * (i + 1) for i in range(9)}), [f"x{i}" for i in range(9)], {}, DataError, "9 predictors for 8 languages"),
        (spoiled(), ["x"], {"by": "targets"}, StudyError, "by='targets'.*Did you mean 'target'"),
    ],
)
def test_what_is_refused(frame, features, more, error, message):
    with pytest.raises(error, match=message):
        held_out(frame, "y", features, models=baselines(), **more)


def test_a_cell_at_two_volumes_is_no_duplicate_where_the_volume_is_a_setting():
    frame = pl.concat([table(6, 6, 6).with_columns(volume=pl.lit(volume)) for volume in (0, 100)])
    with pytest.raises(DataError, match="share their source and target"):
        held_out(frame, "y", ["x", "volume"], models=baselines())
    assert len(held_out(frame, "y", ["x", "volume"], models=baselines(), settings=["volume"])) == 2 * len(frame)


# Published tables


def test_langrank_s_parsing_table(shared):
    frame = pl.read_csv(shared / "data/results/lin2019_dep.csv").rename({"Target lang": "target", "Transfer lang": "source"})
    features = frame.columns[5:]
    models = {"ridge": pipelines(features)["ridge"]} | baselines(size="Transfer lang dataset size", overlap="Word overlap")
    predictions = held_out(frame, "Accuracy", features, models=models, level=None)
    against = {
        name: differences(predictions, name).filter(pl.col("model") == "ridge").rows_by_key("metric", named=True, unique=True)
        for name in set(models) - {"ridge"}
    }
    for name in ("target mean", "source mean", "size only"):
        assert against[name]["ndcg3"]["low"] > 0 > against[name]["regret"]["high"], name
    # Overlap alone finds sources as good; it orders the rest less well.
    assert against["overlap only"]["rank_correlation"]["low"] > 0 > against["overlap only"]["ndcg3"]["low"]


def test_intervals_for_a_target_that_wikiann_s_models_were_not_scored_on(shared):
    sizes, frame = sumeval(shared / "data/results")
    sets = sizes.group_by("config").agg(
        pl.col("language").sort().str.join("+").alias("set"), log_total=pl.col("examples").sum().log10(), order=pl.len()
    )
    some = sets.sort("config")["config"].gather_every(32)
    frame = with_typology(frame.filter(pl.col("config").is_in(some.implode())).join(sets, on="config"), "set")
    features = ["log_total", *(column for column in frame.columns if column.startswith(("syntactic", "genetic", "geographic")))]
    features = [column for column in features if not column.endswith("_coverage")]
    predictions = held_out(frame, "score", features, models={"ridge": pipelines(features)["ridge"]}, source="config")
    found = scores(predictions).row(0, named=True)
    assert found["languages"] == 39 and 0.85 <= found["coverage"] <= 0.95 and 0.85 <= found["language_coverage"] <= 0.95
