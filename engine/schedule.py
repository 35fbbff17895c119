"""The schedule: Ray Tune gives every ready unit to a worker; a finished unit releases others.

Ray is imported here, in `engine.cluster` and in `engine.train.distributed` only. Nothing here is kept: the store is the truth, and a run
that was killed is planned anew.
"""

import math
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from engine.errors import StorageError
from engine.leases import LOOK, Leases, check_seen
from engine.spec import Resources, Site
from engine.store import Store
from engine.train.memory import CONTEXT, cells_per_device
from engine.work import Outcome, Unit, failed_row, run_unit

Progress = Callable[["State"], None]
LOST = "its worker was lost: killed, out of memory, or on a node without this package"


@dataclass
class State:
    """What the units are doing.

    `steps`: the number of steps waiting for others, pending (given to the cluster, which has no room yet), running and
    done; `made`: of those done, how many this run made; `elsewhere`: of those waiting, how many which other run does.
    `cost`: of the units done. `notes`: lines for the user, taken away by who shows them.
    """

    units: dict[str, Unit]
    waiting: dict[str, Unit] = field(init=False)  # by name, in the graph's order
    given: dict[str, Unit] = field(default_factory=dict)  # pending and running, by trial
    started: set[str] = field(default_factory=set)  # the trials that run
    done: set[str] = field(default_factory=set)  # names
    failed: dict[str, str] = field(default_factory=dict)  # artifact -> error
    steps: Counter[str] = field(init=False)
    made: int = 0
    elsewhere: Counter[str] = field(default_factory=Counter)
    cost: float = 0.0
    notes: list[str] = field(default_factory=list)
    stopped: str | None = None  # why no more units begin: the store is full, closed or out of reach

    def __post_init__(self) -> None:
        self.waiting = dict(self.units)
        self.steps = Counter(waiting=sum(len(unit.steps) for unit in self.units.values()))

    def ready(self) -> Iterator[Unit]:
        """The units that wait for no other, each looked at when its turn comes."""
        return (unit for unit in list(self.waiting.values()) if unit.after <= self.done)

    def begin(self, trial_id: str, unit: Unit) -> None:
        """The trial gets the unit."""
        self.given[trial_id] = self.waiting.pop(unit.name)
        self.steps.update(waiting=-len(unit.steps), pending=len(unit.steps))

    def start(self, trial_id: str) -> None:
        """The trial runs: again, where it was lost before or has several steps; or it has ended since."""
        if trial_id in self.given and trial_id not in self.started:
            self.started.add(trial_id)
            self.steps.update(pending=-len(self.given[trial_id].steps), running=len(self.given[trial_id].steps))

    def end(self, trial_id: str) -> Unit | None:
        """The trial's unit is done, well or not; None where the trial had none."""
        unit = self.given.pop(trial_id, None)
        if unit:
            was = "running" if trial_id in self.started else "pending"
            self._done(unit, was)
        return unit

    def skip(self, unit: Unit) -> None:
        """Another run has done the unit."""
        self._done(self.waiting.pop(unit.name), "waiting")

    def _done(self, unit: Unit, was: str) -> None:
        self.done.add(unit.name)
        self.cost += unit.cost
        self.steps.update({was: -len(unit.steps), "done": len(unit.steps)})


class _Releases(Searcher):
    """A Tune searcher that suggests no hyperparameters but the next ready unit of which no other run has a step."""

    def __init__(self, state: State, store: Store, leases: Leases, progress: Progress, resources: Resources) -> None:
        super().__init__(metric="made", mode="max")
        self.state, self.store, self.leases, self.progress = state, store, leases, progress
        self.packing = Packing() if resources.gpus == "auto" and not resources.deepspeed else None
        self.steps = {step.artifact: step for unit in state.units.values() for step in unit.steps}
        self.written: set[tuple[str, str]] = set()  # cell and fingerprint of rows seen in the store at `listed`
        self.listed = -math.inf

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        try:
            return self._suggest(trial_id)
        except StorageError as error:  # Tune would not tell its text
            self.state.stopped = str(error)
            return None

    def _suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if not self.state.given and (self.state.stopped or not self.state.waiting):
            return Searcher.FINISHED
        if self.state.stopped:
            return None
        suggested = None
        for unit in self.state.ready():
            if not self.leases.elsewhere().keys().isdisjoint(_names(unit)):
                continue
            if self._done_elsewhere(unit):
                self.state.skip(unit)
                continue
            share = self.packing.share(unit, self.state.given.values(), _cluster_gpus()) if self.packing else None
            if share == 0:
                break
            if self.leases.claim(_names(unit)):
                self.state.begin(trial_id, unit)
                suggested = {"unit": unit.name, "gpus": share}
                break
        self._tell(suggested is not None)
        return suggested

    def _done_elsewhere(self, unit: Unit) -> bool:
        """Whether another run has meanwhile done the whole unit, as far as it was seen in the last second."""
        if not self.leases.met or not all(map(self.store.has, _names(unit))):
            return False
        if unit.cells and time.monotonic() > self.listed + LOOK:
            self.written = {(rows.cell, rows.fingerprint) for rows in self.store.cells().values() if rows.done}
            self.listed = time.monotonic()
        return all((work.key, work.fingerprint) in self.written for work in unit.cells)

    def _tell(self, news: bool) -> None:
        """Show the state if there is news, or other runs do more or fewer of our steps than were shown."""
        there = self.leases.elsewhere()
        waiting = (name for unit in self.state.waiting.values() for name in _names(unit)) if there else ()
        elsewhere = Counter(str(there[name]) for name in waiting if name in there)
        if news or self.state.notes or elsewhere != self.state.elsewhere:
            self.state.elsewhere = elsewhere
            self.progress(self.state)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        unit, result = self.state.end(trial_id), result or {}
        self.state.stopped = self.state.stopped or result.get("stop")
        if unit is None or result.get("stop"):  # the store's fault is no cell's
            return
        try:
            self._conclude(unit, result, error)
        except StorageError as full:
            self.state.stopped = str(full)

    def _conclude(self, unit: Unit, result: dict[str, Any], error: bool) -> None:
        if self.packing and result.get("gpus"):
            self.packing.learn(unit, result["gpus"])
        broken = LOST if error or "made" not in result else result["error"]
        self.state.failed |= dict(result.get("failed", ()))
        if broken:
            self.state.failed |= {step.artifact: broken for step in unit.steps if not self.store.has(step.artifact)}
        self._write_failed(unit, broken)
        self.leases.release(_names(unit))
        self.state.made += result.get("made", 0)
        self.progress(self.state)

    def _write_failed(self, unit: Unit, broken: str | None) -> None:
        """Write a row for each cell of the unit that could not be finished, with the error that stopped it."""
        # A unit that ended well wrote the rows it could; results/ is listed only where one did not.
        cells = self.store.cells() if broken else {}
        written = {(rows.cell, rows.fingerprint) for rows in cells.values() if rows.done}
        for work in unit.cells:
            missing = [name for name in work.artifacts if not self.store.has(name)]
            if missing or (broken and (work.key, work.fingerprint) not in written):
                causes = filter(None, map(self._cause, work.artifacts))
                error = next(causes, broken or f"not made: {', '.join(missing)}")
                self.store.write_rows(work.about, work.key, work.fingerprint, failed_row(work, error), unit.written.get(work.key, 0))

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


class _Starts(tune.Callback):
    """Tells when a trial that had to wait for room runs: where its workers tell it, in `begun`, when they do so.

    An empty queue is false, so it is compared with None.
    """

    def __init__(self, state: State, progress: Progress, begun: Queue | None) -> None:
        self.state, self.progress, self.begun = state, progress, begun
        self.looked = time.monotonic()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self.begun is None:
            self._start([trial.trial_id])

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self.begun is not None and time.monotonic() >= self.looked + LOOK:
            self._start(self.begun.get_nowait_batch(self.begun.qsize()))
            self.looked = time.monotonic()

    def _start(self, trial_ids: list[str]) -> None:
        for trial_id in trial_ids:
            self.state.start(trial_id)
        if trial_ids:
            self.progress(self.state)

    def __getstate__(self) -> dict[str, Any]:
        """Pickled, and never needed again, as the searcher is."""
        return {}


class _Worker(tune.Trainable):
    """A warm worker: runs one unit, then waits for the next, with its imports and data still loaded."""

    def setup(self, config: dict[str, Any], units: dict[str, Unit], address: str, site: Site, begun: Queue | None) -> None:
        import torch

        torch.set_num_threads(site.resources.cpus)
        self.units, self.store, self.site, self.begun = units, Store(address), site, begun
        self.sees_the_run = False

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: Tune saves a trial that ends, and the store has all that is worth keeping."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: a unit that is tried again skips the steps that the store has."""

    def step(self) -> dict[str, Any]:
        import torch

        outcome, error = Outcome(), None
        if self.config["gpus"]:
            if not torch.cuda.is_available():
                error = f"torch {torch.__version__} finds no GPU on {socket.gethostname()}: install it for the node's CUDA."
                return {"made": 0, "failed": [], "error": error, "gpus": None, "done": True}
            _limit_gpu(self.config["gpus"])
        try:
            if not self.sees_the_run:
                check_seen(self.store)
                self.sees_the_run = True
            with self._telling():
                outcome = run_unit(self.units[self.config["unit"]], self.store, self.site)
        except StorageError as raised:
            return {"made": 0, "failed": [], "error": str(raised), "stop": str(raised), "gpus": None, "done": True}
        except Exception as raised:  # noqa: BLE001, not a step's own error but the store's: Ray would not tell its text
            error = f"{type(raised).__name__}: {raised}"
        failed = list(outcome.failed.items())  # Tune flattens dicts
        whole = len(outcome.made) == len(self.units[self.config["unit"]].steps)  # else it shows less than its kind needs
        gpus = _gpu_share() if self.config["gpus"] and whole else None
        return {"made": len(outcome.made), "failed": failed, "error": error, "gpus": gpus, "done": True}


    def _telling(self) -> AbstractContextManager[None]:
        """Have the workers of the trial's steps, if it has others than itself, tell when they begin."""
        if self.begun is None:
            return nullcontext()
        from engine.train.distributed import telling

        return telling(partial(self.begun.put, self.trial_id))


def _names(unit: Unit) -> list[str]:
    return [step.artifact for step in unit.steps]


class Packing:
    """How much of a GPU a unit's worker gets: a whole one, until a unit of its kind has shown what it needs."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, ...], float] = {}

    def share(self, unit: Unit, running: Iterable[Unit], gpus: float) -> float:
        """Return the unit's share, or 0 for one of an unknown kind that finds no whole GPU free of the cluster's `gpus`.

        It waits, for its trial would keep a share that is fixed too early. Without any GPU yet it asks, and what is known
        asks in any case, so that the cluster grows.
        """
        if _kind(unit) in self.known or not gpus:
            return self._known(unit)
        return 1.0 if sum(map(self._known, running)) + 1 <= gpus else 0.0

    def learn(self, unit: Unit, share: float) -> None:
        """Keep what a unit needed, where it is the most of its kind."""
        self.known[_kind(unit)] = max(share, self.known.get(_kind(unit), 0.0))

    def _known(self, unit: Unit) -> float:
        return self.known.get(_kind(unit), 1.0)


def _kind(unit: Unit) -> tuple[str, ...]:
    """Units of one kind need about the same memory: the same model, form and kind of step."""
    return tuple(sorted({f"{step.kind} {step.model} {getattr(step.recipe, 'form', '')}" for step in unit.steps}))


def _limit_gpu(share: float) -> None:
    """Let this worker take no more than its share of the GPU, and forget what the unit before took."""
    import torch

    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(max(0.0, share - CONTEXT / total))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def _gpu_share() -> float:
    """The share of a GPU that the unit's peak makes enough. Ray counts in ten-thousandths."""
    import torch

    cells = cells_per_device(torch.cuda.max_memory_reserved(), torch.cuda.get_device_properties(0).total_memory)
    return math.floor(10_000 / cells) / 10_000


def run_units(units: list[Unit], store: Store, site: Site, at_once: int, progress: Progress) -> State:
    """Run all units, several at once, each after those it needs. Return what became of them.

    Several runs may do this on one store: a unit of which another has a step waits until that one is done with it.
    Raises StorageError where the store is full, closed or out of reach; the units that were running have ended then.
    """
    state = State({unit.name: unit for unit in units})
    resources = site.resources
    begun = _queue_here() if resources.deepspeed else None
    trainable = tune.with_parameters(_Worker, units=state.units, address=store.address, site=site, begun=begun)
    with Leases(store, state.notes.append) as leases, tempfile.TemporaryDirectory(prefix="sprachbund-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(trainable, partial(_trial_resources, resources)),
            tune_config=tune.TuneConfig(
                search_alg=_Releases(state, store, leases, progress, resources),
                num_samples=-1,
                max_concurrent_trials=max(1, at_once),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                name="units",
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),
                callbacks=[_Starts(state, progress, begun)],
                # Ray would look for one in the driver's folder, which other nodes do not see.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        tuner.fit()
    if state.stopped:
        raise StorageError(state.stopped)
    return state


def _trial_resources(resources: Resources, config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
    """What a unit's own process takes. One with several workers mostly waits for them; Ray Train reserves theirs.

    It takes no CPU, which its workers could then not have, but Tune wants some resource: a little memory.
    """
    if resources.deepspeed:
        return tune.PlacementGroupFactory([{"memory": 1 << 20}])
    gpus = config["gpus"] or resources.gpus
    return tune.PlacementGroupFactory([{"CPU": resources.cpus} | ({"GPU": gpus} if gpus else {})])


def _queue_here() -> Queue:
    """A queue for the whole cluster, on the driver's node, which no autoscaler takes away."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})


def _cluster_gpus() -> float:
    return ray.cluster_resources().get("GPU", 0.0)
