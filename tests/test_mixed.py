"""The model with crossed random effects: held against statsmodels, and what it refuses."""

import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec
from statsmodels.stats.outliers_influence import variance_inflation_factor

from analysis.mixed import CrossedEffects
from engine.errors import DataError


def table(sources: int, targets: int, seed: int = 0, of_source: float = 1.0, of_target: float = 1.0, volumes: int = 1) -> pl.DataFrame:
    """f1 = 0.5 distance + 0.2 volume + effects of source, target and pair + noise; the property of the target does nothing."""
    rng = np.random.default_rng(seed)
    source, target, volume = (axis.ravel() for axis in np.indices((sources, targets, volumes)))
    places, others = rng.standard_normal((sources, 2)), rng.standard_normal((targets, 2))
    distance = np.linalg.norm(places[source] - others[target], axis=1)
    effects = of_source * rng.standard_normal(sources)[source] + of_target * rng.standard_normal(targets)[target]
    of_pair = rng.standard_normal((sources, targets))[source, target]
    noise = 0.5 * rng.standard_normal(len(source)) if volumes > 1 else 0.0
    return pl.DataFrame({
        "source": [f"s{number}" for number in source], "target": [f"t{number}" for number in target], "volume": volume,
        "distance": distance, "property": rng.standard_normal(targets)[target],
        "f1": 0.5 * distance + 0.2 * volume + effects + of_pair + noise,
    })  # fmt: skip


def statsmodels(frame: pl.DataFrame, features: list[str], groups: list[str]) -> MixedLM:
    codes = [np.unique(frame[name], return_inverse=True)[1] for name in groups]
    effects = VCSpec(groups, [[[str(level) for level in range(code.max() + 1)]] for code in codes], [[np.eye(code.max() + 1)[code]] for code in codes])
    x = np.column_stack([np.ones(len(frame)), frame.select(features).to_numpy()])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it warns where it fails
        return MixedLM(frame["f1"].to_numpy(), x, groups=np.zeros(len(frame)), exog_re=None, exog_vc=effects).fit(gtol=1e-8)


@pytest.mark.parametrize("seed", [0, 3])
def test_it_is_statsmodels_model(seed: int) -> None:
    frame = table(9, 12, seed)
    model = CrossedEffects().fit(frame, "f1", ["distance", "property"])
    theirs = statsmodels(frame, ["distance", "property"], ["source", "target"])
    assert model.coef_["feature"].to_list() == ["distance", "property"]
    assert model.coef_["estimate"].to_numpy() == pytest.approx(theirs.fe_params[1:], rel=2e-3, abs=1e-4)
    assert model.coef_["se"].to_numpy() == pytest.approx(theirs.bse_fe[1:], rel=0.02)
    assert model.variances_["variance"].to_numpy() == pytest.approx([*theirs.vcomp, theirs.scale], rel=5e-3)


def test_a_variance_of_zero_is_as_if_there_were_no_such_effect() -> None:
    frame = next(
        frame for frame in (table(8, 12, seed, of_source=0.0) for seed in range(20))
        if CrossedEffects().fit(frame, "f1", ["distance"]).variances_["variance"][0] == 0
    )  # fmt: skip
    model = CrossedEffects().fit(frame, "f1", ["distance"])
    theirs = statsmodels(frame, ["distance"], ["target"])
    assert model.coef_["estimate"][0] == pytest.approx(theirs.fe_params[1], rel=2e-3)
    assert model.coef_["se"][0] == pytest.approx(theirs.bse_fe[1], rel=0.05)  # theirs is from the whole Hessian


def test_a_property_of_the_target_has_the_targets_degrees_of_freedom() -> None:
    frame = table(10, 14)
    model = CrossedEffects().fit(frame, "f1", ["property"])
    means = frame.group_by("target").agg(pl.col("f1", "property").mean())
    x = np.column_stack([np.ones(14), means["property"]])
    beta, rss, *_ = np.linalg.lstsq(x, means["f1"].to_numpy())
    row = model.coef_.row(0, named=True)
    assert row["df"] == pytest.approx(12, rel=1e-3)  # as in a regression of the targets' means
    assert row["estimate"] == pytest.approx(beta[1], rel=1e-4)
    assert row["se"] == pytest.approx(np.sqrt(rss[0] / 12 * np.linalg.inv(x.T @ x)[1, 1]), rel=1e-3)
    both = CrossedEffects().fit(frame, "f1", ["distance", "property"]).coef_
    assert both["df"].to_list() == [11, 11]  # of 14 languages and 3 coefficients, though the distance is known of 140 pairs


def test_shares_of_variance() -> None:
    frame = table(12, 15)
    model = CrossedEffects().fit(frame, "f1", ["distance", "property"])
    explained = np.var(frame.select("distance", "property").to_numpy() @ model.coef_["estimate"].to_numpy())
    of_source, of_target, noise = model.variances_["variance"]
    whole = explained + of_source + of_target + noise
    assert model.r2_marginal_ == pytest.approx(explained / whole)
    assert model.r2_conditional_ == pytest.approx((explained + of_source + of_target) / whole)
    assert model.variances_["share"].sum() + model.r2_marginal_ == pytest.approx(1)
    x = np.column_stack([np.ones(len(frame)), frame.select("distance", "property").to_numpy()])
    assert model.coef_["vif"].to_list() == model.vif_.tolist() == pytest.approx([variance_inflation_factor(x, column) for column in (1, 2)])


def test_several_volumes_of_a_pair_give_the_pair_an_effect() -> None:
    frame = table(8, 9, volumes=4).with_columns(interaction=pl.col("volume") * pl.col("distance"))
    model = CrossedEffects().fit(frame, "f1", ["volume", "distance", "interaction"])
    assert model.variances_["effect"].to_list() == ["source", "target", "pair", "residual"]
    assert model.variances_["levels"].to_list() == [8, 9, 72, 288]
    assert model.variances_["variance"][2] == pytest.approx(1, abs=0.4)  # planted
    for row, planted in zip(model.coef_.iter_rows(named=True), (0.2, 0.5, 0.0), strict=True):
        assert row["low"] < planted < row["high"]
    assert model.coef_["df"].to_list() == [5, 5, 5]  # of 288 rows of 9 languages


def test_seeds_are_a_third_group() -> None:
    frame = pl.concat([table(6, 8, volumes=2).with_columns(seed=pl.lit(seed), f1=pl.col("f1") + seed / 10) for seed in range(3)])
    with pytest.raises(DataError, match="288 rows share source, target and all features"):
        CrossedEffects().fit(frame, "f1", ["distance", "volume"])
    model = CrossedEffects(("source", "target", "seed")).fit(frame, "f1", ["distance", "volume"])
    assert model.variances_["effect"].to_list() == ["source", "target", "seed", "pair", "residual"]
    assert model.variances_["variance"][2] == pytest.approx(0.01, rel=0.2)


def test_what_cannot_be_told_from_the_noise_has_no_variance() -> None:
    model = CrossedEffects().fit(table(1, 30), "f1", ["distance"])
    assert model.variances_["levels"].to_list() == [1, 30, 30]
    assert model.variances_["variance"].is_null().to_list() == [True, True, False]
    assert model.coef_["df"][0] == pytest.approx(28)


def test_a_source_set_is_a_source() -> None:
    frame = table(6, 8).with_columns(pl.when(pl.col("source") == "s3").then(["s1", "s2"]).otherwise(pl.concat_list("source")).alias("source"))
    low, expected = (CrossedEffects().fit(rows, "f1", ["distance"]).coef_["low"][0] for rows in (frame, table(6, 8)))
    assert low == pytest.approx(expected)


def test_rows_without_a_feature_are_counted() -> None:
    frame = table(6, 10)
    some = frame.with_columns(distance=pl.when(pl.col("target") != "t3").then("distance"))
    model = CrossedEffects().fit(some, "f1", ["distance"])
    assert (model.n_, model.dropped_) == (54, 6)
    assert model.coef_.equals(CrossedEffects().fit(frame.filter(pl.col("target") != "t3"), "f1", ["distance"]).coef_)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.floats(0.01, 1000), st.floats(0.01, 1000), st.floats(-5, 5))
def test_units_do_not_matter(of_outcome: float, of_feature: float, offset: float) -> None:
    frame = table(6, 8)
    one = CrossedEffects().fit(frame, "f1", ["distance", "property"])
    other = frame.with_columns(pl.col("f1") * of_outcome + offset, pl.col("distance") * of_feature + offset)
    model = CrossedEffects().fit(other, "f1", ["distance", "property"])
    assert model.coef_["p"].to_list() == pytest.approx(one.coef_["p"].to_list(), rel=1e-3)
    assert model.coef_["high"][0] * of_feature / of_outcome == pytest.approx(one.coef_["high"][0], rel=1e-3)
    assert model.r2_marginal_ == pytest.approx(one.r2_marginal_, rel=1e-3)


def test_it_is_quick_with_all_of_de_vries_languages() -> None:
    model = CrossedEffects().fit(table(65, 105), "f1", ["distance", "property"])
    row = model.coef_.row(0, named=True)
    assert row["low"] < 0.5 < row["high"] and row["high"] - row["low"] < 0.2


def of_targets(frame: pl.DataFrame, number: int) -> pl.DataFrame:
    rng, targets = np.random.default_rng(1), sorted(set(frame["target"]))
    values = [dict(zip(targets, rng.normal(size=len(targets)), strict=True)) for _ in range(number)]
    return frame.with_columns(pl.col("target").replace_strict(value).alias(f"p{place}") for place, value in enumerate(values))


def test_properties_of_few_targets_have_few_degrees_of_freedom() -> None:
    frame = of_targets(table(40, 5), 4)
    rows = CrossedEffects().fit(frame, "f1", ["p0", "p1", "distance"]).coef_
    assert (rows["df"][:2] <= 2).all() and rows["df"][2] > 20
    with pytest.raises(DataError, match="4 features that vary with the target alone and 5 targets"):
        CrossedEffects().fit(frame, "f1", ["p0", "p1", "p2", "p3"])


@pytest.mark.parametrize(
    ("frame", "features", "says"),
    [
        (table(5, 6), ["distnce"], "no column 'distnce'. Did you mean 'distance'"),
        (table(5, 6).with_columns(f1=pl.lit(None, pl.Float64)), ["distance"], "30 of 30 rows have no f1"),
        (table(5, 6).with_columns(f1=pl.lit(0.1)), ["distance"], "nothing to explain"),
        (table(3, 3), ["distance"], "3 languages: with fewer than 4"),
        (table(5, 6), ["volume"], "volume follows from nothing: it is constant"),
        (table(5, 6).with_columns(far=pl.col("distance") * 2 + 1), ["distance", "far"], "far follows from distance"),
        (table(5, 6).with_columns(f1=pl.col("distance") * 2), ["distance"], "to the last digit"),
        (
            table(4, 3).with_columns(*(pl.col("distance").pow(power).alias(f"d{power}") for power in range(1, 5))),
            ["d1", "d2", "d3", "d4"],
            "4 features and 4 languages.*penalty",
        ),
        (
            table(4, 3).with_columns(*(pl.col("distance").pow(power).alias(f"d{power}") for power in range(1, 4))),
            ["d1", "d2", "d3"],
            "3 features and 4 languages",
        ),
        (pl.concat([table(5, 6), table(5, 6)]), ["distance"], "60 rows share source, target and all features"),
    ],
)
def test_bad_tables_are_refused(frame: pl.DataFrame, features: list[str], says: str) -> None:
    with pytest.raises(DataError, match=says):
        CrossedEffects().fit(frame, "f1", features)
