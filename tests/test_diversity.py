"""Source sets: what is said of each, and the effect of their diversity with distance, size and target held fixed."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest

from analysis.diversity import diversity, jackknife, source_sets, spread
from analysis.typology import matrices
from engine.errors import DataError, StudyError

SOURCES = ("eng", "deu", "spa", "rus", "hin", "ara", "tur", "fin")
TARGETS = ("afr", "ben", "bre", "cym", "est")


def test_a_set_is_described_by_its_distances() -> None:
    sets, targets = [["deu", "eng"], ["eng", "tur"], ["eng"], ["deu", "eng", "tur"]], ["afr"] * 4
    found = source_sets(sets, targets, "syntactic")
    far = matrices(["eng", "deu", "tur", "afr"])["syntactic"].values
    assert found["mean_distance"].to_list() == pytest.approx([far[0, 1], far[0, 2], 0.0, far[:3, :3][np.triu_indices(3, 1)].mean()])
    assert found["to_target"].to_list() == pytest.approx([far[:2, 3].mean(), (far[0, 3] + far[2, 3]) / 2, far[0, 3], far[:3, 3].mean()])
    assert found["nearest"][3] == pytest.approx(far[:3, 3].min())
    near, wide, single, _ = found["log_determinant"]
    assert near < wide < single == 0  # the closer two are, the less volume they span
    assert near == pytest.approx(np.log(1 - np.cos(np.pi / 2 * far[0, 1]) ** 2))


def test_made_languages_have_the_distances_of_those_they_follow() -> None:
    real, made = source_sets([["deu", "eng"]], ["nld"]), source_sets([["x-deu", "x-eng"]], ["x-nld"])
    assert real.equals(made)


def table(effect: float, rng: np.random.Generator, noise: float = 0.004, shared: float = 0.02) -> pl.DataFrame:
    sets = [list(codes) for size in (2, 3) for codes in list(combinations(SOURCES, size))[::2]]
    rows = [(codes, target) for codes in sets for target in TARGETS]
    described = source_sets(*zip(*rows, strict=True))
    good = {code: rng.normal(0, shared) for code in SOURCES}
    ease = {code: rng.normal(0, 0.1) for code in TARGETS}
    scores = 0.6 + effect * described["mean_distance"].to_numpy() - 0.3 * described["to_target"].to_numpy() + 0.05 * described["n_sources"].to_numpy()
    scores += np.array([np.mean([good[code] for code in codes]) + ease[target] for codes, target in rows])
    return pl.DataFrame({
        "sources": [codes for codes, _ in rows], "target": [target for _, target in rows], "f1": scores + rng.normal(0, noise, len(rows)),
    })  # fmt: skip


def test_intervals_cover_where_sets_share_languages_that_differ() -> None:
    rng, frame = np.random.default_rng(1), table(0.3, np.random.default_rng(1))
    sets, targets = frame["sources"].to_list(), frame["target"].to_list()
    described = source_sets(sets, targets)
    coefficients = jackknife(described, "mean_distance", sets, targets)
    shares = np.array([[(code in codes) / len(codes) for code in SOURCES] for codes in sets])
    outcomes = shares @ rng.normal(0, 0.02, (len(SOURCES), 400)) + rng.normal(0, 0.004, (len(frame), 400))
    outcomes += 0.3 * described["mean_distance"].to_numpy()[:, None] + 0.5 * described["to_target"].to_numpy()[:, None]
    estimate, half, _ = spread(coefficients @ outcomes)
    assert 0.92 <= (np.abs(estimate - 0.3) <= half).mean()
    assert estimate.mean() == pytest.approx(0.3, abs=0.02)
    row = diversity(frame.with_columns(f1=pl.Series(outcomes[:, 0]))).row(0, named=True)
    assert (row["estimate"], row["high"] - row["low"]) == pytest.approx((estimate[0], 2 * half[0]))


def test_a_clear_effect_is_found() -> None:
    sure = diversity(table(0.3, np.random.default_rng(2), shared=0.0))
    assert sure["measure"].to_list() == ["mean_distance", "log_determinant"]
    assert sure["languages"].to_list() == [13, 13] and sure["left_out"].to_list() == [0, 0]
    assert 0 < sure["low"][0] < 0.3 < sure["high"][0] and sure["p"][0] < 0.05


def test_one_standard_deviation_is_that_of_what_is_not_held_fixed() -> None:
    frame = table(0.3, np.random.default_rng(2), noise=0.0, shared=0.0)
    described = source_sets(frame["sources"].to_list(), frame["target"].to_list())
    held = np.column_stack([
        described["to_target"], described["n_sources"] == 2, *(frame["target"] == code for code in TARGETS),
    ]).astype(float)  # fmt: skip
    x = described["mean_distance"].to_numpy()
    left = x - held @ np.linalg.lstsq(held, x, rcond=None)[0]
    row = diversity(frame).row(0, named=True)
    assert row["estimate"] == pytest.approx(0.3)
    assert row["per_sd"] == pytest.approx(0.3 * left.std())


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda frame: frame.rename({"sources": "source"}), DataError, "Did you mean 'source'"),
        (lambda frame: frame.with_columns(f1=pl.lit(None, pl.Float64)), DataError, "have no f1"),
        (lambda frame: frame.filter(pl.col("sources").list.first() == "eng").group_by("target").head(1), DataError, "several source sets"),
        (lambda frame: frame.filter(pl.col("sources").list.first() == "eng", pl.col("sources").list.len() == 2), DataError, "left out"),
        (lambda frame: frame.with_columns(target=pl.lit("xxx")), StudyError, "xxx"),
    ],
)
def test_what_cannot_be_told_is_refused(change, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        diversity(change(table(0.0, np.random.default_rng(3))))


def test_an_unknown_distance_is_refused() -> None:
    with pytest.raises(DataError, match="Did you mean 'syntactic'"):
        source_sets([["eng"]], ["deu"], "syntax")
