"""`profile`: where the time of a training update goes, by kind of operation, as torch's profiler sees it."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.material import TAGS, TYPES, sentences, shared, tag_numbers, write_checkpoint
from benchmarks.measure import alone
from benchmarks.report import Report
from engine.data.corpora import open_dataset
from engine.models.load import new_tagger
from engine.models.recipes import LOCAL
from engine.models.tiny import make_tiny
from engine.spec import Training
from engine.train.loop import PlainBackend
from engine.train.losses import cross_entropy
from engine.train.tagging import fit

UPDATES = 10
# The first whose word is in the name of torch's operation. What is left: views, allocation, calls from Python and C++.
KINDS = {
    "matrix products": ("mm", "linear"),
    "softmax": ("softmax",),
    "dropout's random numbers": ("dropout", "bernoulli"),
    "optimizer, clipping": ("adamw", "linalg_vector_norm", "_foreach"),
    "embeddings": ("embedding", "index"),
    "elementwise, norms": ("mul", "add", "div", "pow", "sum", "mean", "rsqrt", "gelu", "threshold", "layer_norm", "neg", "where"),
    "copies": ("copy", "clone", "cat", "fill", "zero"),
}
NOTES = (
    (
        f"{UPDATES} updates after as many for warmth, one CPU thread, float32; shares of the time between the first update and the last. "
        "`tiny`: the sandbox's x-eng, batches of 24. The others: MasakhaNER 2.0's Swahili, batches of 16; `mt5-small` has its real "
        "shape and random weights, `e5-small` its bottom 3 layers frozen. The profiler itself makes what is not arithmetic look larger."
    ),
)


def run() -> Report:
    """Profile each model in a process of its own."""
    tokenizer, e5 = shared("models", "mt5-tokenizer"), shared("models", "multilingual-e5-small-24")
    with TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), tokenizer, initializer_factor=0.05)
        shares = {
            "tiny": alone(_tiny)[0], "e5-small": alone(_real, str(e5), "encoder", 3)[0], "mt5-small": alone(_real, folder, "slots", 0)[0],
        }  # fmt: skip
    kinds = (*KINDS, "other operations", "between operations")
    rows = [["an update, ms", *(f"{share['seconds'] * 1e3:.0f}" for share in shares.values())]]
    rows += [[kind, *(f"{share[kind]:.0%}" for share in shares.values())] for kind in kinds]
    figures = {f"{name}_{kind}": part for name, share in shares.items() for kind, part in share.items()}
    return Report("profile: a training update", ("", *shares), rows, figures, NOTES)


def _tiny() -> dict[str, float]:
    data = open_dataset("sandbox", None, TYPES, ("DATE", "MISC")).sentences("x-eng", "train")
    with TemporaryDirectory() as folder:
        make_tiny(Path(folder), data, 0)
        return _shares(folder, "slots", data, Training(**vars(LOCAL["tiny"].finetune) | {"steps": 2 * UPDATES}))


def _real(checkpoint: str, form: str, frozen: int) -> dict[str, float]:
    training = Training(steps=2 * UPDATES, batch_size=16, learning_rate=1e-4, max_tokens=128, freeze_layers=frozen)
    return _shares(checkpoint, form, sentences("swa", "train"), training)


def _shares(checkpoint: str, form: str, text: Any, training: Training) -> dict[str, float]:
    """Seconds of an update, and the share of each kind of operation."""
    torch.set_num_threads(1)
    backend = _Profiled()
    fit(new_tagger(checkpoint, form, TAGS, 0), text, tag_numbers(text), cross_entropy, training, 0, 0, backend)
    return backend.shares


class _Profiled(PlainBackend):
    """Watches the second half of a training's updates."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self.done = 0
        self.profiler = profile(activities=[ProfilerActivity.CPU])

    def step(self, learning_rate: float) -> torch.Tensor:
        """As PlainBackend, and the profile from one update's end to another's."""
        norm = super().step(learning_rate)
        self.done += 1
        if self.done == UPDATES:
            self.profiler.start()
        if self.done == 2 * UPDATES:
            self.profiler.stop()
            self.shares = self._shares()
        return norm

    def _shares(self) -> dict[str, float]:
        events = self.profiler.events()
        total = max(event.time_range.end for event in events) - min(event.time_range.start for event in events)
        spent: Counter[str] = Counter()
        for event in self.profiler.key_averages():
            kind = next((kind for kind, words in KINDS.items() if any(word in event.key.lower() for word in words)), "other operations")
            spent[kind] += event.self_cpu_time_total
        spent["between operations"] = max(0.0, total - spent.total())
        return {"seconds": total / 1e6 / UPDATES} | {kind: spent[kind] / total for kind in (*KINDS, "other operations", "between operations")}
