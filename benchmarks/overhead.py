"""What the scheduler costs: 500 steps that do nothing, and the share of a worker's time in 60 s steps.

The steps go the way of real ones: `run_units` on Ray in local mode, `run_step`, an artifact with its record, and a cell's
rows for each; only what they do is nothing, or a sleep. The baseline is one process a step that imports torch.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from types import ModuleType
from typing import Any

import polars as pl

from benchmarks.measure import seconds
from benchmarks.report import Report
from engine.graph import CellWork, Step
from engine.spec import RECIPE_VERSION, Cell, Resources, Site
from engine.store import Store
from engine.work import Unit

TRIVIAL, LONG = 500, 60.0
WORKERS, LONG_EACH = 2, 4  # long steps of each worker


@dataclass(frozen=True)
class Idle:
    """A step that takes some time and no processor."""

    kind = "idle"
    number: int
    seconds: float


def _run(recipe: Idle, inputs: Mapping[str, Path], out: Path, site: Site, backend: Any) -> dict[str, Any]:
    sleep(recipe.seconds)
    rows = [(kind, 8, 2, 2) for kind in ("LOC", "ORG", "PER", "ALL")]
    pl.DataFrame(rows, schema=["entity_type", "tp", "fp", "fn"], orient="row").write_parquet(out / "counts.parquet")
    return {"sentences": 1, "exposure": None, "updates": 1, "tokens": 1, "seconds": recipe.seconds, "peak_memory": 1}


# A worker that is sent a recipe of this kind imports this module, and then knows it.
RECIPE_VERSION["idle"] = 1
sys.modules["engine.steps.idle"] = ModuleType("engine.steps.idle")
sys.modules["engine.steps.idle"].run = _run


def run() -> Report:
    """Run both kinds of steps on one Ray of this machine, and the baseline."""
    import ray

    from engine.cluster import start_ray

    start_ray(None, local=True, jobs=WORKERS, resources=Resources())
    try:
        each = _schedule(TRIVIAL, 0.0) * WORKERS / TRIVIAL
        share = LONG * LONG_EACH / _schedule(WORKERS * LONG_EACH, LONG)
    finally:
        ray.shutdown()
    process = median(seconds(_process) for _ in range(3))
    figures = {
        "overhead_seconds": each, "busy_share": share, "process_seconds": process, "overhead_ratio": process / each,
    }  # fmt: skip
    rows = [
        (f"a step beyond itself, s a worker, over {TRIVIAL} steps", f"{each:.3f}", "<= 0.3"),
        ("baseline: a new process that imports torch, s", f"{process:.1f}", ""),
        (f"share of the workers' time in {LONG:.0f} s steps, {LONG_EACH} each", f"{share:.1%}", ">= 95%"),
    ]
    note = f"{WORKERS} workers. Both count the start and the end of the workers; a longer study has a larger share."
    return Report("overhead", ("what", "measured", "goal"), rows, figures, (note,))


def _schedule(number: int, seconds_each: float) -> float:
    """Seconds that so many steps took, from the first worker's start to the last one's end."""
    from engine.schedule import run_units

    with tempfile.TemporaryDirectory(prefix="sprachbund-overhead-") as out:
        store = Store(out)
        store.probe()
        started = perf_counter()
        state = run_units([_unit(i, seconds_each) for i in range(number)], store, Site(), WORKERS, lambda _: None)
        took = perf_counter() - started
        assert not state.failed and sum(rows.done for rows in store.cells().values()) == number, state.failed
    return took


def _unit(number: int, seconds_each: float) -> Unit:
    step = Step.of(Idle(number, seconds_each), f"{number}", (), "tiny")
    cell = Cell(
        study="overhead", task="ner", dataset="sandbox", model="tiny", form="slots", method="direct", sources=("x-eng",),
        target="x-nld", volume=0, seed=number,
    )  # fmt: skip
    name = step.artifact
    work = CellWork(cell, name, name, None, (name,), ("train",), None, "test")
    return Unit(name, (step,), (work,))


def _process() -> None:
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
