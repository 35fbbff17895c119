"""`study`: the local data-volume study, against a shell loop with a process a cell, two at a time."""

import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

import engine
from benchmarks.report import Report
from engine.store import Store

FILE = Path(__file__).parents[1] / "studies" / "data_volume.py"
NOTES = (
    (
        "`python -m engine.study studies/data_volume.py --local --set perturbations=none`, from the start of the command to its end, "
        "pretraining of the tiny model included, against `python -m benchmarks.naive` for each of its cells, as many at a time as there are cores: a "
        "teacher and a student from scratch, text-to-text over the whole vocabulary, labels and evaluation by generate(). The loop "
        "gets the pretrained model as a gift."
    ),
    (
        "The loop does one of the study's seeds; its time is that of its cells, which cost the same for each seed, times the "
        "number of seeds. F1 is the mean over seeds, +- their standard deviation; the loop's that of its seed. The sandbox's "
        "languages are made; nothing here is about real ones."
    ),
)


def run() -> Report:
    """Run both and put the cells' F1 side by side."""
    with TemporaryDirectory() as out:
        started = time.perf_counter()
        command = [sys.executable, "-m", "engine.study", str(FILE), "--local", "--set", "perturbations=none", "--out", out]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        ours = time.perf_counter() - started
        frame = engine.results(out).filter(pl.col("entity_type") == "ALL")
        base = next(Path(out, "artifacts").glob("pretrain-*"))
        parts = _parts(Store(out), ours)
        started = time.perf_counter()
        mine = frame.filter(pl.col("seed") == pl.col("seed").min())
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            scores = list(pool.map(lambda row: _naive(base, row), mine.iter_rows(named=True)))
        baseline = (time.perf_counter() - started) * len(frame) / len(mine)
    keys = ["method", "target", "volume"]
    means = frame.group_by(keys, maintain_order=True).agg(pl.col("f1").mean(), pl.col("f1").std().alias("spread"))
    means = means.join(mine.select(*keys, naive=pl.Series(scores)), on=keys, maintain_order="left")
    rows = [["time, s", f"{ours:.0f}", f"{baseline:.0f}"], ["ratio", f"{baseline / ours:.1f}x", ""]]
    for row in means.iter_rows(named=True):
        name = f"F1 {row['method']} {row['target']} {row['volume'] or ''}".strip()
        rows.append([name, f"{row['f1']:.3f} +-{row['spread']:.3f}", f"{row['naive']:.3f}"])
    rows += [[f"of the engine's worker time: {name}", f"{share:.0%}", ""] for name, share in parts.items()]
    figures = {
        "seconds": ours, "baseline_seconds": baseline, "speedup": baseline / ours,
        "mean_f1": frame["f1"].mean(), "baseline_mean_f1": means["naive"].mean(),
    }  # fmt: skip
    return Report("study: the local data-volume study", ("", "engine", "loop"), rows, figures, NOTES)


def _parts(store: Store, seconds: float) -> dict[str, float]:
    """What shares of all workers' time the kinds of steps took: their training itself, and what they do besides."""
    total, spent = seconds * (os.cpu_count() or 1), Counter[str]()
    for name in store.artifacts():
        record = store.record(name)
        kind, trained = record["kind"], record["figures"].get("seconds", 0.0)
        spent[f"{kind}, training"] += trained
        spent[f"{kind}, the rest" if trained else kind] += record["figures"]["wall_seconds"] - trained
    spent["no step: start, waiting for the first ones, scheduling"] = total - spent.total()
    return {name: part / total for name, part in spent.most_common() if part}


def _naive(base: Path, row: dict[str, Any]) -> float:
    arguments = [row["method"], row["sources"][0], row["target"], row["volume"], row["seed"]]
    command = [sys.executable, "-m", "benchmarks.naive", str(base), *map(str, arguments)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=one_thread).stdout)
