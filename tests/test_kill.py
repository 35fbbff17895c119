"""Nothing done is lost: a study killed in mid-run goes on with the same command and ends with the same table."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
from small_study import ROOT, STUDY, command

import engine
from engine.store import Store

DEADLINE = 200  # seconds for the first steps to finish before the kill


def test_a_killed_study_goes_on_and_ends_equal(tmp_path: Path) -> None:
    file = tmp_path / "small.py"
    file.write_text(STUDY)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert command(str(file), "--local", "--out", str(whole)).returncode == 0

    arguments = [sys.executable, "-m", "engine.study", str(file), "--local", "--out", str(killed)]
    with subprocess.Popen(arguments, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for_first_step("finetune", killed, process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    finished = _records(killed)
    assert finished and len(finished) < len(_records(whole))
    again = command(str(file), "--local", "--out", str(killed))
    assert again.returncode == 0, again.stdout + again.stderr
    assert finished.items() <= _records(killed).items(), "a finished step was done again"
    assert _outputs(killed) == _outputs(whole)  # weights, soft labels, counts and predicted tags, byte for byte
    columns = ["method", "target", "volume", "seed", "entity_type", "tp", "fp", "fn", "f1"]
    assert _table(killed, columns).equals(_table(whole, columns))
    assert not list((killed / "artifacts").glob(".tmp-*"))
    assert Store(str(killed)).study("small") == Store(str(whole)).study("small")


def test_ctrl_c_says_that_the_study_goes_on(tmp_path: Path) -> None:
    file, out = tmp_path / "small.py", tmp_path / "out"
    file.write_text(STUDY)
    arguments = [sys.executable, "-m", "engine.study", str(file), "--local", "--out", str(out)]
    with subprocess.Popen(arguments, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        _wait_for_first_step("pretrain", out, process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130, said
    assert "the same command goes on" in said and "Traceback" not in said
    kept = Store(str(out)).study("small")  # what a report has of it
    assert kept and kept["question"] == "Does it run?" and "has not ended" in kept["warnings"][0]


def _wait_for_first_step(kind: str, out: Path, process: subprocess.Popen[Any]) -> None:
    end = time.monotonic() + DEADLINE
    while not list(out.glob(f"artifacts/{kind}-*/step.json")):
        assert process.poll() is None, "the study ended before it could be killed"
        assert time.monotonic() < end, "no step finished in time"
        time.sleep(0.05)


def _records(out: Path) -> dict[str, int]:
    """When each finished step was finished, by its name."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("artifacts/[!.]*/step.json")}


def _outputs(out: Path) -> dict[str, str]:
    """Hashes of the files of all artifacts."""
    files = [path for path in out.glob("artifacts/[!.]*/*") if path.name != "step.json"]
    return {f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _table(out: Path, columns: list[str]) -> pl.DataFrame:
    return engine.results(str(out)).select(columns).sort(columns[:5])
