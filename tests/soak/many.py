"""Soak: many runs at once on one store, some of them killed. `python -m tests.soak.many [--processes 8] [--cells 1000]`

Each process is a run as `engine.schedule` makes it, with its leases and its order of units, but does the units itself,
where Ray would give them to workers: 8 Rays do not fit a small machine. Ten cells share a teacher. The steps do nothing;
each writes down when it began and ended, so that a step done twice, or by two at the same time, is seen. A killed
process is replaced by another. Prints what was found, and fails where a step was done twice without a kill between.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import polars as pl
from ray.tune.search import Searcher

from engine.graph import CellWork, Step
from engine.leases import Leases
from engine.schedule import State, _Releases
from engine.spec import RECIPE_VERSION, Cell, Resources, Site
from engine.store import Store
from engine.work import Unit, run_unit

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
ROWS = [(kind, 8, 2, 2) for kind in ("LOC", "ORG", "PER", "ALL")]
FIGURES = {"sentences": 1, "exposure": None, "updates": 1, "tokens": 1, "seconds": 0.0, "peak_memory": 1}
log: Any = None  # this process's file


@dataclass(frozen=True)
class Nothing:
    """A step that does nothing."""

    kind = "nothing"
    name: str


def _run(recipe: Nothing, inputs: Mapping[str, Path], out: Path, site: Site, backend: Any) -> dict[str, Any]:
    print(json.dumps(["begin", recipe.name, time.monotonic()]), file=log)
    pl.DataFrame(ROWS, schema=["entity_type", "tp", "fp", "fn"], orient="row").write_parquet(out / "counts.parquet")
    print(json.dumps(["end", recipe.name, time.monotonic()]), file=log)
    return FIGURES


RECIPE_VERSION["nothing"] = 1
sys.modules["engine.steps.nothing"] = ModuleType("engine.steps.nothing")
sys.modules["engine.steps.nothing"].run = _run


def units(cells: int) -> list[Unit]:
    """So many cells, each with a step of its own after one that ten of them share."""
    made = {}
    for number in range(cells):
        teacher = Step.of(Nothing(f"teacher-{number // 10}"), f"teacher-{number // 10}", (), "tiny")
        made.setdefault(teacher.artifact, Unit(teacher.artifact, (teacher,)))
        student = Step.of(Nothing(f"student-{number}"), f"{number}", (("teacher", teacher.artifact),), "tiny")
        name = student.artifact
        cell = Cell(
            study="soak", task="ner", dataset="sandbox", model="tiny", form="slots", method="direct", sources=("x-eng",),
            target="x-nld", volume=0, seed=number,
        )  # fmt: skip
        work = CellWork(cell, name, name, None, (name,), ("train",), None, "test")
        made[name] = Unit(name, (student,), (work,), after=frozenset({teacher.artifact}))
    return list(made.values())


def one_run(address: str, todo: list[Unit], file: Path) -> None:
    """Do all units that no other run does, as `engine.schedule.run_units` would have its workers do them."""
    global log
    store, state = Store(address), State({unit.name: unit for unit in todo})
    with Leases(store) as leases, file.open("w", buffering=1) as log:
        releases = _Releases(state, store, leases, lambda state: None, Resources())
        for trial in map(str, count()):
            while (suggested := releases.suggest(trial)) is None:
                time.sleep(0.1)
            if suggested == Searcher.FINISHED:
                break
            outcome = run_unit(state.units[suggested["unit"]], store, Site())
            failed = list(outcome.failed.items())
            releases.on_trial_complete(trial, {"made": len(outcome.made), "failed": failed, "error": None})
    store.compact()


def soak(address: str, folder: Path, processes: int, todo: list[Unit], kills: int) -> list[Path]:
    """Run them to the end; return the logs of those that were killed."""
    spawn, random, number = multiprocessing.get_context("fork"), Random(0), count()

    def start() -> tuple[BaseProcess, Path]:
        file = folder / f"{next(number)}.log"
        process = spawn.Process(target=one_run, args=(address, todo, file))
        process.start()
        return process, file

    running, killed = [start() for _ in range(processes)], []
    per_kill = len(todo) // (kills + 1)
    while any(process.is_alive() for process, _ in running):
        done = sum(file.read_text().count("end") for file in folder.glob("*.log"))
        if len(killed) < min(kills, done // per_kill):
            chosen = random.randrange(processes)
            if running[chosen][0].is_alive():
                running[chosen][0].kill()
                running[chosen][0].join()
                killed.append(running[chosen][1])
                running[chosen] = start()
        time.sleep(0.05)
    assert all(process.exitcode == 0 for process, _ in running), "a run failed"
    return killed


def judge(folder: Path, killed: list[Path]) -> dict[str, int]:
    """What the logs say of steps done more than once, and at the same time."""
    lines = {file: [json.loads(line) for line in file.read_text().splitlines() if line.endswith("]")] for file in folder.glob("*.log")}
    begun = Counter(name for found in lines.values() for what, name, _ in found if what == "begin")
    last = Counter(lines[file][-1][1] for file in killed if lines[file])  # what the killed were at, or had just done
    spans: dict[str, list[tuple[float, float]]] = {}
    for found in lines.values():
        ends = {name: at for what, name, at in found if what == "end"}
        for what, name, at in found:
            if what == "begin":
                spans.setdefault(name, []).append((at, ends.get(name, at)))
    overlaps = sum(later[0] < earlier[1] for many in spans.values() for earlier, later in zip(sorted(many), sorted(many)[1:], strict=False))
    return {
        "steps": len(begun), "begun more than once": sum(number > 1 for number in begun.values()),
        "of these without a kill": sum(number - 1 > last[name] for name, number in begun.items()), "at the same time": overlaps,
    }  # fmt: skip


@contextmanager
def address_of(s3: bool, folder: Path) -> Iterator[str]:
    """A folder, or a bucket of an S3 server that this process starts."""
    if not s3:
        yield str(folder / "out")
        return
    import boto3
    from moto.server import ThreadedMotoServer

    os.environ |= KEYS
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="studies")
    yield f"s3://studies/out?endpoint_override={host}:{port}&scheme=http"
    server.stop()


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.soak.many", description=__doc__)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--cells", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--s3", action="store_true", help="on an S3 server on loopback")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sprachbund-soak-") as name, address_of(options.s3, Path(name)) as address:
        folder, store, todo = Path(name, "logs"), Store(address), units(options.cells)
        folder.mkdir()
        store.probe()
        started = time.monotonic()
        killed = soak(address, folder, options.processes, todo, options.kills)
        took = time.monotonic() - started
        rows = store.results().filter(pl.col("entity_type") == "ALL")
        found = judge(folder, killed) | {
            "killed": len(killed), "cells done": len(rows.filter(pl.col("status") == "done")), "rows twice": len(rows) - rows["seed"].n_unique(),
            "artifacts": len(store.artifacts()), "leases left": len(store.said()), "seconds": round(took),
        }  # fmt: skip
    print(json.dumps(found, indent=1))
    right = found["cells done"] == options.cells and found["artifacts"] == found["steps"] == len(todo)
    return 0 if right and not any(found[key] for key in ("of these without a kill", "at the same time", "rows twice")) else 1


if __name__ == "__main__":
    sys.exit(main())
