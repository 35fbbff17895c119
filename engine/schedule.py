"""The schedule: Ray Tune gives every ready unit to a worker; a finished unit releases others.

Ray is imported here and in `engine.train.distributed` only. Nothing here is kept: the store is the truth, and a run
that was killed is planned anew.
"""

import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from engine.errors import StudyError
from engine.spec import Resources, Site
from engine.store import Store
from engine.work import Outcome, Unit, failed_row, run_unit

Progress = Callable[["State"], None]
LOST = "its worker was lost: killed, out of memory, or on a node without this package"


@dataclass
class State:
    """What the units are doing: names by state."""

    units: dict[str, Unit]
    running: dict[str, Unit] = field(default_factory=dict)  # by trial
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)  # artifact -> error

    def waiting(self) -> list[Unit]:
        """Units not begun, in the graph's order."""
        begun = self.done | {unit.name for unit in self.running.values()}
        return [unit for name, unit in self.units.items() if name not in begun]


class _Releases(Searcher):
    """A Tune searcher that suggests no hyperparameters but the next ready unit."""

    def __init__(self, state: State, store: Store, progress: Progress) -> None:
        super().__init__(metric="made", mode="max")
        self.state, self.store, self.progress = state, store, progress
        self.steps = {step.artifact: step for unit in state.units.values() for step in unit.steps}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        waiting = self.state.waiting()
        if not waiting and not self.state.running:
            return Searcher.FINISHED
        for unit in waiting:
            if unit.after <= self.state.done:
                self.state.running[trial_id] = unit
                self.progress(self.state)
                return {"unit": unit.name}
        return None if waiting or self.state.running else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        unit = self.state.running.pop(trial_id, None)
        if unit is None:
            return
        result = result or {}
        broken = LOST if error or "made" not in result else result["error"]
        self.state.failed |= dict(result.get("failed", ()))
        if broken:
            self.state.failed |= {step.artifact: broken for step in unit.steps if not self.store.has(step.artifact)}
        self._write_failed(unit, broken)
        self.state.done.add(unit.name)
        self.progress(self.state)

    def _write_failed(self, unit: Unit, broken: str | None) -> None:
        """Write a row for each cell of the unit that could not be finished, with the error that stopped it."""
        # A unit that ended well wrote the rows it could; results/ is listed only where one did not.
        written = {(file.cell, file.fingerprint) for file in self.store.row_files() if not file.failed} if broken else set()
        for work in unit.cells:
            missing = [name for name in work.artifacts if not self.store.has(name)]
            if missing or (broken and (work.key, work.fingerprint) not in written):
                causes = filter(None, map(self._cause, work.artifacts))
                error = next(causes, broken or f"not made: {', '.join(missing)}")
                self.store.write_rows(work.about, work.key, work.fingerprint, failed_row(work, error))

    def _cause(self, artifact: str) -> str | None:
        """The error of the step that makes the artifact, or of the nearest step before it that failed."""
        if artifact in self.state.failed or artifact not in self.steps:
            return self.state.failed.get(artifact)
        return next(filter(None, (self._cause(need) for _, need in self.steps[artifact].needs)), None)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its parts to resume from them; we plan anew, and a live display cannot be pickled."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the store knows what is done."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class _Worker(tune.Trainable):
    """A warm worker: runs one unit, then waits for the next, with its imports and data still loaded."""

    def setup(self, config: dict[str, Any], units: dict[str, Unit], address: str, site: Site) -> None:
        import torch

        torch.set_num_threads(site.resources.threads)
        self.units, self.store, self.site = units, Store(address), site

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: Tune saves a trial that ends, and the store has all that is worth keeping."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: a unit that is tried again skips the steps that the store has."""

    def step(self) -> dict[str, Any]:
        outcome, error = Outcome(), None
        try:
            outcome = run_unit(self.units[self.config["unit"]], self.store, self.site)
        except Exception as raised:  # noqa: BLE001, not a step's own error but the store's: Ray would not tell its text
            error = f"{type(raised).__name__}: {raised}"
        failed = list(outcome.failed.items())  # Tune flattens dicts
        return {"made": len(outcome.made), "failed": failed, "error": error, "done": True}


def start_ray(address: str | None, local: bool, jobs: int | None, resources: Resources) -> int:
    """Connect to a cluster, or start Ray on this machine. Return how many units fit at once, at most `jobs`.

    Where none fits a cluster as it is now, `jobs`, for which it may grow, or 0. Raises StudyError where neither --local
    nor --address was given and there is no GPU here, where both were, where the cluster does not answer, or no unit fits
    this machine.
    """
    if local and address is not None:
        raise StudyError(f"--local with --address {address}: --local runs on this machine alone. Give one of the two.")
    if not local and address is None and not _gpus():
        raise StudyError(
            "no GPU on this machine and no cluster address. On a laptop add --local (the study's local form, on the CPU); "
            "on a cluster run from its head with --address auto."
        )
    # The driver keeps its working folder on every worker of this machine, so that relative paths hold.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        settings |= {"num_cpus": os.cpu_count(), "include_dashboard": False}
    try:
        ray.init(address=address or "local", runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}}, **settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise StudyError(f"--address {address}: no Ray cluster could be reached or started ({error}).") from error
    need = {"CPU": resources.workers * resources.threads, "GPU": resources.workers * resources.gpus}
    there = ray.cluster_resources()
    fit = min(int(there.get(kind, 0) / number) for kind, number in need.items() if number)
    if not fit and address is None:
        raise StudyError(
            f"one step needs {need['CPU']} CPUs and {need['GPU']:g} GPUs (the study's resources: workers="
            f"{resources.workers}, threads={resources.threads}, gpus={resources.gpus:g}); this machine has "
            f"{there.get('CPU', 0):g} and {there.get('GPU', 0):g}. Lower the study's `resources`, or run it on a cluster."
        )
    return min(fit, jobs or fit) if fit else jobs or 0


def run_units(units: list[Unit], store: Store, site: Site, at_once: int, progress: Progress) -> State:
    """Run all units, several at once, each after those it needs. Return what became of them."""
    state = State({unit.name: unit for unit in units})
    resources = site.resources
    trainable = tune.with_parameters(_Worker, units=state.units, address=store.address, site=site)
    with tempfile.TemporaryDirectory(prefix="sprachbund-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(trainable, _trial_resources(resources)),
            tune_config=tune.TuneConfig(
                search_alg=_Releases(state, store, progress),
                num_samples=-1,
                max_concurrent_trials=max(1, at_once),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                name="units",
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),
                # Ray would look for one in the driver's folder, which other nodes do not see.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        tuner.fit()
    return state


def _trial_resources(resources: Resources) -> dict[str, float]:
    """What a unit's own process takes. One with several workers mostly waits for them; Ray Train reserves theirs.

    It takes no CPU, which its workers could then not have, but Tune wants some resource: a little memory.
    """
    if resources.workers > 1:
        return {"memory": 1 << 20}
    return {"CPU": resources.threads} | ({"GPU": resources.gpus} if resources.gpus else {})


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
