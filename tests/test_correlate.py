"""Correlations of transfer with features of the pair: their figures, and that languages are what counts."""

from itertools import permutations, product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.correlate import SCHEMA, correlate, detectable
from engine.errors import DataError


def table(languages: int, rng: np.random.Generator, effect: float = 0.0, own: float = 1.0) -> pl.DataFrame:
    """Languages as sources and targets of each other; `own`: the spread of the languages' effects, the pairs' noise has 1."""
    source, target = np.nonzero(~np.eye(languages, dtype=bool))
    places = rng.standard_normal((languages, 2))
    distance = np.linalg.norm(places[source] - places[target], axis=1)
    of_source, of_target = own * rng.standard_normal((2, languages))
    return pl.DataFrame({
        "source": source, "target": target, "distance": distance, "property": rng.standard_normal(languages)[target],
        "f1": effect * distance + of_source[source] + of_target[target] + rng.standard_normal(len(source)),
    })  # fmt: skip


def pearson(frame: pl.DataFrame, features: list[str], **options: int) -> dict[str, dict[str, float]]:
    found = correlate(frame, "f1", features, **options).filter(pl.col("method") == "pearson")
    return {row["feature"]: row for row in found.iter_rows(named=True)}


def test_overlap_and_transfer_as_manafi_et_al_published_them(shared: Path) -> None:
    runs = pl.read_csv(shared / "data/results/manafi2024_perturbation_ner.csv").filter(pl.col("setting") == "transfer")
    for model, published in (("bert", (0.49, -0.09, 0.82)), ("xlmroberta", (0.56, 0.01, 0.85))):
        frame = runs.filter(pl.col("model") == model)
        row = correlate(frame, "f1", ["overlap_tgt_with_src"], "src", "tgt", draws=200).row(0, named=True)
        assert tuple(round(row[key], 2) for key in ("r", "row_low", "row_high")) == published
        # 13 pairs of 20 languages: each target has one source, so languages cannot change places
        assert row["p"] is None and row["note"] == "under half of the permuted pairs exist"
        assert row["low"] < row["r"] < row["high"] and (row["n"], row["languages"]) == (13, 13)


def test_r_and_the_figures_by_row_are_scipys() -> None:
    frame = table(7, np.random.default_rng(0), -1.0).with_columns(pl.col("f1").round(0))  # with ties
    found = correlate(frame, "f1", ["distance", "property"], draws=50)
    assert found.select("method", "feature").rows() == list(product(["pearson", "spearman"], ["distance", "property"]))
    assert dict(found.schema) == SCHEMA
    for row in found.iter_rows(named=True):
        test = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[row["method"]]
        assert row["r"] == pytest.approx(test(frame[row["feature"]], frame["f1"]).statistic)
        ranked = {"pearson": np.asarray, "spearman": stats.rankdata}[row["method"]]
        by_row = stats.pearsonr(ranked(frame[row["feature"]]), ranked(frame["f1"]))
        assert (row["row_low"], row["row_high"]) == pytest.approx(tuple(by_row.confidence_interval()))
        assert row["row_p"] == pytest.approx(by_row.pvalue)


def test_p_is_the_share_of_all_orders_of_the_languages() -> None:
    frame = table(5, np.random.default_rng(3), -0.3)
    y, x = (np.zeros((5, 5)) for _ in "yx")
    for source, target, distance, f1 in frame.select("source", "target", "distance", "f1").rows():
        y[source, target], x[source, target] = f1, distance
    apart = ~np.eye(5, dtype=bool)
    orders = [np.corrcoef(y[np.ix_(order, order)][apart], x[apart])[0, 1] for order in map(list, permutations(range(5)))]
    exact = np.mean([abs(r) >= abs(orders[0]) - 1e-9 for r in orders])
    assert 0.05 < exact < 0.95
    assert pearson(frame, ["distance"], draws=8000)["distance"]["p"] == pytest.approx(exact, abs=0.02)


def test_without_effects_of_languages_the_interval_is_that_of_rows() -> None:
    rng = np.random.default_rng(1)
    frame = pl.DataFrame({"target": [f"t{i}" for i in range(400)], "x": rng.standard_normal(400)}).with_columns(
        source=pl.lit("eng"), f1=pl.col("x") * 0.5 + pl.Series(rng.standard_normal(400))
    )
    row = pearson(frame, ["x"], draws=4000)["x"]
    for kind in ("", "boot_"):
        assert (row[f"{kind}low"], row[f"{kind}high"]) == pytest.approx((row["row_low"], row["row_high"]), abs=0.03)
    pairs = frame.with_columns(source=pl.col("target").str.replace("t", "s"))  # each language in one pair only
    row = pearson(pairs, ["x"], draws=20)["x"]
    assert (row["low"], row["high"]) == pytest.approx((row["row_low"], row["row_high"]), abs=0.03)
    assert row["p"] is None


def test_with_effects_of_languages_rows_promise_too_much() -> None:
    alarms = {"p": 0, "row_p": 0}
    misses = {"": 0, "row_": 0}
    for seed in range(30):
        row = pearson(table(8, np.random.default_rng(seed), own=2.0), ["property"], draws=99, random_state=seed)["property"]
        for name in alarms:
            alarms[name] += row[name] <= 0.05
        for kind in misses:
            misses[kind] += not row[f"{kind}low"] <= 0 <= row[f"{kind}high"]
    assert alarms["p"] <= 5 and misses[""] <= 5  # 1.5 are expected; 6 and more have a chance of 0.3%
    assert alarms["row_p"] >= 8 and misses["row_"] >= 8


def test_what_is_planted_is_found() -> None:
    frame = table(25, np.random.default_rng(0), effect=-2.0)
    row = pearson(frame, ["distance"], draws=999)["distance"]
    assert row["p"] == 1 / 1000 and row["high"] < 0


def test_p_is_corrected_for_the_features_that_had_a_test() -> None:
    rng = np.random.default_rng(0)
    frame = table(9, rng, -0.7).with_columns(
        noise=pl.Series(rng.standard_normal(72)), same=pl.lit(1.0), rare=pl.when(pl.col("source") + pl.col("target") < 3).then("distance")
    )
    found = correlate(frame, "f1", ["rare", "distance", "same", "property", "noise"], draws=500)
    for _, rows in found.group_by("method"):
        tested = rows.filter(pl.col("p").is_not_null())
        assert tested["feature"].to_list() == ["distance", "property", "noise"]
        for column, method in (("p_holm", "holm"), ("p_bh", "fdr_bh")):
            assert tested[column].to_numpy() == pytest.approx(multipletests(tested["p"].to_numpy(), method=method)[1])
        untested = {row["feature"]: row for row in rows.filter(pl.col("p").is_null()).iter_rows(named=True)}
        assert untested["same"]["note"] == "the same in all pairs" and untested["same"]["r"] is None
        assert untested["rare"]["note"] == "known for 3 languages" and untested["rare"]["n"] == 4
        assert all(row["p_holm"] is None and row["p_bh"] is None for row in untested.values())


def test_a_feature_is_judged_on_the_pairs_that_have_it() -> None:
    frame = table(10, np.random.default_rng(0)).with_columns(some=pl.when(~pl.any_horizontal(pl.col("source", "target") == 3)).then("distance"))
    both = pearson(frame, ["distance", "some"], draws=200)
    alone = pearson(frame.filter(pl.col("some").is_not_null()), ["distance"], draws=200)["distance"]
    assert both["some"] == alone | {"feature": "some", "p_holm": both["some"]["p_holm"], "p_bh": both["some"]["p_bh"]}
    assert (both["some"]["n"], both["some"]["languages"], both["distance"]["n"]) == (72, 9, 90)


def test_a_feature_that_one_language_decides_has_no_interval() -> None:
    frame = table(6, np.random.default_rng(0)).with_columns(script=pl.any_horizontal(pl.col("source", "target") == 2))
    row = pearson(frame, ["script"], draws=50)["script"]
    assert row["low"] is None and row["high"] is None and row["r"] is not None
    assert row["note"] == "without one of the languages it is the same in all pairs"


def test_a_property_of_few_targets_is_of_so_many_languages() -> None:
    rng = np.random.default_rng(0)
    cells = [(f"s{source:02}", target, rng.normal()) for source in range(20) for target in range(8)]
    of_target, of_source = rng.normal(size=8), rng.normal(size=20)
    frame = pl.DataFrame([
        {"source": source, "target": f"t{target}", "f1": f1, "distance": rng.normal(), "property": of_target[target], "size": of_source[int(source[1:])]}
        for source, target, f1 in cells
    ])  # fmt: skip
    rows = pearson(frame, ["distance", "property", "size"], draws=50)
    assert [row["languages"] for row in rows.values()] == [20, 8, 20]
    assert rows["property"]["detectable"] == detectable(8) and rows["size"]["detectable"] == detectable(20)
    few = pearson(frame.filter(pl.col("target") < "t3"), ["distance", "property"], draws=50)
    assert few["property"]["r"] is None and "differs between 3 languages" in few["property"]["note"]
    assert few["distance"]["r"] is not None


def test_the_detectable_correlation_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    for languages in (13, 60):  # the normal approximation says a little too much of 13
        r = detectable(languages)
        x, noise = rng.standard_normal((2, 4000, languages))
        found = stats.pearsonr(x, r * x + np.sqrt(1 - r**2) * noise, axis=1).pvalue < 0.05
        assert found.mean() == pytest.approx(0.8, abs=0.04)


def test_bad_tables_are_refused() -> None:
    frame = table(5, np.random.default_rng(0))
    with pytest.raises(DataError, match="no column 'distnce'. Did you mean 'distance'"):
        correlate(frame, "f1", ["distnce"])
    with pytest.raises(DataError, match="share their source and target"):
        correlate(pl.concat([frame, frame]), "f1", ["distance"])
