"""Memory of a training step: the arithmetic of `engine.train.memory` beside what a step was seen to hold.

Seen in two ways, by one and the same step of random models of mT5's shapes: the tensors alive at once, counted without
computing anything (so that large shapes need no large machine), and, for the small ones, the memory that a process
of its own gained.
"""

import weakref
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import MT5ForConditionalGeneration

from benchmarks.measure import alone
from benchmarks.report import Report
from benchmarks.shapes import mt5_config
from engine.models.load import fuse_activations
from engine.models.mt5 import slot_states
from engine.models.sizes import KNOWN, Size
from engine.spec import Resources, Training
from engine.train.loop import PlainBackend, adamw, fit_memory
from engine.train.memory import UNKNOWN, Settings, activations, device_bytes

TAGS = 7
IN_A_PROCESS = ("tiny", "mt5-small")  # of the shapes, those that a laptop holds


@dataclass(frozen=True)
class Case:
    """A shape, its rows of embeddings, a micro-batch of sentences x subwords and words, and how it is trained."""

    name: str
    size: Size
    precision: str
    checkpointing: bool
    rows: int
    sentences: int = 16
    tokens: int = 64
    words: int = 28

    def model(self) -> MT5ForConditionalGeneration:
        """The model as `SlotTagger` trains it: no head, and the rows of the tags as a weight of their own."""
        config = mt5_config(self.size, vocab_size=self.rows)
        model = MT5ForConditionalGeneration._from_config(config, attn_implementation="eager")
        fuse_activations(model)
        model.lm_head = None
        model.tags = nn.Parameter(torch.randn(TAGS, self.size.width))
        return model

    def predicted(self) -> int:
        """Bytes by the arithmetic."""
        trained = self.size.body + (self.rows + TAGS) * self.size.width
        kept = activations(self.size, "slots", self.precision, self.sentences, self.tokens, self.words)
        return device_bytes(trained, 0, kept, 1, Settings(0, False, self.checkpointing))

    def train(self) -> list[Tensor]:
        """Two updates of two micro-batches each through the engine's backend; return the losses."""
        model, training, backend = self.model().train(), Training(steps=2, precision=self.precision), PlainBackend("cpu")
        # As `backend.prepare`, without the move to the device, which tensors without content cannot make.
        fit_memory(model, UNKNOWN, 1, 0, Resources(gradient_checkpointing=self.checkpointing))
        backend.model, backend.optimizer, backend.clip = model, adamw(model, training), training.clip
        ids = torch.zeros(self.sentences, self.tokens, dtype=torch.int64)
        slots = torch.zeros(self.sentences, self.words, dtype=torch.int64)
        losses = []
        for _ in range(2):
            for last in (False, True):
                bf16 = self.precision == "bf16"
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16, cache_enabled=False):
                    states = slot_states(model, ids, torch.ones_like(ids, dtype=torch.bool), slots)
                    loss = nn.functional.linear(states, model.tags).float().square().mean()
                backend.backward(loss, last)
                losses.append(loss.detach())
            backend.step(1e-4)
        return losses


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors that operations have made and that are still there; `peak` is the most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage from now on until it is freed."""
        storage = tensor.untyped_storage()
        if storage not in self._known:
            self._known.add(storage)
            size = storage.nbytes()
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return out


def run() -> Report:
    """Predict and see each shape in both precisions, with and without gradient checkpointing."""
    rows, figures = [], {}
    for name, pieces in (("tiny", 1_600), ("mt5-small", 20_000), ("mt5-base", 20_000)):
        size = KNOWN.get(name) or KNOWN[f"google/{name}"]
        for precision in ("fp32", "bf16"):
            for checkpointing in (False, True):
                case = Case(name, size, precision, checkpointing, pieces)
                predicted, tensors = case.predicted(), seen(case)
                process = held(case) if name in IN_A_PROCESS else 0
                key = f"{name}_{precision}{'_checkpointing' * checkpointing}"
                figures[key] = predicted / tensors
                rows.append([
                    name, precision, "yes" if checkpointing else "no", _gb(predicted), _gb(tensors),
                    f"{predicted / tensors:.2f}", _gb(process) if process else "",
                ])  # fmt: skip
    note = (
        f"An update of two micro-batches of {case.sentences} sentences of {case.tokens} subwords and {case.words} words, "
        f"{case.rows:,} rows of embeddings (tiny: all its own). `tensors`: the most bytes of tensors alive at once; `process`: what a process "
        "gained from before the model was made to its peak, the allocator's waste included."
    )
    columns = ("shape", "precision", "checkpointing", "predicted GB", "tensors GB", "predicted / tensors", "process GB")
    return Report("memory: predicted and seen", columns, rows, figures, (note,))


def seen(case: Case) -> int:
    """The most bytes of tensors alive at once in the case's training; nothing is computed."""
    live = Live()
    with FakeTensorMode(), live:
        case.train()
    return live.peak


def held(case: Case) -> int:
    """The bytes that a fresh process gains by the case's training."""
    before, peak = alone(_in_this_process, case)
    return peak - before


def _in_this_process(case: Case) -> int:
    """Train; return the process's size before. Compares with the process's peak."""
    torch.set_num_threads(1)
    before = psutil.Process().memory_info().rss
    case.train()
    return before


def _gb(number: int) -> str:
    return f"{number / 1e9:.3f}"
