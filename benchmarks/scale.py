"""A study of 100,000 cells: its plan from nothing, its plan when all is done, and its table.

Goals: each within 5 s, the first with at most 1 GB of memory. The store is filled by the store's own code: most cells at
once as one part, the last 5,000 as row files, which `Store.compact` then puts to it.
"""

import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from benchmarks.measure import alone, seconds
from benchmarks.report import Report
from engine.compiler import compile_study
from engine.graph import CellWork
from engine.plan import make_plan
from engine.records import without_collection
from engine.store import COLUMNS, Store
from engine.store.parts import Rows, write_part
from engine.study import load_study
from engine.work import identity

ROW_FILES = 5_000
KINDS = ("ALL", "LOC", "ORG", "PER")
STUDY = '''
from engine.spec import Study

study = Study(
    name="scale", question="Does the plan of a large study take long?", hypothesis="It does not.", dataset="wikiann",
    model=("google/mt5-small", "google/mt5-base"), form=("slots", "encoder"), pool="text",
    sources=("ara", "deu", "eng", "hin", "ind", "rus", "spa", "tur", "deu+eng", "ara+eng+hin+rus"),
    targets=(
        "afr", "ben", "bre", "bul", "ces", "cym", "ell", "est", "eus", "fin", "fra", "hun", "ita", "jav", "kat", "kor",
        "mal", "mar", "msa", "nld", "pol", "por", "swa", "tam", "tel", "tgl", "tha", "urd", "vie", "yor",
    ),
    volumes=(0, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000), seeds=range(11),
)
'''  # 106,920 cells: 30 targets x (10 source sets x 8 volumes + 1 in-language) x 2 models x 2 forms x 11 seeds


def run() -> Report:
    """Measure the plan in a process of its own, then the two commands as a user calls them."""
    with tempfile.TemporaryDirectory(prefix="sprachbund-scale-") as folder:
        file, out = Path(folder, "scale.py"), Path(folder, "out")
        file.write_text(STUDY)
        (cells, steps, plan), peak = alone(_plan, str(file), str(out / "empty"))
        compacted, _ = alone(_fill, str(file), str(out))
        replan = seconds(lambda: _command("-m", "engine.study", str(file), "--plan", "--out", str(out), says=f"{cells} done"))
        table = f"import engine; print(len(engine.results({str(out)!r})))"
        results = seconds(lambda: _command("-c", table, says=str(cells * len(KINDS))))
    figures = {
        "cells": cells, "steps": steps, "plan_seconds": plan, "plan_bytes": peak, "replan_seconds": replan,
        "results_seconds": results, "compact_seconds": compacted,
    }  # fmt: skip
    rows = [
        ("plan on an empty store, s", f"{plan:.1f}", "<= 5"),
        ("its peak memory, MB", f"{peak / 1e6:.0f}", "<= 1000"),
        ("`--plan`, all done, whole command, s", f"{replan:.1f}", "<= 5"),
        ("`engine.results`, whole process, s", f"{results:.1f}", "<= 5"),
        (f"put {ROW_FILES} row files to the others, s", f"{compacted:.1f}", ""),
    ]
    note = f"{cells} cells, {steps} steps; {cells * len(KINDS)} rows in the table. No baseline: the goals are absolute."
    return Report("scale", ("what", "measured", "goal"), rows, figures, (note,))


def _plan(file: str, out: str) -> tuple[int, int, float]:
    """The number of cells and steps, and the seconds that compiling and planning took."""
    study = load_study(Path(file), local=False)
    started = time.perf_counter()
    with without_collection():  # as the command does
        plan = make_plan(compile_study(study, None), Store(out), on_gpu=True)
    return len(plan.missing), len(plan.to_run), time.perf_counter() - started


def _fill(file: str, out: str) -> float:
    """Write rows for all cells. Return the seconds that compaction took."""
    graph, store = compile_study(load_study(Path(file), local=False), None), Store(out)
    store.probe()
    first, last = graph.cells[:-ROW_FILES], graph.cells[-ROW_FILES:]
    cells, rows = [], []
    for work in first:
        made = _rows(work)
        finished = round(made[0]["finished"].timestamp() * 1000)
        cells.append((Rows(finished, True, work.fingerprint, work.key), len(made)))
        rows += made
    name, content = write_part(cells, pa.Table.from_pylist(rows, schema=COLUMNS), 1)
    Path(out, "results", name).write_bytes(content)
    for work in last:
        store.write_rows(work.about, work.key, work.fingerprint, _rows(work))
    return seconds(store.compact)


def _rows(work: CellWork) -> list[dict[str, object]]:
    """Rows as a finished cell has them; the numbers are made up from the cell's key."""
    made = int(work.key, 16) % 1_000
    now = datetime.now(UTC)
    shared = identity(work) | {
        "finished": now, "status": "done", "sentences": 10_000, "parse_failures": 0, "collapsed": False, "updates": 5_000,
        "tokens": 4_000_000 + made, "seconds": 600 + made / 7, "peak_memory": 2**33, "recipe_version": 2,
        "source_f1": made / 1_100, "teacher_f1": made / 1_200,
    }  # fmt: skip
    scores = {"tp": made, "fp": 1_000 - made, "fn": 1_000 - made, "entities": 1_000}
    return [
        shared | scores | {"entity_type": kind, "precision": made / 1_000, "recall": made / 1_000, "f1": made / 1_000}
        for kind in KINDS
    ]


def _command(*arguments: str, says: str) -> None:
    ran = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    assert says in ran.stdout, ran.stdout + ran.stderr
