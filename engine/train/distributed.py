"""Several workers for one step: Ray Train starts them, gives each a DeepSpeed backend, and brings back one result.

What the workers do is the caller's function; nothing here knows of models or data.
"""

import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch

from engine.errors import SprachbundError
from engine.spec import Resources
from engine.train.deepspeed import DeepSpeedBackend
from engine.train.loop import PlainBackend, TrainingError

Work = Callable[[Any, DeepSpeedBackend], dict[str, Any]]

# Ray reads these where `fit` is called: poll the workers often (else each run ends seconds late), keep no metrics
# service, and leave the workers in the driver's folder so that relative paths hold. Workers wait for room for a
# week and longer, not Ray's minute: for other steps, or for the cluster to grow.
DRIVER_SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(7 * 24 * 3600),
}
START_ATTEMPTS = 10  # where workers that found room do not come up
WORKER_SETTINGS = {"PYTHONWARNINGS": "ignore::FutureWarning"}  # torch renames what DeepSpeed calls: one warning a call


_begun: ContextVar[Callable[[], object] | None] = ContextVar("begun", default=None)


@contextmanager
def telling(begun: Callable[[], object] | None) -> Iterator[None]:
    """Have `begun`, which is pickled, called in a worker of every run in the block as soon as it has found room."""
    token = _begun.set(begun)
    try:
        yield
    finally:
        _begun.reset(token)


def run(
    function: Work,
    payload: Any,
    resources: Resources,
    storage: str,
    checkpoint_every: int = 500,
    retries: int = 1,
) -> dict[str, Any]:
    """Call `function(payload, backend)` in each of `resources.workers` workers; return rank 0's result.

    `function` and `payload` are pickled, the result should be JSON-able. `storage`: this run's own folder or URL, which
    all nodes see; checkpoints go there every `checkpoint_every` updates, and a run with the same storage goes on from
    the newest, so its name must fix the work (as a step's fingerprint does). A run that lost a worker starts again
    from its newest checkpoint, up to `retries` times; an error of the function's own does not. Needs `ray.init` before.

    Waits while the cluster has no room for the workers. Raises the function's error if it is one of ours, else a
    TrainingError with its text, and a TrainingError where the workers do not come up; Ray's error is the cause.
    """
    os.environ.update({key: os.environ.get(key, value) for key, value in DRIVER_SETTINGS.items()})
    while True:
        try:
            return _trainer(function, payload, resources, storage, checkpoint_every).fit().return_value
        except ray.train.WorkerGroupError as error:
            if retries < 1 or not lost(error.worker_failures.values()):
                raise worker_error(error.worker_failures) from error
            retries -= 1
        except ray.train.ControllerError as error:
            raise TrainingError(
                f"{resources.workers} workers of {resources.cpus} CPUs and {resources.whole_gpus:g} GPUs could not be "
                f"run: {error.controller_failure}"
            ) from error


def run_alone(function: Callable[[Any, PlainBackend], Any], payload: Any, resources: Resources) -> Any:
    """Call `function(payload, backend)` in one process with the resources of one worker; return its result.

    Raises what the function raises, and Ray's error where the process was lost twice.
    """
    # "DEFAULT": out of the caller's own placement group, which has no room for it.
    options = {"num_cpus": resources.cpus, "num_gpus": resources.whole_gpus, "scheduling_strategy": "DEFAULT"}
    task = ray.remote(max_retries=1, **options)(_alone)
    try:
        return ray.get(task.remote(function, payload, resources, _begun.get()))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error


def _alone(
    function: Callable[[Any, PlainBackend], Any], payload: Any, resources: Resources, begun: Callable[[], object] | None
) -> Any:
    if begun:
        begun()
    torch.set_num_threads(resources.cpus)
    return function(payload, PlainBackend(resources.device))


def worker_error(failures: dict[int, Exception]) -> SprachbundError:
    """The error of several workers, by rank: the first that is one of ours, else what each said, each text once."""
    for failure in failures.values():
        if isinstance(failure, SprachbundError):
            return failure
    said: dict[str, int] = {}
    for rank, failure in failures.items():
        said.setdefault(f"{type(failure).__name__}: {failure}", rank)
    return TrainingError("; ".join(f"worker {rank}: {text}" for text, rank in said.items()))


def _trainer(
    function: Work, payload: Any, resources: Resources, storage: str, checkpoint_every: int
) -> ray.train.torch.TorchTrainer:
    path, mark, options = storage.partition("?") if "://" in storage else (os.path.abspath(storage), "", "")
    folder, _, name = path.rstrip("/").rpartition("/")
    per_worker = {"CPU": resources.cpus} | ({"GPU": resources.whole_gpus} if resources.gpus else {})
    return ray.train.torch.TorchTrainer(
        _work,
        train_loop_config={
            "function": function,
            "payload": payload,
            "resources": resources,
            "checkpoint_every": checkpoint_every,
            "begun": _begun.get(),
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers, use_gpu=bool(resources.gpus), resources_per_worker=per_worker
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=folder + mark + options,
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            failure_config=ray.train.FailureConfig(controller_failure_limit=START_ATTEMPTS),
            worker_runtime_env={"env_vars": {"OMP_NUM_THREADS": str(resources.cpus)} | WORKER_SETTINGS},
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
        ),
    )


def _work(config: dict[str, Any]) -> dict[str, Any]:
    if config["begun"] and ray.train.get_context().get_world_rank() == 0:
        config["begun"]()
    resources = config["resources"]
    torch.set_num_threads(resources.cpus)
    backend = DeepSpeedBackend(resources, ray.train.torch.get_device(), RayCheckpoints(config["checkpoint_every"]))
    return config["function"](config["payload"], backend)


class RayCheckpoints:
    """Checkpoints that Ray Train gathers from all workers into the run's storage, and hands out after a restart."""

    def __init__(self, every: int) -> None:
        self.every = every

    @contextmanager
    def reading(self) -> Iterator[Path | None]:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            yield None
            return
        with checkpoint.as_directory() as folder:
            yield Path(folder)

    @contextmanager
    def writing(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
            ray.train.report({}, checkpoint=ray.train.Checkpoint.from_directory(folder))


def lost(failures: Collection[Exception]) -> bool:
    """Whether a worker was lost, as far as all failures tell; the function's own errors are passed on as they are.

    Ray reports a lost worker itself. But where it was lost with its node, the others find their connection closed first.
    """
    return any(type(failure).__module__.startswith("ray.") for failure in failures) or all(map(_disconnected, failures))


def _disconnected(failure: Exception) -> bool:
    """Whether NCCL or gloo (whose errors are bare ones) missed another worker."""
    gloo = isinstance(failure, RuntimeError) and re.search(r"\bgloo\b|\bby peer\b", str(failure)) is not None
    return isinstance(failure, torch.distributed.DistError) or gloo
