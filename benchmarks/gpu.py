"""Training mT5 on one GPU: tokens a second, share of the card's own matmul rate, and memory, against transformers' form.

Needs torch, transformers and numpy alone. Both train on the same sentences of made-up pieces, all equally long so that
neither pads, with bf16 autocast, fp32 weights and AdamW. Ours is `engine.train.loop.train` with its own batching. The
baseline is the step that a user writes with transformers: the answer `<x0> tag <x1> tag ...` as labels, the model's
own loss over the whole vocabulary, every weight trained.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from transformers import MT5ForConditionalGeneration

from benchmarks.report import Report, Skipped
from benchmarks.shapes import mt5_config
from engine.models.load import fuse_activations
from engine.models.mt5 import SlotTagger
from engine.models.sizes import KNOWN, Size
from engine.models.speller import SENTINEL
from engine.models.windows import Window
from engine.spec import Training
from engine.train.batches import collate, pass_cost, updates, words_per_update
from engine.train.loop import PlainBackend, train
from engine.train.losses import cross_entropy

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG")
SHAPES = {name: KNOWN[f"google/mt5-{name}"] for name in ("small", "base", "large")}
COUNTED = (
    "Subwords are the encoder's. Utilization: operations of the matrix products that the model needs (two for each "
    "multiplication and addition; the backward pass twice the forward pass; attention over all positions; neither "
    "embeddings, norms, softmax and optimizer nor anything computed twice), by time, by the measured matmul rate."
)
BASELINE = (
    "Baseline: MT5ForConditionalGeneration with labels (two pieces a word), whole output head, fused AdamW, bf16 autocast. "
    "The tags are random: the losses (a word's; a label's) show that both train, and `train` compares quality."
)
END, UNKNOWN_PIECE, FIRST_TEXT = 1, 2, 10 + len(TAGS)  # ids: the padding 0, these, the tags from 10 on, then the text's


@dataclass(frozen=True)
class Setting:
    """Sentences a batch, their subwords (sentinels and end included) and words, updates timed and not, repetitions."""

    sentences: int = 64
    tokens: int = 128
    words: int = 40
    warmup: int = 5
    timed: int = 20
    rounds: int = 3

    @property
    def training(self) -> Training:
        steps = self.warmup + self.timed
        return Training(steps=steps, batch_size=self.sentences, learning_rate=1e-4, precision="bf16", max_tokens=self.tokens)


@dataclass(frozen=True)
class Run:
    """Seconds an update, peak memory in bytes (0 on a CPU), the last update's loss."""

    seconds: float
    memory: int
    loss: float


class Pieces:
    """A vocabulary of mT5's size whose text is never read: what `SlotTagger` asks of a tokenizer."""

    name_or_path = "made-up pieces"
    pad_token_id, eos_token_id, unk_token_id = 0, END, UNKNOWN_PIECE
    all_special_ids = (0, END, UNKNOWN_PIECE)

    def __init__(self, pieces: int) -> None:
        self.sentinels = [pieces - 1 - number for number in range(100)]
        self._ids = {f"<{tag}>": 10 + number for number, tag in enumerate(TAGS)}
        self._ids |= {SENTINEL.format(number): piece for number, piece in enumerate(self.sentinels)}

    def get_vocab(self) -> dict[str, int]:
        """Ids by piece, of the tags and sentinels alone."""
        return self._ids


def run(device: str = "cuda", shapes: dict[str, Size] | None = None, setting: Setting = Setting()) -> Report:
    """Measure each shape. `device="cpu"` serves a test: its figures say nothing of a GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise Skipped("this machine has no GPU that torch can use")
    ceiling = matmul_rate(device)
    rows, figures = [], {"matmul_tflops": ceiling / 1e12}
    for name, size in (shapes or SHAPES).items():
        pairs = [(transformers_step(size, setting, device), ours(size, setting, device)) for _ in range(setting.rounds)]
        mine = _median([own for _, own in pairs])
        baseline = _median([theirs for theirs, _ in pairs if theirs])
        tokens = setting.sentences * setting.tokens / mine.seconds
        share = operations(size, setting, len(TAGS)) / mine.seconds / ceiling
        figures |= {f"{name}_tokens_per_second": tokens, f"{name}_utilization": share, f"{name}_peak_gb": mine.memory / 1e9}
        row = [name, f"{tokens:,.0f}", f"{share:.0%}", f"{mine.memory / 1e9:.1f}", f"{mine.loss:.2f}", "does not fit", "", "", ""]
        if baseline:
            ratio = statistics.median(theirs.seconds / own.seconds for theirs, own in pairs if theirs)
            less = mine.memory / baseline.memory if baseline.memory else 0.0
            figures |= {f"{name}_ratio": ratio, f"{name}_memory_ratio": less}
            speed = setting.sentences * setting.tokens / baseline.seconds
            row[5:] = [f"{speed:,.0f}", f"{ratio:.1f}x", f"{less:.2f}x", f"{baseline.loss:.2f}"]
        rows.append(row)
    card = torch.cuda.get_device_name() if device == "cuda" else device
    what = (
        f"{card}: bf16 matmul at {ceiling / 1e12:.0f} TFLOP/s, measured. Training mT5's shapes, random weights, batches of "
        f"{setting.sentences} sentences of {setting.tokens} subwords and {setting.words} words, {setting.timed} updates."
    )
    columns = (
        "shape", "subwords/s", "utilization", "peak GB", "loss", "baseline subwords/s", "faster", "memory", "baseline's loss",
    )  # fmt: skip
    return Report("gpu: training mT5 on one card", columns, rows, figures, (what, COUNTED, BASELINE))


def operations(size: Size, setting: Setting, outputs: int) -> float:
    """Operations of an update's matrix products, forward and backward, as `run` says they are counted."""
    tokens, words = setting.tokens, setting.words
    encoder = size.layers * tokens * (size.attention + size.dense + 2 * tokens * size.inner)
    slot = 1.5 * size.attention + size.dense + 2 * (words + tokens) * size.inner  # its own attention; a query and an output
    decoder = size.decoder_layers * (words * slot + tokens * size.attention / 2)  # the text's keys and values
    return 3 * 2 * setting.sentences * (encoder + decoder + words * size.width * outputs)


def matmul_rate(device: str) -> float:
    """Operations a second of a large bf16 matrix product: the most that this card gives."""
    n, times = (8192, 20) if device == "cuda" else (256, 2)
    a, b = torch.randn(2, n, n, device=device, dtype=torch.bfloat16)
    best = min(_seconds(lambda: a @ b, device, times) for _ in range(5))
    return 2 * n**3 / best


def ours(size: Size, setting: Setting, device: str) -> Run:
    """Train a `SlotTagger` through the engine's loop."""
    model = _model(size, device).cpu()
    fuse_activations(model)
    tagger = SlotTagger(model, Pieces(size.vocabulary), TAGS, "random weights")
    windows, tags = _windows(size, setting)
    tagger.vocabulary.cover(torch.tensor([window.input_ids for window in windows]))
    training, backend = setting.training, PlainBackend(device)
    words = words_per_update(windows, setting.sentences)
    batches = updates(windows, tags, 0, training, 0, pass_cost=pass_cost(tagger, backend.device))
    clock = Clock(setting, device)

    def loss(model: torch.nn.Module, batch: Any) -> torch.Tensor:
        logits = model(batch.input_ids, batch.attention_mask, batch.slots)
        return cross_entropy(logits, batch.targets, batch.mask, words)

    log = train(tagger, clock.watch(batches), loss, training, backend)
    return Run(clock.seconds(), log.peak_memory_bytes if device == "cuda" else 0, log.losses[-1])


def transformers_step(size: Size, setting: Setting, device: str) -> Run | None:
    """Train the published form with transformers. None where the card's memory is too small for it."""
    try:
        return _transformers_step(size, setting, device)
    except torch.OutOfMemoryError:
        return None


def _transformers_step(size: Size, setting: Setting, device: str) -> Run:
    model = _model(size, device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    windows, tags = _windows(size, setting)
    answers = [[piece for slot, tag in zip(w.slots, t, strict=True) for piece in (slot, 10 + tag)] for w, t in zip(windows, tags, strict=True)]
    clock = Clock(setting, device)
    for number in clock.watch(range(setting.warmup + setting.timed)):
        chosen = [(number * setting.sentences + i) % len(windows) for i in range(setting.sentences)]
        batch = collate([windows[i] for i in chosen], None, 0).to(device)
        labels = torch.tensor([[*answers[i], END] for i in chosen]).to(device)
        with torch.autocast(device, torch.bfloat16):
            loss = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return Run(clock.seconds(), torch.cuda.max_memory_allocated() if device == "cuda" else 0, loss.item())


class Clock:
    """Times a training's updates after its first ones, waiting for the device at both ends."""

    def __init__(self, setting: Setting, device: str) -> None:
        self.setting, self.device, self.started = setting, device, 0.0

    def watch(self, steps: Iterable[Any]) -> Iterator[Any]:
        """Pass the steps on; the time runs from the first that is no warm-up."""
        for number, step in enumerate(steps):
            if number == self.setting.warmup:
                _wait(self.device)
                self.started = time.perf_counter()
            yield step

    def seconds(self) -> float:
        """Seconds of one update. To be called when the training has ended."""
        _wait(self.device)
        return (time.perf_counter() - self.started) / self.setting.timed


def _model(size: Size, device: str) -> MT5ForConditionalGeneration:
    """Random weights on the device, where the model before is gone."""
    _empty(device)
    torch.manual_seed(0)
    with torch.device(device):
        model = MT5ForConditionalGeneration(mt5_config(size, initializer_factor=0.05))
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())  # mT5's own is not tied
    return model


def _windows(size: Size, setting: Setting) -> tuple[list[Window], list[list[int]]]:
    """Sentences of equal length in pieces drawn at random, with a sentinel before each word, and their tags."""
    random, pieces = Random(0), Pieces(size.vocabulary)
    sentinels, texts = pieces.sentinels[: setting.words], range(FIRST_TEXT, min(20_000, pieces.sentinels[-1]))
    starts = [setting.tokens * number // setting.words for number in range(setting.words)]
    windows, tags = [], []
    for number in range(8 * setting.sentences):
        ids = [*random.choices(texts, k=setting.tokens - 1), END]
        for start, sentinel in zip(starts, sentinels, strict=True):
            ids[start] = sentinel
        windows.append(Window(number, 0, ids, sentinels))
        tags.append(random.choices(range(len(TAGS)), k=setting.words))
    return windows, tags


def _median(runs: list[Run]) -> Run | None:
    if not runs:
        return None
    return Run(statistics.median(one.seconds for one in runs), max(one.memory for one in runs), runs[-1].loss)


def _seconds(work: Callable[[], Any], device: str, times: int) -> float:
    _wait(device)
    started = time.perf_counter()
    for _ in range(times):
        work()
    _wait(device)
    return (time.perf_counter() - started) / times


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _empty(device: str) -> None:
    """Give the memory of what is gone back, and forget its peak."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
