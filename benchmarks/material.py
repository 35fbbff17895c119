"""What the benchmarks are made of: real sentences, mT5-small's real shape, and the loop that a user would write."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import MT5ForConditionalGeneration

from benchmarks.report import Skipped
from benchmarks.shapes import mt5_config
from engine.data.corpora import open_dataset
from engine.data.sentences import Sentence
from engine.models.sizes import KNOWN
from engine.spec import Training
from engine.tasks.ner import tag_set
from engine.train.batches import order
from engine.train.loop import PlainBackend, rate, set_learning_rate
from engine.train.memory import UNKNOWN, Activations

SHARED = Path(os.environ.get("SPRACHBUND_SHARED", Path(__file__).resolve().parents[2] / "shared"))
TYPES = ("LOC", "ORG", "PER")
TAGS = tag_set(TYPES)
Examples = Sequence[tuple[list[int], list[int]]]  # input ids and labels, -100 where there is none


def shared(*parts: str) -> Path:
    """Return a path of the shared data. Raises Skipped where it is missing."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        raise Skipped(f"{path} is missing. Set SPRACHBUND_SHARED to the folder that holds models/ and data/.")
    return path


def sentences(language: str, split: str) -> list[Sentence]:
    """Return labeled sentences of MasakhaNER 2.0."""
    return open_dataset("masakhaner2", str(shared("data")), TYPES, ("DATE", "MISC")).sentences(language, split)


def tag_numbers(labeled: Sequence[Sentence]) -> list[list[int]]:
    """Return each sentence's tags as their numbers in TAGS."""
    return [[TAGS.index(tag) for tag in sentence.tags or ()] for sentence in labeled]


def write_checkpoint(folder: Path, tokenizer: Path, **settings: Any) -> None:
    """Write random weights of mT5-small's shape, with a head of its own as mT5's checkpoints have, and a tokenizer's files."""
    torch.manual_seed(0)
    model = MT5ForConditionalGeneration(mt5_config(KNOWN["google/mt5-small"], **settings))
    model.lm_head.weight = nn.Parameter(torch.randn_like(model.lm_head.weight))
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}), "utf-8")
    for file in tokenizer.iterdir():
        shutil.copyfile(file, folder / file.name)


class UserLoop:
    """One update a call, as Hugging Face's Trainer does it: random batches, dynamic padding, every weight trained.

    It makes the same batches as the engine does with that seed.
    """

    def __init__(self, model: nn.Module, examples: Examples, pad_id: int, training: Training, seed: int = 0) -> None:
        self.model = model.train()
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        self.training, self.losses = training, list[float]()
        self.batches = self._batches(examples, pad_id, seed)
        torch.manual_seed(seed)

    def __call__(self) -> None:
        set_learning_rate(self.optimizer, self.training.learning_rate * rate(len(self.losses), self.training))
        loss = self.model(**next(self.batches)).loss
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.training.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(loss.item())

    def _batches(self, examples: Examples, pad_id: int, seed: int) -> Iterator[dict[str, Tensor]]:
        lengths = [len(ids) for ids, _ in examples]
        for chosen in order(lengths, self.training.batch_size, self.training.steps, seed):
            ids, labels = zip(*(examples[i] for i in chosen), strict=True)
            input_ids = _pad(ids, pad_id)
            mask = torch.arange(input_ids.shape[1]) < torch.tensor([len(row) for row in ids])[:, None]
            yield {"input_ids": input_ids, "attention_mask": mask.long(), "labels": _pad(labels, -100)}


def _pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


class Turns(PlainBackend):
    """Training on one thread in turns with a baseline: after each update of ours, one of the baseline's, both timed."""

    def __init__(self, baseline: Callable[[], Any]) -> None:
        super().__init__("cpu")
        self.baseline = baseline
        self.times: list[tuple[float, float]] = []  # seconds of the baseline's and of our update

    def prepare(self, model: nn.Module, training: Training, kept: Activations = UNKNOWN) -> nn.Module:
        """As PlainBackend; the clock starts."""
        prepared = super().prepare(model, training, kept)
        self.mark = time.perf_counter()
        return prepared

    def step(self, learning_rate: float) -> Tensor:
        """As PlainBackend, then the baseline's update."""
        norm = super().step(learning_rate)
        ours, started = time.perf_counter() - self.mark, time.perf_counter()
        self.baseline()
        self.mark = time.perf_counter()
        self.times.append((self.mark - started, ours))
        return norm
