"""Shares of R2 by block: they add up, agree with brute force, do not reward noise on new targets; intervals by language."""

from itertools import permutations
from math import factorial

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from analysis.importance import importance
from engine.errors import DataError


def pairs(languages: int, seed: int, slope: float = 1.0, by_target: float = 0.0) -> pl.DataFrame:
    """All ordered pairs: y = slope * a + a target's and a source's own effect + noise; b goes with a, c is a target's noise."""
    rng = np.random.default_rng(seed)
    source, target = np.divmod(np.arange(languages**2), languages)
    keep = source != target
    a = rng.normal(size=languages**2)
    own = rng.normal(size=(3, languages))
    y = slope * a + by_target * (own[0][source] + own[1][target]) + rng.normal(size=languages**2)
    table = {"a": a, "b": a + rng.normal(size=languages**2), "c": own[2][target], "y": y}
    names = {"source": [f"l{i:02}" for i in source], "target": [f"l{i:02}" for i in target]}
    return pl.DataFrame(names | table).filter(pl.Series(keep))


def r2(frame: pl.DataFrame, columns: list[str]) -> float:
    if not columns:
        return 0.0
    x, y = frame.select(columns).to_numpy(), frame["y"].to_numpy()
    return LinearRegression().fit(x, y).score(x, y)


def shares(frame: pl.DataFrame, blocks: dict[str, list[str]], **more: int) -> dict[str, dict[str, float]]:
    table = importance(frame, "y", blocks, **{"draws": 20, **more})
    return {row["block"]: row for row in table.iter_rows(named=True)}


@settings(deadline=None, max_examples=12, derandomize=True)
@given(st.integers(0, 10_000), st.floats(0, 3), st.floats(0, 3))
def test_shares_are_the_mean_over_all_orders_of_entering(seed, slope, by_target):
    frame = pairs(8, seed, slope, by_target)
    blocks = {"one": ["a"], "two": ["b"], "three": ["c"]}
    found = shares(frame, blocks, draws=1)
    for name, columns in blocks.items():
        gains = []
        for order in permutations(blocks):
            before = [column for block in order[: order.index(name)] for column in blocks[block]]
            gains.append(r2(frame, before + columns) - r2(frame, before))
        assert found[name]["r2"] == pytest.approx(sum(gains) / factorial(3), abs=1e-6)
    assert found["all"]["r2"] == pytest.approx(r2(frame, ["a", "b", "c"]), abs=1e-6)


def test_a_copy_takes_half():
    frame = pairs(10, 1).with_columns(copy=3 * pl.col("a") + 1)
    found = shares(frame, {"original": ["a"], "copy": ["copy"]})
    assert found["original"]["r2"] == pytest.approx(found["copy"]["r2"], abs=1e-4)
    assert found["all"]["r2"] == pytest.approx(r2(frame, ["a"]), abs=1e-4)


def test_the_held_out_share_is_that_of_leaving_out_each_target():
    frame = pairs(10, 2, by_target=1.0)
    x, y = frame.select("a", "c").to_numpy(), frame["y"].to_numpy()
    groups = frame["target"].to_numpy()
    predicted = cross_val_predict(LinearRegression(), x, y, groups=groups, cv=LeaveOneGroupOut())
    mean = cross_val_predict(LinearRegression(), np.zeros_like(x), y, groups=groups, cv=LeaveOneGroupOut())
    expected = 1 - ((y - predicted) ** 2).sum() / ((y - mean) ** 2).sum()
    assert shares(frame, {"one": ["a"], "two": ["c"]})["all"]["held_out"] == pytest.approx(expected, abs=1e-6)
    assert expected < r2_score(y, predicted) + 0.2  # both are shares of much the same sum of squares


def test_a_language_s_noise_has_a_share_in_the_sample_and_none_for_a_new_language():
    tables = [shares(pairs(12, seed, by_target=1.5), {"real": ["a"], "noise": ["c"]}) for seed in range(20)]
    noise = [(table["noise"]["r2"], table["noise"]["held_out"]) for table in tables]
    assert all(inside > 0 for inside, _ in noise)
    assert np.mean([held for _, held in noise]) < 0
    assert np.mean([table["real"]["held_out"] for table in tables]) > 0.05


def test_intervals_by_language_are_wider_than_by_row_where_languages_matter():
    found = shares(pairs(15, 3, by_target=2.0), {"real": ["a"], "target": ["c"]}, draws=500)
    for row in found.values():
        assert row["low"] <= row["high"] and row["row_low"] <= row["r2"] <= row["row_high"]
    target = found["target"]
    assert target["high"] - target["low"] > 1.5 * (target["row_high"] - target["row_low"])


@pytest.mark.parametrize("languages", [8, 20])
def test_intervals_cover_what_a_block_is_worth_among_all_languages(languages):
    truth = {"real": 0.25, "none": 0.0, "all": 0.25}  # a's variance is a quarter of the outcome's
    tables = [shares(pairs(languages, seed, by_target=1.0), {"real": ["a"], "none": ["c"]}, draws=1) for seed in range(80)]
    for name, share in truth.items():
        covered = np.mean([table[name]["low"] <= share <= table[name]["high"] for table in tables])
        assert covered >= 0.9, (name, covered)
    assert np.mean([table["none"]["low"] > 0 for table in tables]) <= 0.1
    assert np.mean([table["real"]["low"] > 0 for table in tables]) > (0.9 if languages == 20 else 0.5)


def test_a_block_of_many_columns_is_not_taken_for_one_that_matters():
    tables = []
    for seed in range(60):
        rng, frame = np.random.default_rng(seed), pairs(10, seed, slope=0.0, by_target=1.0)
        own = dict(zip((f"l{i:02}" for i in range(10)), rng.normal(size=(10, 2)), strict=True))
        of_target = frame["target"].replace_strict(own, return_dtype=pl.List(pl.Float64))
        frame = frame.with_columns(c2=of_target.list.get(0), c3=of_target.list.get(1))
        tables.append(shares(frame, {"pair": ["a", "b"], "target": ["c", "c2", "c3"]}, draws=1))
    for name in ("pair", "target", "all"):
        assert np.mean([table[name]["low"] > 0 for table in tables]) <= 0.12, name
    assert np.mean([table["target"]["r2"] for table in tables]) > 0.1  # in the sample


def test_what_is_missing_is_a_column_of_its_block_whatever_stands_in_for_it():
    frame = pairs(10, 4)
    holes = frame.with_columns(a=pl.when(pl.int_range(pl.len()) % 4 > 0).then("a"))
    filled = holes.with_columns(gap=pl.col("a").is_null().cast(pl.Float64), a=pl.col("a").fill_null(17.0))
    first, second = shares(holes, {"one": ["a"], "two": ["c"]}), shares(filled, {"one": ["a", "gap"], "two": ["c"]})
    for name in ("one", "two", "all"):
        assert first[name]["r2"] == pytest.approx(second[name]["r2"], abs=1e-6)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ({}, "0 blocks"),
        ({str(i): ["a"] for i in range(11)}, "11 blocks"),
        ({"one": ["a"], "two": ["b", "a"]}, "a stands in the blocks 'one' and 'two'"),
        ({"one": ["aa"]}, "no column 'aa'.*Did you mean 'a'"),
        ({"one": ["hole"]}, "'hole' has no value"),
        ({"one": ["same"]}, "'same' is the same"),
        ({"one": [f"x{i}" for i in range(9)]}, "9 predictors for 8 languages"),
    ],
)
def test_what_cannot_be_shared_out(blocks, message):
    frame = pairs(8, 5).with_columns(
        pl.lit(None, pl.Float64).alias("hole"), same=pl.lit(1.0), **{f"x{i}": pl.col("a") * (i + 1) for i in range(9)}
    )
    with pytest.raises(DataError, match=message):
        importance(frame, "y", blocks, draws=1)


def test_what_is_unknown_counts_as_a_predictor():
    names = [f"x{number}" for number in range(5)]
    rng, frame = np.random.default_rng(6), pairs(8, 5)
    frame = frame.with_columns(pl.Series(name, rng.normal(size=len(frame))) for name in names)
    importance(frame, "y", {"all five": names}, draws=1)
    holes = frame.with_columns(pl.when(pl.Series(rng.random(len(frame)) > 0.3)).then(pl.col(name)).alias(name) for name in names)
    with pytest.raises(DataError, match="10 predictors for 8 languages"):
        importance(holes, "y", {"all five": names}, draws=1)
