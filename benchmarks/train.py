"""`train`: an update of mT5-small's real shape on real sentences, against text-to-text training of the whole model."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoModelForSeq2SeqLM

from benchmarks.material import TAGS, Examples, Turns, UserLoop, sentences, shared, tag_numbers, write_checkpoint
from benchmarks.measure import Pair, alone, medians
from benchmarks.report import Report
from engine.models.load import new_tagger
from engine.models.mt5 import SlotTagger
from engine.models.windows import Window
from engine.spec import Training
from engine.train.loop import PlainBackend, TrainingLog
from engine.train.losses import cross_entropy
from engine.train.tagging import fit

PAD = 0  # mT5's
TRAINING = Training(steps=7, batch_size=16, learning_rate=1e-4, schedule="constant", max_tokens=128)
NOTES = (
    (
        "mT5-small's real shape (250,112 pieces, random weights, float32), Swahili sentences of MasakhaNER 2.0, the same 16 in each "
        "update, one CPU thread; the update times are medians of 6 after one for warmth."
    ),
    (
        "Baseline: what Seq2SeqTrainer does. The answer `<x0> TAG <x1> TAG ...` is trained over the whole vocabulary, batches are "
        "padded to their longest, AdamW moves every weight. The losses are of the first and last update, each by its own "
        "measure: a mean over all ids of the answer for the baseline, over words and the seven tags alone for the engine."
    ),
)


def run() -> Report:
    """Measure both sides in turns, and each side's peak in a process of its own."""
    tokenizer = shared("models", "mt5-tokenizer")
    sentences("swa", "train")
    with TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), tokenizer, initializer_factor=0.05)
        examples = _examples(folder)
        pair, baseline_losses, losses = in_turns(folder, examples)
        peaks = [alone(only_baseline, folder, examples)[1], alone(only_ours, folder)[1]]
    rows = [
        ["baseline", f"{pair.baseline:.2f}", f"{16 / pair.baseline:.2f}", f"{peaks[0] / 1e9:.2f}", _ends(baseline_losses)],
        ["engine", f"{pair.ours:.2f}", f"{16 / pair.ours:.2f}", f"{peaks[1] / 1e9:.2f}", _ends(losses)],
        ["ratio", "", f"{pair.ratio:.1f}x", f"{peaks[1] / peaks[0]:.2f}x", ""],
    ]
    figures = {
        "baseline_sentences_per_second": 16 / pair.baseline, "sentences_per_second": 16 / pair.ours, "speedup": pair.ratio,
        "baseline_peak_bytes": peaks[0], "peak_bytes": peaks[1], "memory_ratio": peaks[1] / peaks[0],
    }  # fmt: skip
    columns = ("", "s/update", "sentences/s", "peak memory, GB", "loss, first and last")
    return Report("train: mT5-small's shape on the CPU", columns, rows, figures, NOTES)


def in_turns(folder: str, examples: Examples) -> tuple[Pair, list[float], list[float]]:
    """Train both, one update each in turn; return times and losses."""
    torch.set_num_threads(1)
    baseline = UserLoop(AutoModelForSeq2SeqLM.from_pretrained(folder), examples, PAD, TRAINING)
    backend = Turns(baseline)
    log = _train(folder, backend)
    return medians(backend.times[1:]), baseline.losses, log.losses


def only_baseline(folder: str, examples: Examples) -> None:
    """Two updates of the baseline."""
    loop = UserLoop(AutoModelForSeq2SeqLM.from_pretrained(folder), examples, PAD, TRAINING)
    loop(), loop()


def only_ours(folder: str) -> None:
    """Two updates of the engine."""
    _train(folder, PlainBackend("cpu"), steps=2)


def _train(folder: str, backend: PlainBackend, steps: int = TRAINING.steps) -> TrainingLog:
    text = sentences("swa", "train")
    training = Training(**vars(TRAINING) | {"steps": steps})
    return fit(new_tagger(folder, "slots", TAGS, 0), text, tag_numbers(text), cross_entropy, training, 0, 0, backend)


def _examples(folder: str) -> Examples:
    """Input ids and answers of the baseline: the input is the engine's."""
    text = sentences("swa", "train")
    tagger = new_tagger(folder, "slots", TAGS, 0)
    tags = tag_numbers(text)
    windows = tagger.windows(text, TRAINING.max_tokens)
    return [(window.input_ids, _answer(tagger, window, tags[window.sentence][window.start :])) for window in windows]


def _answer(tagger: SlotTagger, window: Window, tags: Sequence[int]) -> list[int]:
    """`<x0> TAG <x1> TAG ... </s>` as ids; a window has fewer slots than the rest of its sentence has tags, or as many."""
    pairs = ((slot, tagger.tag_ids[tag]) for slot, tag in zip(window.slots, tags, strict=False))
    return [i for pair in pairs for i in pair] + [tagger.tokenizer.eos_token_id]


def _ends(losses: Sequence[float]) -> str:
    return f"{losses[0]:.2f}, {losses[-1]:.2f}"
