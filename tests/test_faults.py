"""What a training does that finds too little memory, whose loss leaves the numbers, or that learns nothing."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_study import STUDY

from engine.compiler import compile_study
from engine.errors import StudyError
from engine.models.mt5 import SlotTagger
from engine.plan import Plan, make_plan
from engine.schedule import State
from engine.spec import Resources, Site, Study
from engine.store import Store
from engine.study import load_study, local_models
from engine.work import failed_row, run_unit

ONE = Site(resources=Resources(threads=1))


def study(**finetune: Any) -> Study:
    """The smallest: pretrain, finetune on the target, evaluate. `finetune`: of its training, changed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "small.py")
        file.write_text(STUDY)
        small = load_study(file, local=False).varied(methods=("in-language",), volumes=(0,))
    recipe = small.recipes["tiny"]
    return replace(small, recipes={"tiny": replace(recipe, finetune=replace(recipe.finetune, **finetune))})


def run(asked: Study, store: Store, site: Site = ONE) -> tuple[Plan, dict[str, str]]:
    """Do what is left, here, and write the failed cells' rows; return the plan afterwards, and the errors by artifact."""
    graph = compile_study(asked, None)
    plan = make_plan(graph, store, on_gpu=False)
    state, failed = State({unit.name: unit for unit in plan.units}), {}
    while unit := next(state.ready(), None):
        state.begin("trial", unit)
        failed |= run_unit(unit, store, site).failed
        state.end("trial")
    for work in plan.open if failed else ():
        store.write_rows(work.about, work.key, work.fingerprint, failed_row(work, next(iter(failed.values()))))
    return make_plan(graph, store, on_gpu=False), failed


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(str(tmp_path_factory.mktemp("undisturbed")))
    store.probe()
    plan, failed = run(study(), store)
    assert not failed and not plan.open
    return store


@pytest.fixture
def store(undisturbed: Store, tmp_path: Path) -> Store:
    """A store with the pretrained model."""
    (base,) = (name for name in undisturbed.artifacts() if name.startswith("pretrain"))
    shutil.copytree(Path(undisturbed.root, "artifacts", base), tmp_path / "artifacts" / base)
    store = Store(str(tmp_path))
    store.probe()
    return store


def a_device_for(most: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a training pass of more than so many sentences find no memory; return the sizes of all."""
    sizes, forward = [], SlotTagger.forward

    def limited(self: SlotTagger, input_ids: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        if self.training:
            sizes.append(len(input_ids))
            if len(input_ids) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, input_ids, *rest)

    monkeypatch.setattr(SlotTagger, "forward", limited)
    return sizes


def trained(store: Store) -> dict[str, Any]:
    (name,) = (name for name in store.artifacts() if name.startswith("finetune"))
    return store.record(name)


def test_half_the_micro_batch_is_tried_and_gives_the_same_cell(store: Store, undisturbed: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = a_device_for(8, monkeypatch)
    plan, failed = run(study(), store)
    assert not failed and not plan.open and sizes[0] == 16 and max(sizes[1:]) == 8
    ours, theirs = trained(store), trained(undisturbed)
    assert ours["fingerprint"] == theirs["fingerprint"] and store.artifacts() == undisturbed.artifacts()
    assert ours["figures"]["last_loss"] == pytest.approx(theirs["figures"]["last_loss"], rel=1e-3)
    assert (ours["provenance"]["resources"]["micro_batch"], theirs["provenance"]["resources"]["micro_batch"]) == (8, 0)


def test_a_model_folder_that_is_not_the_planned_one_fails_its_cells(tiny: str, tmp_path: Path) -> None:
    folder, store = Path(shutil.copytree(tiny, tmp_path / "enc")), Store(str(tmp_path / "out"))
    store.probe()
    recipe = replace(study().recipes["tiny"], pretrain=None)
    asked = study().varied(model=str(folder), recipes={"mt5": recipe})
    units = make_plan(compile_study(asked, None), store, on_gpu=False).units
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")  # an edit; or another node's folder
    site = replace(ONE, models=local_models(asked))
    for error in (run_unit(unit, store, site).failed for unit in units if not unit.after):
        assert "is not the model that the study was planned with" in next(iter(error.values()))
    assert not store.artifacts()


def test_folders_of_one_name_are_refused_wherever_they_stand(tiny: str, tmp_path: Path) -> None:
    one, other = (str(shutil.copytree(tiny, tmp_path / place / "enc")) for place in ("a", "b"))
    asked, recipe = study(), study().recipes["tiny"]

    def using(model: str, aligner: str) -> Study:
        alignment = replace(recipe.projection.alignment, checkpoint=aligner)
        projection = replace(recipe.projection, alignment=alignment)
        return asked.varied(model=model, recipes={"mt5": replace(recipe, pretrain=None, projection=projection)})

    assert local_models(using(one, one)) == {"enc": one}
    for models in ((one, other), (one, "enc@main")):
        with pytest.raises(StudyError, match="both are called enc among"):
            local_models(using(*models))


def test_after_the_second_try_the_cell_has_failed_with_its_peak(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = a_device_for(4, monkeypatch)
    plan, failed = run(study(), store)
    (error,) = failed.values()
    assert sizes == [16, 8] and len(plan.failed) == 1
    assert "tried twice, at last with micro_batch=8" in error and "which took up to" in error and "out of memory" in error
    assert store.results()["error"].to_list() == [error]


def test_a_loss_that_is_no_number_is_recorded_and_no_other_seed_is_tried(store: Store) -> None:
    broken = study(learning_rate=1e30)
    for _ in range(2):  # the same command tries the same cell again, and nothing else
        plan, failed = run(broken, store)
        (error,) = failed.values()
        assert "update 2 of 12: the loss is" in error and "nan" in error
        assert len(plan.failed) == 1 and len(plan.to_run) == 2
    row = store.results().to_dicts()
    assert [(row["seed"], row["status"], row["f1"]) for row in row] == [(0, "failed", None)]


def test_a_collapsed_model_is_a_result_and_stays_one(store: Store) -> None:
    plan, failed = run(study(learning_rate=0.3), store)
    assert not failed and not plan.open and not plan.to_run, "nothing is done again"
    rows = store.results()
    assert rows["collapsed"].all() and set(rows["seed"]) == {0} and set(rows["status"]) == {"done"}
