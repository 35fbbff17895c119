"""The plan: units wait for one another in one direction, and a changed kind of step makes what it decides stale."""

from pathlib import Path

import pytest

from engine import spec
from engine.compiler import compile_study
from engine.models import recipes
from engine.plan import make_plan
from engine.schedule import State
from engine.spec import MIXTURES, STUDENTS, Study, protocol
from engine.store import Store

STUDY = Study(
    name="all", question="?", hypothesis="?", dataset="sandbox", model="tiny", sources=("x-eng", "x-eng+x-deu"), targets="x-nld",
    methods=("direct", "adapted-both", "teacher-student", *MIXTURES, "translate-train", "translate-test"), volumes=(0, 20), shots=(0, 3),
    perturbations=("none", "names"), seeds=(0,), recipes=recipes.LOCAL,
    measures=("lm", "overlap", "alignment", "teachers"),
)  # fmt: skip


@pytest.mark.parametrize("kept", ["distill", "evaluate-distill", "finetune", "evaluate", "label", ""])
def test_every_unit_gets_its_turn_whatever_the_store_has_kept(tmp_path: Path, kept: str) -> None:
    graph, store = compile_study(STUDY, None), Store(str(tmp_path))
    store.probe()
    for artifact in graph.steps:
        if kept and artifact.startswith((kept, "distill" if kept == "evaluate-distill" else kept)):
            with store.scratch(artifact) as folder:
                store.publish(artifact, folder, {})
    plan = make_plan(graph, store, on_gpu=False)
    assert len(plan.missing) == len(graph.cells) and sum(len(unit.cells) for unit in plan.units) == len(graph.cells)
    state = State({unit.name: unit for unit in plan.units})
    made = set(store.artifacts())
    while unit := next(state.ready(), None):
        for step in unit.steps:
            assert {need for _, need in step.needs} <= made
            made.add(step.artifact)
        assert all(set(work.artifacts) <= made for work in unit.cells)
        state.begin("trial", unit)
        state.end("trial")
    assert not state.waiting


@pytest.mark.parametrize("kind", spec.RECIPE_VERSION)
def test_another_version_of_a_kind_changes_the_cells_that_rest_on_it(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    def cells() -> dict[spec.Cell, str]:
        return {work.cell: work.fingerprint for work in compile_study(STUDY, None).cells}

    before = cells()
    monkeypatch.setitem(spec.RECIPE_VERSION, kind, 99)
    changed = {cell for cell, stamp in cells().items() if stamp != before[cell]}
    rests = {
        "fewshot": lambda cell: cell.shots > 0,
        "label": lambda cell: cell.method in STUDENTS,
        "distill": lambda cell: cell.method in STUDENTS,
        "teachers": lambda cell: cell.method in STUDENTS,
        "translate": lambda cell: protocol(cell.method)[0],
        "project": lambda cell: protocol(cell.method)[0],
        "score": lambda cell: cell.method == "translate-test",
        "similarity": lambda cell: MIXTURES.get(cell.method) is not None,
    }.get(kind, lambda cell: True)
    assert changed == set(filter(rests, before))
