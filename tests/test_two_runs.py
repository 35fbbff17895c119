"""Two commands at once on one store: they share the steps, and end with one table."""

import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from small_study import ROOT, small_study

import engine
from engine.store import Store

pytestmark = pytest.mark.cluster


def test_two_commands_at_once_do_no_step_twice(tmp_path: Path) -> None:
    file, out = small_study(tmp_path), tmp_path / "out"
    command = [sys.executable, "-m", "engine.study", str(file), "--local", "--jobs", "1", "--out", str(out)]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        texts = ["".join(process.communicate(timeout=280)) for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], texts
    assert sum(map(made, texts)) == len(Store(str(out)).artifacts()) == 11, texts
    rows = engine.results(str(out)).filter(pl.col("entity_type") == "ALL")
    assert len(rows) == 4 and (rows["status"] == "done").all()
    assert not list(out.glob("leases/*")) and not list(out.glob("artifacts/.*"))


def made(said: str) -> int:
    """The number of steps that a run did itself: all that it planned, if no other did some of them."""
    found = re.search(r"(\d+) steps done by this run", said) or re.search(r"(\d+) to run", said)
    return int(found[1])
