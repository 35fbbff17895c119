"""Doing the work: one step, one unit of steps, a cell's rows. No Ray here: the same code runs in a Ray worker, in a
test, or on a bare GPU machine.
"""

import gc
import importlib
import math
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from statistics import fmean
from typing import Any

import polars as pl

from engine.errors import CheckpointError, OutOfMemoryError, StorageError
from engine.fingerprint import canonical
from engine.graph import CellWork, Step
from engine.measured import columns
from engine.records import record
from engine.spec import Resources, Site, recipe_version
from engine.store import Store, digest
from engine.store.retry import full
from engine.tasks.ner import f1

TRAINING = ("pretrain", "finetune", "fewshot", "distill")
MEASURING = ("lm", "overlap", "alignment", "teachers")
COLLAPSED = 0.05  # F1 below which a run counts as collapsed
CHECKPOINT_EVERY = 500  # updates
UPLOAD_EVERY = 600.0  # seconds from one checkpoint of a single worker in a remote store to the next


@record()
class Unit:
    """What one worker does in one go: a training step with the evaluations of its model, and the cells they finish."""

    name: str
    steps: tuple[Step, ...]
    cells: tuple[CellWork, ...] = ()
    after: frozenset[str] = frozenset()  # names of the units that must be done before
    cost: float = 0.0
    written: Mapping[str, int] = field(default_factory=dict)  # a cell's key -> when the rows that it had were written


@dataclass
class Outcome:
    """What became of a unit: the artifacts made, and for each that failed its error."""

    made: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def run_unit(unit: Unit, store: Store, site: Site) -> Outcome:
    """Do the steps that the store lacks, then write the rows of the cells whose artifacts are all there.

    A failing step leaves the others alone: its traceback goes to `<out>/artifacts/<step>.log`, its error to the outcome.
    Steps that need it are left out. Raises StorageError where the store is full, closed or out of reach: no step's fault.
    """
    outcome = Outcome()
    for step in unit.steps:
        if store.has(step.artifact) or not all(store.has(need) for _, need in step.needs):
            continue
        try:
            run_step(step, store, site)
            outcome.made.append(step.artifact)
        except StorageError:
            raise
        except Exception as error:  # whatever a step raises is its cells' result; the other cells go on
            if place := full(error, [*[store.root] * store.local, tempfile.gettempdir()]):
                raise StorageError(
                    f"{step.artifact} could not be written ({type(error).__name__}: {error}). Make room in {place}, or let it be "
                    "written to; what is done is kept, and the same command goes on."
                ) from error
            measure = f"measure {step.kind} ({step.about}): " if step.kind in MEASURING else ""
            outcome.failed[step.artifact] = f"{measure}{type(error).__name__}: {error}"
            if isinstance(error, CheckpointError):
                store.quarantine(f"artifacts/.run-{step.artifact}", outcome.failed[step.artifact])
            store.write_log(step.artifact, traceback.format_exc())
    for work in unit.cells:
        if all(store.has(artifact) for artifact in work.artifacts):
            store.write_rows(work.about, work.key, work.fingerprint, rows_of(work, store), unit.written.get(work.key, 0))
    return outcome


def run_step(step: Step, store: Store, site: Site) -> None:
    """Run one step and publish its artifact; over several workers where the site's resources say so.

    A training that finds the memory too small is tried once more with half the micro-batch, which changes no result.
    It keeps checkpoints in the store, from which it goes on after a kill.
    """
    try:
        _run_step(step, store, site)
        return
    except OutOfMemoryError:
        smaller = _halved(step, site.resources)
        if smaller is None:
            raise
    gc.collect()  # what the first try held, its traceback with it
    try:
        _run_step(step, store, replace(site, resources=smaller))
    except OutOfMemoryError as error:
        raise OutOfMemoryError(f"tried twice, at last with micro_batch={smaller.micro_batch}: {error}") from error


def _halved(step: Step, resources: Resources) -> Resources | None:
    """Resources with half the micro-batch, None where it cannot be halved."""
    if step.kind not in TRAINING:
        return None
    most = resources.micro_batch or math.ceil(step.recipe.training.batch_size / resources.workers)
    return replace(resources, micro_batch=math.ceil(most / 2)) if most > 1 else None


def _run_step(step: Step, store: Store, site: Site) -> None:
    if not site.resources.deepspeed:
        from engine.train.loop import FolderCheckpoints, PlainBackend

        with store.checkpoints(step.artifact) as storage:
            newest = Path(storage, "newest")
            checkpoints = FolderCheckpoints(newest, CHECKPOINT_EVERY) if store.local else StoreCheckpoints(store, step.artifact)
            run_with(step, store, site, PlainBackend(site.resources.device, checkpoints, site.resources))
        return
    from engine.train.distributed import run, run_alone

    payload = (step, store.address, site)
    if step.kind not in TRAINING:
        run_alone(_in_worker, payload, site.resources)
        return
    with store.checkpoints(step.artifact) as storage:
        run(_in_worker, payload, site.resources, storage, CHECKPOINT_EVERY)


class StoreCheckpoints:
    """Checkpoints of one process in a remote store, where they may take minutes: some time apart."""

    def __init__(self, store: Store, artifact: str) -> None:
        self.store, self.artifact = store, artifact
        self.due = time.monotonic() + UPLOAD_EVERY

    @property
    def every(self) -> int:
        """Updates between two checkpoints; more than there are until some time has passed."""
        return CHECKPOINT_EVERY if time.monotonic() >= self.due else sys.maxsize

    def reading(self) -> AbstractContextManager[Path | None]:
        return self.store.kept_checkpoint(self.artifact)

    @contextmanager
    def writing(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="sprachbund-") as folder:
            yield Path(folder)
            self.store.keep_checkpoint(self.artifact, Path(folder))
        self.due = time.monotonic() + UPLOAD_EVERY


def run_with(step: Step, store: Store, site: Site, backend: Any) -> dict[str, Any]:
    """Run one step as one worker of `backend`; rank 0 publishes. Return the figures of its record."""
    kind = importlib.import_module(f"engine.steps.{step.kind}")
    started = datetime.now(UTC)
    clock = time.perf_counter()
    with ExitStack() as stack:
        inputs = {role: stack.enter_context(store.fetch(artifact, quarantine=True)) for role, artifact in step.needs}
        out = stack.enter_context(store.scratch(step.artifact))
        figures = kind.run(step.recipe, inputs, out, site, backend)
        if backend.rank == 0:
            figures = {"wall_seconds": time.perf_counter() - clock} | figures
            store.publish(step.artifact, out, _record(step, figures, started, site.resources))
    return figures


def _in_worker(payload: tuple[Step, str, Site], backend: Any) -> dict[str, Any]:
    step, address, site = payload
    return run_with(step, Store(address), site, backend)


def _record(step: Step, figures: Mapping[str, Any], started: datetime, resources: Resources) -> dict[str, Any]:
    """A step's record: what it is (identity), what it gave (figures), how it came about (provenance)."""
    return {
        "kind": step.kind,
        "fingerprint": step.fingerprint,
        "recipe_version": recipe_version(step.recipe),
        "recipe": canonical(step.recipe),
        "needs": dict(step.needs),
        "figures": dict(figures),
        "provenance": {
            "started": started.isoformat(),
            "host": socket.gethostname(),
            "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
            "python": sys.version.split()[0],
            "git": git_revision(),
            "versions": {name: _version(name) for name in ("torch", "transformers", "deepspeed", "ray", "numpy")},
            "resources": canonical(resources),
        },
    }


@cache  # what this process runs does not change
def git_revision() -> str | None:
    """The commit of the engine's code, with "+" where files were changed; None outside a git checkout."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


@cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def rows_of(work: CellWork, store: Store) -> list[dict[str, Any]]:
    """Return a finished cell's rows, one an entity type and one for ALL, under the store's column names."""
    scored = _scores(work.scored, store)
    teacher = _scores(work.teacher, store) if work.teacher else {}
    trained = store.record(work.trained)
    figures = trained["figures"]
    test = store.record(work.scored)["figures"]
    shared = identity(work) | {
        "sentences": test["sentences"],
        "exposure": test["exposure"],
        "parse_failures": test.get("parse_failures", 0),
        "truncated": test.get("truncated"),
        "collapsed": test.get("collapsed", scored["ALL"].get("entities") != 0 and scored["ALL"]["f1"] < COLLAPSED),
        "source_f1": _pooled_f1([_scores(name, store)["ALL"] for name in work.on_sources]),
        **columns(work.cell.sources, [(role, store.record(name)["figures"]) for role, name in work.measures]),
        **{name: figures[name] for name in ("updates", "tokens", "seconds", "peak_memory")},
        "status": "done",
        "recipe_version": trained["recipe_version"],
    }
    return [shared | scored[kind] | _over(scored[kind], teacher.get(kind)) for kind in scored]


def failed_row(work: CellWork, error: str) -> list[dict[str, Any]]:
    """Return the one row of a cell that failed: no scores, never a zero."""
    return [identity(work) | {"entity_type": "ALL", "status": "failed", "error": error}]


def identity(work: CellWork) -> dict[str, Any]:
    """The columns that say which cell a row belongs to, and what it was made from."""
    cell = work.cell
    return {
        "study": cell.study, "task": cell.task, "dataset": cell.dataset, "model": cell.model, "form": cell.form,
        "method": cell.method, "sources": list(cell.sources), "n_sources": len(cell.sources), "target": cell.target,
        "volume": cell.volume, "shots": cell.shots, "perturbation": cell.perturbation, "seed": cell.seed,
        "train_data": digest(*work.train_data), "pool_data": work.pool_data and digest(work.pool_data),
        "test_data": digest(work.test_data), "fingerprint": work.fingerprint, "scored": work.scored, "finished": datetime.now(UTC),
    }  # fmt: skip


def _over(scores: Mapping[str, Any], teacher: Mapping[str, Any] | None) -> dict[str, Any]:
    """The columns on a cell's teacher, where it has one."""
    if teacher is None:
        return {}
    named = {f"teacher_{name}": teacher.get(name) for name in ("precision", "recall", "f1")}
    return named | {"gain": scores["f1"] - teacher["f1"]}


def _scores(artifact: str, store: Store) -> dict[str, dict[str, Any]]:
    """What an evaluation found, for each entity type or label and ALL, under the table's column names."""
    with store.fetch(artifact, quarantine=True) as folder:
        rows = pl.read_parquet(folder / "counts.parquet").rows(named=True)
    return {row["entity_type"]: row | _of_counts(row) for row in rows}


def _of_counts(row: Mapping[str, Any]) -> dict[str, Any]:
    if "tp" not in row:  # answers that are partly right are not counted
        return {}
    precision, recall, score = f1(row["tp"], row["fp"], row["fn"])
    return {"entities": row["tp"] + row["fn"], "precision": precision, "recall": recall, "f1": score}


def _pooled_f1(scores: Sequence[Mapping[str, Any]]) -> float:
    if "tp" not in scores[0]:
        return fmean(of_one["f1"] for of_one in scores)
    return f1(*(sum(of_one[name] for of_one in scores) for name in ("tp", "fp", "fn")))[2]
