"""Clocks that disagree, names that are taken twice, and a study file that is edited while it runs."""

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import sham
from small_study import ROOT, STUDY, command

import engine
from engine import work
from engine.compiler import compile_study
from engine.mend import mend
from engine.spec import Training
from engine.store import Store


class Clock(datetime):
    """The clock of a machine that is years behind, or ahead."""

    year_shown = 2026

    @classmethod
    def now(cls, tz: object = None) -> datetime:
        return datetime(cls.year_shown, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("year", [1999, 2026, 2077])
def test_new_rows_replace_the_old_ones_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    store, graph = Store(str(tmp_path)), sham.graph()
    sham.run(graph, store, monkeypatch)
    recipe = sham.STUDY.recipes["tiny"]
    again = compile_study(sham.STUDY.varied(recipes={"tiny": changed(recipe)}), None)
    monkeypatch.setattr(work, "datetime", Clock)
    monkeypatch.setattr(Clock, "year_shown", year)
    plan, _, _ = sham.run(again, store, monkeypatch)
    assert len(plan.stale) == len(graph.cells)
    assert not mend(again, store, on_gpu=False)[0].open
    assert set(store.results()["fingerprint"]) == {work_.fingerprint for work_ in again.cells}
    superseded = pl.read_parquet(tmp_path / "results" / "superseded" / "*.parquet")
    assert set(superseded["fingerprint"]) == {work_.fingerprint for work_ in graph.cells}


def changed(recipe: work.Any) -> work.Any:
    fields = {name: getattr(recipe, name) for name in recipe.__dataclass_fields__}
    return type(recipe)(**fields | {"finetune": Training(steps=3)})


def test_a_second_study_of_the_same_name_says_what_it_will_replace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, graph = Store(str(tmp_path)), sham.graph()
    sham.run(graph, store, monkeypatch)
    other = compile_study(sham.STUDY.varied(recipes={"tiny": changed(sham.STUDY.recipes["tiny"])}, question="Another?"), None)
    assert len(mend(other, store, on_gpu=False)[0].stale) == len(graph.cells)  # the plan lists them before anything runs
    third = compile_study(sham.STUDY.varied(name="third"), None)
    plan = mend(third, store, on_gpu=False)[0]
    assert len(plan.missing) == len(graph.cells) and not plan.to_run  # its own rows, of the same models


@pytest.mark.cluster
def test_a_study_edited_while_it_runs_ends_as_it_began(tmp_path: Path) -> None:
    file, out = tmp_path / "small.py", tmp_path / "out"
    file.write_text(STUDY)
    arguments = [sys.executable, "-m", "engine.study", str(file), "--local", "--out", str(out)]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while not list(out.glob("artifacts/pretrain-*/step.json")) and process.poll() is None:
            time.sleep(0.05)
        file.write_text(STUDY.replace("volumes=(0, 20, 40)", "volumes=(0, 20)").replace("finetune=Training(**small)", "finetune=Training(steps=13)"))
        said, _ = process.communicate(timeout=280)
    assert process.returncode == 0, said
    assert sorted(engine.results(str(out)).filter(pl.col("entity_type") == "ALL")["volume"]) == [0, 0, 20, 40]
    plan = command(str(file), "--local", "--out", str(out), "--plan")
    assert "3 cells: 0 done, 0 failed, 0 missing, 3 stale" in plan.stdout, plan.stdout
