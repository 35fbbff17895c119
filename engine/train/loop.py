"""The one training loop: pretraining, fine-tuning and distillation, one process or many, CPU or GPU.

Needs torch alone. A `Backend` holds the model's optimizer and knows the other workers: `PlainBackend` is this process
alone, `engine.train.deepspeed` has the one for many. The batches come from `engine.train.batches`.
"""

import math
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from engine.errors import CheckpointError, OutOfMemoryError, SprachbundError
from engine.spec import Resources, Training
from engine.train.memory import UNKNOWN, Activations, Settings, choose

CHECK_EVERY = 16  # updates between two looks at the losses on a GPU, where each look waits for the device


class TrainingError(SprachbundError):
    """A model's training went wrong: its loss left the finite numbers, or there was nothing to train."""


class MicroBatch(Protocol):
    """What the loop asks of a batch; `engine.train.batches.Batch` has it."""

    @property
    def tokens(self) -> int: ...

    def to(self, device: torch.device) -> Any: ...


class Checkpoints(Protocol):
    """Where a run keeps its state, so that it can go on after a worker was lost.

    `every`: updates between two checkpoints. `reading` enters with the newest checkpoint's folder, None where there is
    none. `writing` enters with an empty folder, which becomes the newest checkpoint on leaving without an error.
    """

    every: int

    def reading(self) -> AbstractContextManager[Path | None]: ...

    def writing(self) -> AbstractContextManager[Path]: ...


class Backend(Protocol):
    """One worker's hold on the model, its optimizer and the other workers. Every worker calls every method.

    `prepare` moves the model to the device, makes its optimizer and returns what the loop calls forward on; it makes
    the training fit the device's memory, for which it is told what a micro-batch's activations can take.
    `backward` adds to the gradient; `last` marks the update's last micro-batch. `step` changes the weights and returns
    the gradient's norm before clipping. `total` is the sum of a tensor over workers. `weights` is the state dict with
    whole tensors on the CPU on rank 0, and {} on the others. `save` and `restore` keep weights and optimizer state in
    a folder.
    """

    rank: int
    world: int
    device: torch.device
    checkpoints: Checkpoints | None

    def prepare(self, model: nn.Module, training: Training, kept: Activations) -> nn.Module: ...

    def backward(self, loss: Tensor, last: bool) -> None: ...

    def step(self, learning_rate: float) -> Tensor: ...

    def total(self, values: Tensor) -> Tensor: ...

    def weights(self) -> dict[str, Tensor]: ...

    def save(self, folder: Path) -> None: ...

    def restore(self, folder: Path) -> None: ...


@dataclass
class TrainingLog:
    """What a training was: each update's loss, the real subwords that all workers read, seconds, memory.

    `seconds`: since the start, or since the last resume. `peak_memory_bytes`: this worker's; on a GPU torch's largest
    allocation in this training, on a CPU the largest resident size that the process ever had.
    """

    losses: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    peak_memory_bytes: int = 0


Batched = TypeVar("Batched", bound=MicroBatch)


def train(
    model: nn.Module,
    updates: Iterable[Sequence[Batched]],
    loss: Callable[[nn.Module, Batched], Tensor],
    training: Training,
    backend: Backend,
    seed: int = 0,
    kept: Activations = UNKNOWN,
) -> TrainingLog:
    """Train `model` in place for `training.steps` updates and leave it in evaluation mode.

    `updates` yields this worker's micro-batches of each update. `loss(model, batch)` must be divided by a constant of
    the whole update (`batches.words_per_update`), and not by the micro-batch's own size: the sum over micro-batches
    and workers is the update's loss. It must call the model it is given, which may be a wrapper. `seed` decides the
    dropout. `kept`: the most that a micro-batch's activations take, as far as it is known. Where the backend has
    checkpoints, training goes on from the newest one written by as many workers; `updates` is then read again from its
    start, without training on what was trained on.

    Raises TrainingError where a loss or a gradient is not finite (on a GPU up to 16 updates later; the weights are
    then worth nothing) or where `updates` ends too early, OutOfMemoryError where the memory is too small.
    """
    started = time.perf_counter()
    if backend.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(backend.device)
    with _enough_memory(backend.device):
        wrapped = backend.prepare(model, training, kept)
    wrapped.train()
    torch.manual_seed(seed * backend.world + backend.rank)
    log = TrainingLog()
    remaining = islice(updates, training.steps)
    if backend.checkpoints:
        _resume(backend, backend.checkpoints, log, remaining)
    with _enough_memory(backend.device):
        _run(wrapped, remaining, loss, training, backend, log)
    if len(log.losses) < training.steps:
        raise TrainingError(f"the batches ended after {len(log.losses)} of {training.steps} updates.")
    wrapped.eval()
    log.tokens = int(backend.total(torch.tensor(log.tokens, device=backend.device)))
    log.seconds = time.perf_counter() - started
    log.peak_memory_bytes = _peak_memory(backend.device)
    return log


def rate(step: int, training: Training) -> float:
    """The share of the learning rate at update `step`, counted from 0: warm-up, then the schedule down towards 0."""
    warmup = round(training.warmup * training.steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / (training.steps - warmup)
    if training.schedule == "linear":
        return 1 - progress
    return (1 + math.cos(math.pi * progress)) / 2 if training.schedule == "cosine" else 1.0


def adamw(model: nn.Module, training: Training) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) on the weights that require a gradient; no decay on biases and norms.

    Raises TrainingError where none requires one.
    """
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (decayed if parameter.ndim > 1 and "bias" not in name else others).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": training.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise TrainingError(
            f"every weight is frozen: freeze_embeddings={training.freeze_embeddings}, "
            f"freeze_layers={training.freeze_layers} leave nothing to train."
        )
    return torch.optim.AdamW(groups, lr=training.learning_rate, fused=True)


def fit_memory(model: nn.Module, kept: Activations, workers: int, memory: int, resources: Resources) -> Settings:
    """Choose the settings with which a training fits `memory` bytes; turn gradient checkpointing on where they say so."""
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    frozen = sum(parameter.numel() for parameter in model.parameters()) - trained
    settings = choose(trained, frozen, kept, workers, memory, resources)
    if settings.checkpointing:
        part = next(part for part in model.modules() if hasattr(part, "gradient_checkpointing_enable"))
        # transformers renames it; the old name warns, and the new one is missing before 5.20.
        enable = getattr(part, "activation_checkpointing_enable", None) or part.gradient_checkpointing_enable
        enable({"use_reentrant": False})  # the other kind gives no gradient behind frozen embeddings
    return settings


def memory_of(device: torch.device, resources: Resources) -> int:
    """Return the bytes that a worker may use: of its GPU, or of the machine's memory by its share of the cores."""
    if device.type == "cuda":
        share = min(1.0, resources.whole_gpus or 1.0)
        return int(share * torch.cuda.get_device_properties(device).total_memory)
    share = min(1.0, resources.threads / (os.cpu_count() or 1)) if resources.threads else 1.0
    return int(share * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def set_learning_rate(optimizer: Any, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


class PlainBackend:
    """This process alone, with torch and nothing else."""

    rank = 0
    world = 1

    def __init__(
        self,
        device: str | torch.device = "cpu",
        checkpoints: Checkpoints | None = None,
        resources: Resources | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.checkpoints = checkpoints
        self.resources = resources or Resources()

    def prepare(self, model: nn.Module, training: Training, kept: Activations = UNKNOWN) -> nn.Module:
        fit_memory(model, kept, self.world, memory_of(self.device, self.resources), self.resources)
        self.model = model.float().to(self.device)
        self.optimizer = adamw(self.model, training)
        self.clip = training.clip
        return self.model

    def backward(self, loss: Tensor, last: bool) -> None:
        loss.backward()

    def step(self, learning_rate: float) -> Tensor:
        set_learning_rate(self.optimizer, learning_rate)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def total(self, values: Tensor) -> Tensor:
        return values

    def weights(self) -> dict[str, Tensor]:
        return {name: value.cpu() for name, value in self.model.state_dict().items()}

    def save(self, folder: Path) -> None:
        torch.save({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}, folder / "plain.pt")

    def restore(self, folder: Path) -> None:
        state = torch.load(folder / "plain.pt", map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


class FolderCheckpoints:
    """Checkpoints of one process in a local folder, which need not exist yet; the newest replaces the one before.

    A kill at any moment leaves a whole one, if there was one: under the folder's name or, between the two renamings that put a
    new one in its place, under `before`.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder = folder
        self.before = folder.with_name(folder.name + ".before")
        self.every = every

    @contextmanager
    def reading(self) -> Iterator[Path | None]:
        yield next((folder for folder in (self.folder, self.before) if folder.exists()), None)

    @contextmanager
    def writing(self) -> Iterator[Path]:
        unfinished = self.folder.with_name(self.folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        yield unfinished
        if self.folder.exists():  # else a kill left `before` alone, and it stays until the new one has its name
            shutil.rmtree(self.before, ignore_errors=True)
            self.folder.rename(self.before)
        unfinished.rename(self.folder)
        shutil.rmtree(self.before, ignore_errors=True)


def _run(
    model: nn.Module,
    updates: Iterable[Sequence[Batched]],
    loss: Callable[[nn.Module, Batched], Tensor],
    training: Training,
    backend: Backend,
    log: TrainingLog,
) -> None:
    check_every = CHECK_EVERY if backend.device.type == "cuda" else 1
    unchecked: list[Tensor] = []
    for step, micro_batches in enumerate(updates, start=len(log.losses)):
        value = _accumulate(model, micro_batches, loss, training, backend)
        norm = backend.step(training.learning_rate * rate(step, training))
        unchecked.append(torch.stack([value, norm]))
        log.tokens += sum(batch.tokens for batch in micro_batches)
        done = step + 1
        checkpoints = backend.checkpoints if done < training.steps else None
        due = checkpoints is not None and done % checkpoints.every == 0
        if due or done % check_every == 0 or done == training.steps:
            _check(unchecked, training, backend, log)
        if checkpoints and due:
            _keep(backend, checkpoints, log)


def _accumulate(
    model: nn.Module,
    micro_batches: Sequence[Batched],
    loss: Callable[[nn.Module, Batched], Tensor],
    training: Training,
    backend: Backend,
) -> Tensor:
    """This worker's part of an update's loss, a scalar on the device, its gradient added to the weights'."""
    total = torch.zeros((), device=backend.device)
    bf16 = training.precision == "bf16"
    for number, batch in enumerate(micro_batches, start=1):
        # No cache: each weight is cast once a pass in any case, and a cache would hold all copies to the pass's end.
        with torch.autocast(backend.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            value = loss(model, batch.to(backend.device))
        backend.backward(value, last=number == len(micro_batches))
        total += value.detach()
    return total


def _check(unchecked: list[Tensor], training: Training, backend: Backend, log: TrainingLog) -> None:
    """Move the losses of the last updates to the log. All workers see the same sums, so all raise or none does."""
    for loss, norm in backend.total(torch.stack(unchecked)).tolist():
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise TrainingError(
                f"update {len(log.losses) + 1} of {training.steps}: the loss is {loss}, the gradient's norm "
                f"{norm / backend.world}. Try a lower learning_rate (it is {training.learning_rate}), a longer warmup "
                f"({training.warmup}) or a smaller clip ({training.clip}), or precision='fp32' "
                f"({training.precision!r}); where it is update 1, look at the checkpoint and the labels."
            )
        log.losses.append(loss)
    unchecked.clear()


def _state_file(folder: Path, backend: Backend) -> Path:
    return folder / f"rank-{backend.rank}-of-{backend.world}.pt"


def _keep(backend: Backend, checkpoints: Checkpoints, log: TrainingLog) -> None:
    """Write a checkpoint: the backend's state, and for each worker its log and its random numbers' state."""
    cuda = backend.device.type == "cuda"
    state = {
        "log": vars(log),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state(backend.device) if cuda else None,
    }
    with checkpoints.writing() as folder:
        backend.save(folder)
        torch.save(state, _state_file(folder, backend))


def _resume(backend: Backend, checkpoints: Checkpoints, log: TrainingLog, updates: Iterator[Any]) -> None:
    """Go on from the newest checkpoint, if it is of as many workers: DeepSpeed's state fits no other number."""
    with checkpoints.reading() as folder:
        if folder is None or not _state_file(folder, backend).exists():
            return
        try:
            backend.restore(folder)
            state = torch.load(_state_file(folder, backend), weights_only=True)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a damaged file makes of it
            raise CheckpointError(
                f"the checkpoint to go on from is damaged ({_found(error)}). It was moved to quarantine/: run the same command "
                "again, and the training starts from its beginning."
            ) from error
    vars(log).update(state["log"])
    for _ in islice(updates, len(log.losses)):
        pass
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] is not None:
        torch.cuda.set_rng_state(state["cuda_rng"], backend.device)


def _found(error: Exception) -> str:
    """What is wrong with a checkpoint. Torch's own words on what it does not unpickle advise to do so all the same."""
    if type(error).__name__ != "UnpicklingError":
        return f"{type(error).__name__}: {error}"
    foreign = re.search(r"GLOBAL (\S+)", str(error))
    return f"it holds {foreign[1]} where tensors and numbers should be; it was not run" if foreign else "it cannot be parsed"


@contextmanager
def _enough_memory(device: torch.device) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # on a CPU torch raises a bare RuntimeError
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        raise OutOfMemoryError(
            f"the device's memory is too small for this training, which took up to {_peak_memory(device) / 1e9:.2f} GB: "
            f"{str(error).partition('. ')[0]}. In the study's resources set a smaller micro_batch (it changes no result), "
            "whole gpus, or more workers, among which ZeRO parts what one cannot hold; docs/memory.md has what each model "
            "needs."
        ) from error


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
