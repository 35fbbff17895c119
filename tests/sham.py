"""A study whose steps train nothing: each writes files that depend on its recipe and its inputs. Store and plan are real."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

import engine.work
from engine.compiler import compile_study
from engine.graph import Graph
from engine.mend import mend
from engine.models import recipes
from engine.plan import Plan
from engine.spec import Resources, Site, Study
from engine.store import Store
from engine.work import Outcome, run_unit

STUDY = Study(
    name="sham", question="?", hypothesis="?", dataset="sandbox", model="tiny", sources="x-eng", targets=("x-nld", "x-rus"),
    volumes=(0, 20), seeds=(0,), recipes=recipes.LOCAL,
)  # fmt: skip
SITE = Site(resources=Resources(gpus=0, threads=1))


def sham_step(recipe: Any, inputs: Mapping[str, Path], out: Path, site: Site, backend: Any) -> dict[str, Any]:
    read = [f"{role} {(folder / 'weights').read_bytes().hex()}" for role, folder in sorted(inputs.items())]
    made = hashlib.sha256("\n".join([repr(recipe), *read]).encode()).digest()
    (out / "weights").write_bytes(made * 100)
    rows = [(kind, made[0], made[1], made[2]) for kind in ("ALL", "LOC", "ORG", "PER")]
    pl.DataFrame(rows, schema=["entity_type", "tp", "fp", "fn"], orient="row").write_parquet(out / "counts.parquet")
    one = {"sentence": [0], "tp": [made[0]], "fp": [made[1]], "fn": [made[2]]}
    pl.DataFrame(one).write_parquet(out / "sentences.parquet")
    return {"sentences": 1, "exposure": None, "updates": 1, "tokens": 1, "seconds": 0.0, "peak_memory": 1}


def graph() -> Graph:
    return compile_study(STUDY, None)


def run(work: Graph, store: Store, patch: pytest.MonkeyPatch) -> tuple[Plan, list[str], list[Outcome]]:
    """What the command does, without Ray: mend, plan, run every unit. Return the plan and what was said and done."""
    kinds = SimpleNamespace(import_module=lambda _: SimpleNamespace(run=sham_step))
    patch.setattr(engine.work, "importlib", kinds)
    store.probe()
    plan, lines = mend(work, store, on_gpu=False)
    outcomes = [run_unit(unit, store, SITE) for unit in plan.units]
    store.compact()
    return plan, lines, outcomes
