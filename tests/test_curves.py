"""Curves of F1 over volume: truth found again, scipy as a referee, forms chosen or not, what is beyond the data, real tables."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from analysis.curves import VolumeCurve, curves, students
from analysis.forms import FORMS, Curve
from analysis.pooled import PooledCurve
from engine.errors import DataError

VOLUMES = np.array([0, 100, 1_000, 10_000, 30_000, 100_000], dtype=float)
TRUTHS = {
    "log-linear": lambda n: 0.4 + 0.05 * np.log10(n + 1),
    "power": lambda n: 0.8 - 0.3 * (n + 1) ** -0.25,
    "exponential": lambda n: 0.7 - 0.3 * np.exp(-n / 5_000),
}


def runs(form: str, rng: np.random.Generator, seeds: int = 5, noise: float = 0.008, shared: float = 0.008) -> tuple[np.ndarray, ...]:
    """Volume, score and seed; a seed's scores share the luck of its teacher."""
    volume, seed = np.tile(VOLUMES, seeds), np.repeat(np.arange(seeds), len(VOLUMES))
    return volume, TRUTHS[form](volume) + rng.normal(0, shared, seeds)[seed] + rng.normal(0, noise, len(volume)), seed


@pytest.mark.parametrize("form", FORMS)
def test_the_form_that_made_the_scores_is_chosen_and_found_again(form: str) -> None:
    curve = VolumeCurve().fit(*runs(form, np.random.default_rng(1)))
    assert curve.form_ == form and curve.reason_.startswith("smallest AICc")
    found = curve.predict(VOLUMES)
    assert found[:, 0] == pytest.approx(TRUTHS[form](VOLUMES), abs=0.02)
    assert (found[:, 1] < found[:, 0]).all() and (found[:, 0] < found[:, 2]).all()
    exact = VolumeCurve().fit(VOLUMES, TRUTHS[form](VOLUMES))
    assert exact.form_ == form
    assert exact.predict(VOLUMES)[:, 0] == pytest.approx(TRUTHS[form](VOLUMES), abs=1e-3)


@pytest.mark.parametrize("form", ["power", "exponential"])
def test_no_start_of_a_nonlinear_solver_does_better(form: str) -> None:
    volume, score, seed = runs(form, np.random.default_rng(2), noise=0.02)
    ours = VolumeCurve(form).fit(volume, score, seed)

    def left(parameters: np.ndarray) -> np.ndarray:
        return Curve(form, *parameters).at(0) * 0 + score - np.array([Curve(form, *parameters).at(n) for n in volume])

    for scale in (0.05, 0.3, 1.0) if form == "power" else (100, 3_000, 50_000):
        bounds = ([0, -1, 0.02], [1, 1, 2]) if form == "power" else ([0, -1, 20], [1, 1, 5e5])
        theirs = least_squares(left, [0.7, 0.2, scale], bounds=bounds, x_scale=[1, 1, scale])
        assert ours.rss_ <= 2 * theirs.cost * 1.002


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.floats(0.2, 1), st.floats(0.02, 0.9), st.floats(0.05, 1.5), st.sampled_from(["power", "exponential"]))
def test_enough_is_where_the_curve_reaches_its_share(a: float, b: float, c: float, form: str) -> None:
    scale = c if form == "power" else 10 ** (1 + 2 * c)
    curve = Curve(form, np.array([a]), np.array([a * b]), np.array([scale]))
    enough = curve.enough()[0]
    assert enough >= 0
    assert curve.at(enough)[0] >= 0.95 * a * (1 - 1e-9)
    assert enough == 0 or curve.at(enough)[0] == pytest.approx(0.95 * a)


def test_what_lies_beyond_the_data_is_not_a_number() -> None:
    slow = VolumeCurve("power").fit(VOLUMES, 0.9 - 0.5 * (VOLUMES + 1) ** -0.08).summary()
    assert slow["enough"] is None and slow["enough_says"] == "beyond the observed volumes (up to 100,000)"
    line = VolumeCurve().fit(*runs("log-linear", np.random.default_rng(3))).summary()
    assert line["enough"] is None and line["asymptote"] is None and line["enough_says"] == "log-linear has no asymptote"
    level = VolumeCurve("exponential").fit(*runs("exponential", np.random.default_rng(3))).summary()
    assert level["enough_low"] < level["enough"] < level["enough_high"] < 20_000 and level["enough_says"] == ""


def test_an_asymptote_is_a_possible_score() -> None:
    volume, score = np.tile(VOLUMES, 2), np.tile(0.3 + 0.11 * np.log10(VOLUMES + 1), 2)
    row = VolumeCurve("power").fit(volume, score).summary()
    assert 0 <= row["asymptote_low"] <= row["asymptote"] <= row["asymptote_high"] <= 1
    assert VolumeCurve("power", highest=None).fit(volume, score).summary()["asymptote"] > 1


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("form", FORMS)
def test_intervals_over_seeds_cover_the_truth(form: str, seeds: int) -> None:
    rng, inside = np.random.default_rng(4), []
    span = TRUTHS[form](1e5) - TRUTHS[form](0)
    for _ in range(120):
        row = VolumeCurve(form).fit(*runs(form, rng, seeds)).summary()
        inside.append([row["rise_low"] <= span <= row["rise_high"], row["start_low"] <= TRUTHS[form](0) <= row["start_high"]])
    assert (np.mean(inside, axis=0) >= 0.9).all() and (np.mean(inside, axis=0) <= 0.99).all()


@pytest.mark.parametrize("form", FORMS)
def test_intervals_without_seeds_cover_the_truth(form: str) -> None:
    rng, inside = np.random.default_rng(5), []
    for _ in range(60):
        volume, score, _ = runs(form, rng, 2, shared=0)
        curve = VolumeCurve(form).fit(volume, score)
        _, low, high = curve.predict([1_000])[0]
        row = curve.summary()
        inside.append([
            low <= TRUTHS[form](1_000) <= high,
            form == "log-linear" or row["asymptote_low"] <= {"power": 0.8, "exponential": 0.7}[form] <= row["asymptote_high"],
        ])  # fmt: skip
    assert (np.mean(inside, axis=0) >= 0.9).all()


@pytest.mark.parametrize(
    ("volumes", "seeds", "form", "said"),
    [
        ((0, 100), 5, "log-linear", "too few for AICc"),
        ((0, 100, 1_000), 1, "log-linear", "too few for AICc"),
        ((0, 100, 1_000), 5, "log-linear", "allow no form with an asymptote"),
        ((0, 100, 1_000, 10_000), 1, "log-linear", "too few for AICc"),
        ((0, 100, 1_000, 10_000, 30_000), 1, "log-linear", "allow no form with an asymptote"),
    ],
)
def test_with_too_few_volumes_no_form_is_picked_in_silence(volumes: tuple[int, ...], seeds: int, form: str, said: str) -> None:
    x = np.tile(np.array(volumes, dtype=float), seeds)
    curve = VolumeCurve().fit(x, TRUTHS["exponential"](x) + np.random.default_rng(6).normal(0, 0.01, len(x)))
    assert curve.form_ == form and said in curve.reason_
    assert all(np.isnan(curve.aicc_[name]) for name in ("power", "exponential"))


def test_forms_that_fit_about_as_well_are_named() -> None:
    rng = np.random.default_rng(7)
    reasons = [VolumeCurve().fit(*runs("power", rng, noise=0.08)).reason_ for _ in range(10)]
    assert any("fits about as well" in reason for reason in reasons)


def results(rng: np.random.Generator, falls: float = 0.0) -> pl.DataFrame:
    """A table like the engine's, in which volume raises F1 by another rise for each target."""
    rows = []
    for target in ("afr", "ben", "bre", "cym", "est", "eus"):
        ease, more = rng.normal(0, 0.1), 1 + rng.normal(0, 0.3)
        for source in ("deu", "eng"):
            for seed in range(3):
                for volume in VOLUMES:
                    score = 0.3 + ease + more * (TRUTHS["exponential"](volume) - 0.4) + rng.normal(0, 0.01)
                    method = "teacher-student" if volume else "direct"
                    rows.append((method, [source], target, int(volume), seed, score, "ALL", "done", "d", "m", "slots"))
                rows.append(("in-language", [target], target, 0, seed, 0.9, "ALL", "done", "d", "m", "slots"))
    columns = ["method", "sources", "target", "volume", "seed", "f1", "entity_type", "status", "dataset", "model", "form"]
    return pl.DataFrame(rows, schema=columns, orient="row").with_columns(shots=0)


def test_a_table_of_results_becomes_a_curve_per_pair_of_its_students() -> None:
    frame = students(results(np.random.default_rng(8)))
    found = curves(frame, by=("source", "target"))
    assert len(found) == 12 and set(found["form"]) == {"exponential"}
    assert set(found["interval"]) == {"jackknife over 3 seeds"} and set(found["scores"]) == {15}
    assert found["rise"].mean() == pytest.approx(0.3, abs=0.15)
    one = curves(pl.concat([frame, frame.filter(pl.col("volume") == 100).with_columns(target=pl.lit("fin"), source=pl.lit("swe"))]))
    assert one.filter(pl.col("target") == "fin")["reason"][0] == "all 36 scores are at volume 100"


def test_how_good_the_teacher_is_does_not_bend_its_students_curve() -> None:
    table = results(np.random.default_rng(13))
    strong = table.with_columns(f1=pl.when(pl.col("method") == "direct").then(0.95).otherwise("f1"))
    assert curves(students(strong)).equals(curves(students(table)))
    row = curves(students(strong)).row(0, named=True)
    at = {volume: strong.filter(volume=volume, target=row["target"], method="teacher-student") for volume in (100, 100_000)}
    at = {volume: part.filter(pl.col("sources").list.first() == row["source"])["f1"].mean() for volume, part in at.items()}
    assert row["start"] == pytest.approx(at[100], abs=0.02) and row["rise"] == pytest.approx(at[100_000] - at[100], abs=0.02)


def test_enough_is_not_sought_below_the_observed_volumes() -> None:
    volume = np.tile(VOLUMES[2:], 3)
    row = VolumeCurve("exponential").fit(volume, 0.7 - 0.3 * np.exp(-volume / 200), np.repeat(range(3), 4)).summary()
    assert row["enough"] == 1_000 and row["enough_says"] == "the smallest observed, or less"


@pytest.mark.filterwarnings("error")
def test_why_there_is_no_interval_is_said() -> None:
    uneven = VolumeCurve().fit([100, 1_000, 100], [0.5, 0.6, 0.55], [1, 1, 2]).summary()
    assert uneven["rise_low"] is None and uneven["interval"] == "none: without seed 1 all scores are at one volume"
    two = VolumeCurve().fit([100, 1_000], [0.5, 0.6]).summary()
    assert two["rise_high"] is None and two["interval"] == "none: 2 scores and 2 coefficients leave no noise to see"


@pytest.mark.filterwarnings("error")
def test_a_model_that_never_scores_has_a_flat_curve() -> None:
    for seeds in (None, np.repeat(range(3), 4)):
        row = VolumeCurve().fit(np.tile(VOLUMES[1:5], 3), np.zeros(12), seeds).summary()
        assert row["form"] == "log-linear" and "all scores are 0" in row["reason"]
        assert (row["rise"], row["rise_low"], row["rise_high"]) == (0, 0, 0)
    frame = students(results(np.random.default_rng(9))).with_columns(f1=pl.lit(0.0))
    with pytest.raises(DataError, match="f1 is 0.0 in all"):
        PooledCurve().fit(frame)


def test_the_pooled_curve_has_a_common_shape_and_speaks_of_languages() -> None:
    frame = students(results(np.random.default_rng(9)))
    pooled = PooledCurve().fit(frame)
    row = pooled.summary()
    assert row["form"] == "exponential" and row["interval"] == "jackknife over 6 targets, for these 2 sources"
    assert row["rise_low"] < 0.3 < row["rise_high"]
    assert row["scale"] == pytest.approx(5_000, rel=0.2)
    one = curves(frame.filter(pl.col("source") == "deu", pl.col("target") == "afr")).row(0, named=True)
    # languages differ more than seeds, so the mean over languages is less sure than one pair's own rise
    assert row["rise_high"] - row["rise_low"] > 2 * (one["rise_high"] - one["rise_low"])
    own = curves(frame).join(pooled.pairs_, on=["source", "target"], suffix="_common")
    assert np.corrcoef(own["rise"], own["rise_common"])[0, 1] > 0.98
    assert own["rise_shrunk"].std() <= own["rise_common"].std()
    assert pooled.predict(VOLUMES[1:])[:, 0] == pytest.approx(
        frame.group_by("volume").agg(pl.col("f1").mean()).sort("volume")["f1"].to_numpy(), abs=0.01
    )


def test_pairs_at_other_volumes_do_not_bend_the_pooled_curve() -> None:
    frame = students(results(np.random.default_rng(10)))
    easy = frame.filter((pl.col("target") != "afr") | (pl.col("volume") <= 100)).with_columns(
        f1=pl.col("f1") + pl.when(pl.col("target") == "afr").then(0.3).otherwise(0.0)
    )
    assert PooledCurve().fit(easy).summary()["rise"] == pytest.approx(PooledCurve().fit(frame).summary()["rise"], abs=0.06)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop("volume"), "no column 'volume'"),
        (lambda frame: frame.rename({"volume": "volumes"}), "Did you mean 'volumes'"),
        (lambda frame: frame.with_columns(volume=pl.lit(100)), "a curve needs several"),
        (lambda frame: frame.with_columns(volume=-pl.col("volume")), "0 or more"),
        (lambda frame: frame.with_columns(f1=100 * pl.col("f1")), "highest=100"),
        (lambda frame: frame.with_columns(f1=pl.when(pl.col("seed") > 0).then("f1")), "are missing"),
    ],
)
def test_tables_without_a_curve_are_refused(change, said: str) -> None:
    frame = change(students(results(np.random.default_rng(11))))
    with pytest.raises(DataError, match=said):
        curves(frame)
    with pytest.raises(DataError, match=said):
        PooledCurve().fit(frame)


def test_an_unknown_form_is_refused() -> None:
    for curve in (lambda: VolumeCurve("exponent").fit(VOLUMES, VOLUMES / 1e6), lambda: PooledCurve("exponent").fit(students(results(np.random.default_rng(1))))):
        with pytest.raises(DataError, match="Did you mean 'exponential'"):
            curve()


def test_too_few_languages_and_no_students_are_refused() -> None:
    frame = results(np.random.default_rng(12))
    with pytest.raises(DataError, match="fewer than 4"):
        PooledCurve().fit(students(frame).filter(pl.col("target") < "bre"))
    with pytest.raises(DataError, match="hold no students"):
        students(frame.filter(pl.col("method") != "teacher-student"))


def test_labeled_sentences_raise_wikiann_f1(shared: Path) -> None:
    """SumEval 2022: a target's F1 by the number of its own labeled sentences among the training languages."""
    configs = pl.read_csv(shared / "data/results/sumeval2022_configs.csv").filter(pl.col("task") == "WikiANN")
    scores = pl.read_csv(shared / "data/results/sumeval2022_scores.csv").join(configs, on="config")
    own = [dict(part.split(":") for part in pivots.split()).get(target, "0") for pivots, target in scores.select("pivots", "target").rows()]
    frame = scores.with_columns(volume=pl.Series(own).cast(pl.Float64), source=pl.lit("others")).rename({"score": "f1"})
    row = PooledCurve("log-linear").fit(frame).summary()
    assert row["rise_low"] > 0.03 and row["interval"] == "jackknife over 37 targets, from others"
