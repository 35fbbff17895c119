"""The power of a study before it runs: against planted effects, what it falls and rises with, what its path imports."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from small_study import ROOT

from analysis.contrast import paired, robustness
from analysis.design import Assumptions, Spread, components, lines, power, published
from engine.spec import Study

TARGETS = ("afr", "ben", "bre", "cym", "est", "eus", "fin", "hun", "jav", "kat")
STUDY = Study(
    name="planned", question="?", hypothesis=".", dataset="wikiann", model="google/mt5-base", sources=("deu", "eng", "hin", "tur"),
    targets=TARGETS, volumes=(0, 100, 1_000, 10_000), seeds=(0, 1, 2),
)  # fmt: skip
LARGE = (*TARGETS, "mal", "msa", "swa", "tam", "tgl", "yor", "ibo", "kaz", "kor", "lit")


def by_name(study: Study, **changes: object) -> dict[str, dict]:
    return {row["hypothesis"]: row for row in power(study, Assumptions(**changes)).iter_rows(named=True)}


def test_the_axes_decide_which_hypotheses_there_are() -> None:
    assert set(by_name(STUDY)) == {
        "gain over the teacher", "rise with volume", "F1 falls with distance", "the gain falls with distance",
    }  # fmt: skip
    assert set(by_name(STUDY.varied(methods="direct", volumes=0))) == {"F1 falls with distance"}
    assert "rise with volume" not in by_name(STUDY.varied(volumes=(0, 100)))  # the teacher is no student
    perturbed = STUDY.varied(perturbations=("none", "names", "both"))
    assert {"robust to names", "robust to both"} < set(by_name(perturbed))
    assert "robust to names" not in by_name(perturbed.varied(methods=("direct", "teacher-student")))
    assert set(by_name(STUDY.varied(measures="alignment"))) - set(by_name(STUDY)) == {"F1 rises with alignment", "the gain rises with alignment"}
    sets = STUDY.varied(sources=("deu+eng", "deu+hin", "eng+tur", "hin+tur", "deu+tur"), methods=("direct", "teacher-student", "multi-teacher"))
    of_sets = {f"diverse sources raise the {what}" for what in (
        "score of direct transfer", "score of teacher-student", "gain of teacher-student", "score of multi-teacher", "gain of multi-teacher",
    )}  # fmt: skip
    assert set(by_name(sets)) - set(by_name(STUDY)) == of_sets
    assert set(by_name(sets.varied(methods="direct", volumes=0))) & of_sets == {"diverse sources raise the score of direct transfer"}
    assert power(STUDY.varied(methods="in-language", sources="eng", volumes=0)).is_empty()
    (line,) = lines(STUDY.varied(methods="in-language", sources="eng", volumes=0))
    assert "no hypothesis" in line and "direct" in line


def test_the_detectable_effect_is_found_four_times_in_five_by_the_report_s_own_test() -> None:
    spread, seed = Spread(0.02, 0.02, 0.03), 0.01
    asked = by_name(STUDY, gain=spread, seed=seed)["gain over the teacher"]
    rng, found = np.random.default_rng(1), 0
    for number in range(100):
        of_source, of_target = rng.normal(0, spread.source, 4), rng.normal(0, spread.target, 10)
        own = rng.normal(0, np.hypot(spread.pair, seed * np.sqrt(2 / 3)), (4, 10))
        gain = asked["detectable"] + of_source[:, None] + of_target + own
        frame = pl.DataFrame({
            "source": np.repeat(STUDY.sources, 10).tolist(), "target": list(TARGETS) * 4, "gain": gain.ravel(),
        }).with_columns(pl.col("source").cast(pl.String), method=pl.lit("teacher-student"))  # fmt: skip
        found += paired(frame, "gain", "method")["low"][0] > 0
    assert 0.68 <= found / 100 <= 0.9


def test_power_at_the_detectable_effect_is_what_it_says() -> None:
    for name, row in by_name(STUDY).items():
        again = by_name(STUDY, smallest=row["detectable"])[name]
        assert again["power"] == pytest.approx(0.8, abs=0.01)
        assert by_name(STUDY, smallest=2 * row["detectable"])[name]["power"] > 0.97


def test_more_languages_find_smaller_effects_and_more_seeds_hardly_do() -> None:
    few, many, seeds = by_name(STUDY), by_name(STUDY.varied(targets=LARGE)), by_name(STUDY.varied(seeds=tuple(range(30))))
    for name, row in few.items():
        assert many[name]["detectable"] < row["detectable"]
        assert seeds[name]["detectable"] == pytest.approx(row["detectable"], rel=0.15)
    # where languages agree, seeds are all that is left
    alike = {"gain": Spread(0, 0, 0), "seed": 0.02}
    one, nine = (by_name(STUDY.varied(seeds=tuple(range(n))), **alike)["gain over the teacher"]["detectable"] for n in (1, 9))
    assert nine == pytest.approx(one / 3, rel=0.2)


SOURCES = ("ara", "deu", "eng", "fra", "hin", "rus", "spa", "tur")
EVERYTHING = STUDY.varied(
    sources=(*SOURCES, "deu+eng", "deu+hin", "eng+tur", "hin+tur", "deu+tur"), measures="alignment", perturbations=("none", "names")
)


def test_without_an_effect_power_is_the_rate_of_false_alarms() -> None:
    rows = by_name(EVERYTHING, smallest=0.0)
    assert len(rows) == 10
    for name, row in rows.items():
        assert row["power"] <= 0.045, name  # of one side: half of .05, and what 400 tables can be off


def test_power_rises_with_the_effect_and_with_languages() -> None:
    small, few, large = (by_name(EVERYTHING, smallest=effect) for effect in (0.01, 0.05, 0.2))
    many = by_name(EVERYTHING.varied(targets=LARGE))
    for name, row in few.items():
        assert small[name]["power"] <= row["power"] <= large[name]["power"] > small[name]["power"], name
        fewer = 1.1 if name.startswith("diverse") else 1.0  # what sets are made of limits it, and that stays the same
        assert many[name]["detectable"] < fewer * row["detectable"], name


def test_the_detectable_robustness_is_found_four_times_in_five_by_the_report_s_own_test() -> None:
    asked = by_name(STUDY.varied(perturbations=("none", "names")))["robust to names"]
    assert (asked["pairs"], asked["languages"]) == (10, 10)
    rng, found, share = np.random.default_rng(1), 0, {"in-language": 0.5, "direct": 0.3}
    for number in range(250):
        lost = {"in-language": rng.normal(-0.5, 0.13, 10), "direct": rng.normal(asked["detectable"] - 0.5, 0.13, 10)}
        frame = pl.DataFrame([
            {"source": "all", "target": target, "method": method, "change": share[method] * lost[method][place], "exposure": share[method]}
            for method in share for place, target in enumerate(TARGETS)
        ])  # fmt: skip
        found += robustness(frame, "change", "exposure", "method")["low"][-1] > 0
    assert 0.7 <= found / 250 <= 0.88


def test_three_languages_cannot_tell() -> None:
    small = STUDY.varied(sources="eng", targets=("afr", "ben", "bre"))
    assert power(small)["power"].is_null().all() and power(small)["detectable"].is_null().all()
    assert lines(small) == ["power: 3 languages are too few to say anything of languages in general; it takes 4"]


def test_a_language_of_unknown_place_is_left_out_of_distances_only() -> None:
    rows = by_name(STUDY.varied(targets=(*TARGETS, "szl")))
    assert rows["gain over the teacher"]["pairs"] == 44
    assert rows["F1 falls with distance"]["pairs"] <= 44


def test_the_text_names_effects_and_what_is_assumed() -> None:
    head, *rest = lines(STUDY)
    assert "3 seeds" in head and "published tables" in head
    assert len(rest) == 4 and all("with probability 0.8" in line and "40 pairs, 10 targets, for these 4 sources" in line for line in rest)


def test_components_of_a_crossed_table_are_found_again() -> None:
    rng, found = np.random.default_rng(2), []
    for _ in range(40):
        table = rng.normal(0, 2, (12, 1)) + rng.normal(0, 3, (1, 12)) + rng.normal(0, 1, (12, 12))
        there = rng.random(144) < 0.7
        source, target = np.repeat(np.arange(12), 12)[there], np.tile(np.arange(12), 12)[there]
        found.append(np.square(components(pl.Series(source), pl.Series(target), pl.Series(table.ravel()[there]))))
    assert np.mean(found, axis=0) == pytest.approx([4, 9, 1], rel=0.2)


def test_the_assumptions_are_the_published_tables(shared: Path) -> None:
    there, assumed = published(shared / "data/results"), Assumptions()
    for name in ("f1", "gain", "rise", "robust"):
        assert getattr(there, name) == pytest.approx(getattr(assumed, name), abs=0.0006)
    assert there.seed == pytest.approx(assumed.seed, abs=0.0001)


def test_the_plan_s_path_imports_nothing_slow() -> None:
    code = "import sys, analysis.design; print({'torch', 'ray', 'statsmodels', 'sklearn', 'pandas', 'scipy.stats', 'scipy.optimize'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout == "set()\n"


def test_the_command_compares_the_assumptions_with_a_folder(shared: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "analysis.design"]
    run = subprocess.run([*command, str(shared / "data/results")], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.count("assumed") == 5  # of alignment no table speaks, and the smallest effect is a choice
    run = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 2 and "usage" in run.stderr
