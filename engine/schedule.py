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


@dataclass
class State:
    """What the units are doing: names by state."""

    units: dict[str, Unit]
    running: dict[str, Unit] = field(default_factory=dict)  # by trial
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)  # artifact -> error

    def waiting(self) -> list[Unit]:
        """Units not begun, those with most work behind them first."""
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
        failed = dict((result or {}).get("failed", ()))
        if error or result is None:
            lost = "its worker was lost (killed, or out of memory)"
            failed |= {step.artifact: lost for step in unit.steps if not self.store.has(step.artifact)}
        self.state.failed |= failed
        self._write_failed(unit)
        self.state.done.add(unit.name)
        self.progress(self.state)

    def _write_failed(self, unit: Unit) -> None:
        """Write a row for each cell of the unit that could not be finished, with the error that stopped it."""
        for work in unit.cells:
            missing = [name for name in work.artifacts if not self.store.has(name)]
            if missing:
                causes = filter(None, map(self._cause, missing))
                error = next(causes, f"not made: {', '.join(missing)}")
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
        outcome: Outcome = run_unit(self.units[self.config["unit"]], self.store, self.site)
        return {"made": len(outcome.made), "failed": list(outcome.failed.items()), "done": True}  # Tune flattens dicts


def start_ray(address: str | None, local: bool, jobs: int | None) -> int:
    """Connect to a cluster, or start Ray on this machine. Return how many one-worker units fit at once.

    Raises StudyError where neither --local nor --address was given and there is no GPU here.
    """
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
        settings |= {"num_cpus": jobs or os.cpu_count(), "include_dashboard": False}
    ray.init(address=address, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}}, **settings)
    cluster = ray.cluster_resources()
    return jobs or int(cluster.get("GPU", 0) or cluster.get("CPU", 1))


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
                max_concurrent_trials=max(1, at_once // (max(1, resources.workers))),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=scratch, name="units", verbose=0, failure_config=tune.FailureConfig(max_failures=1)
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
