"""The workers that a schedule starts: one killed in mid-training, and a step that waits for room for its own."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import ray
import torch
from small_study import run_here, small_study

import engine.schedule
import engine.work
from engine.compiler import compile_study
from engine.plan import Plan, make_plan
from engine.schedule import LOST, State, run_units
from engine.spec import Resources, Site
from engine.store import Store
from engine.study import load_study
from engine.work import Unit

pytestmark = [pytest.mark.cluster, pytest.mark.soak]
KILLS = {"pretrain": 1, "finetune": 2}  # trainings that lose their process after a checkpoint, and how often


@pytest.fixture(scope="module", autouse=True)
def one_cpu() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
    torch.set_num_threads(threads)


def test_a_killed_process_is_replaced_once_and_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study(small_study(tmp_path), local=False).varied(methods=("in-language",), volumes=(0,))
    store, log = store_in(tmp_path / "out"), tmp_path / "log"

    class Worker(engine.schedule._Worker):
        """Killed at once when it has a checkpoint, as often as `KILLS` says. Writes down what each training begins from."""

        def setup(self, config: dict[str, Any], **rest: Any) -> None:
            from engine.train.loop import FolderCheckpoints

            super().setup(config, **rest)
            reading, writing = FolderCheckpoints.reading, FolderCheckpoints.writing

            def note(checkpoints: FolderCheckpoints, event: str) -> list[str]:
                kind = checkpoints.folder.parent.name.split("-")[1]
                with log.open("a") as file:
                    file.write(f"{kind} {event}\n")
                return [line for line in log.read_text().splitlines() if line == f"{kind} {event}"]

            def noted(checkpoints: FolderCheckpoints) -> Any:
                note(checkpoints, "goes on" if checkpoints.folder.exists() else "begins")
                return reading(checkpoints)

            @contextmanager
            def then_killed(checkpoints: FolderCheckpoints) -> Iterator[Path]:
                with writing(checkpoints) as folder:
                    yield folder
                so_far = len(note(checkpoints, "checkpoint"))
                if so_far <= KILLS[checkpoints.folder.parent.name.split("-")[1]]:
                    os.kill(os.getpid(), signal.SIGKILL)

            engine.work.CHECKPOINT_EVERY = 5
            FolderCheckpoints.reading, FolderCheckpoints.writing = noted, then_killed

    monkeypatch.setattr(engine.schedule, "_Worker", Worker)

    def run() -> tuple[State, Plan]:
        site = Site(resources=Resources(gpus=0, threads=1))
        state = run_units(make_plan(graph, store, on_gpu=False).units, store, site, 1, lambda state: None)
        return state, make_plan(graph, store, on_gpu=False)

    graph = compile_study(study, None)
    state, plan = run()
    assert set(state.failed.values()) == {LOST} and len(plan.failed) == 1
    assert store.results()["error"].to_list() == [LOST], "lost twice in one run: a row with its error"
    state, plan = run()
    assert not state.failed and not plan.open
    lines = Counter(log.read_text().splitlines())
    assert lines == {
        "pretrain begins": 1, "pretrain checkpoint": 2, "pretrain goes on": 1,
        "finetune begins": 1, "finetune checkpoint": 2, "finetune goes on": 2,
    }  # fmt: skip
    whole = Store(str(tmp_path / "whole"))
    left_out = pl.exclude("finished", "seconds", "peak_memory")
    assert store.results().select(left_out).equals(run_here(study, Path(whole.root)).select(left_out))
    assert weights(store) == weights(whole)


def test_a_step_whose_workers_find_no_room_is_shown_as_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resources, go, seen = Resources(gpus=0, threads=1, offload=True), tmp_path / "go", []

    class Marked:
        """The way to the driver, on which each trial leaves a file before it tells that its worker has begun."""

        def __init__(self, begun: Any) -> None:
            self.begun = begun

        def put(self, trial_id: str) -> None:
            (tmp_path / f"begun-{trial_id}").touch()
            self.begun.put(trial_id)

    def train(payload: None, backend: Any) -> dict[str, Any]:
        end = time.monotonic() + 120
        while not go.exists() and time.monotonic() < end:
            time.sleep(0.05)
        return {"shown": go.exists()}

    class Worker(engine.schedule._Worker):
        def setup(self, config: dict[str, Any], begun: Any, **rest: Any) -> None:
            super().setup(config, begun=Marked(begun), **rest)

        def step(self) -> dict[str, Any]:
            from engine.train.distributed import run

            with self._telling():
                shown = run(train, None, resources, f"{tmp_path}/{self.config['unit']}")["shown"]
            return {"made": int(shown), "failed": [], "error": None, "gpus": None, "done": True}

    def show(state: State) -> None:
        begun = len(list(tmp_path.glob("begun-*")))
        seen.append((state.steps["pending"], state.steps["running"], begun))
        if seen[-1] == (1, 1, 1):
            go.touch()

    monkeypatch.setattr(engine.schedule, "_Worker", Worker)
    units = [Unit(name, (SimpleNamespace(artifact=name),)) for name in ("one", "two")]
    state = run_units(units, store_in(tmp_path / "out"), Site(resources=resources), 2, show)
    assert state.made == 2 and (2, 0, 0) in seen and (1, 1, 1) in seen, seen
    assert all(running <= begun for _, running, begun in seen), seen


def store_in(folder: Path) -> Store:
    store = Store(str(folder))
    store.probe()
    return store


def weights(store: Store) -> dict[str, bytes]:
    """What the steps made, but for their records, which hold times."""
    files = [path for path in Path(store.root).glob("artifacts/[!.]*/*") if path.name != "step.json"]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}
