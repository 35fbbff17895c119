"""`limit`: how near `train` and `encoder` come to what the processor can multiply."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.material import TAGS, Turns, sentences, shared, tag_numbers, write_checkpoint
from benchmarks.measure import alone, seconds
from benchmarks.report import Report
from engine.data.sentences import Sentence
from engine.models.load import new_tagger
from engine.spec import Training
from engine.train.loop import PlainBackend
from engine.train.losses import cross_entropy
from engine.train.tagging import fit

SIZE = 2048  # of the square matrices whose product is the limit
NOTES = (
    (
        "One CPU thread, float32. The limit is torch's own product of two matrices of 2,048 x 2,048. A training's rate is the "
        "operations that torch's counter finds in its products, forward and backward, padding included, over the whole time "
        "of an update: also attention's softmax, norms, optimizer and batching."
    ),
)


def run() -> Report:
    """Measure the limit and both trainings, each in a process of its own."""
    tokenizer = shared("models", "mt5-tokenizer")
    limit = alone(product_rate)[0]
    with TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), tokenizer, initializer_factor=0.05)
        sides = {
            "train": alone(training_rate, folder, "slots", 0)[0],
            "encoder": alone(training_rate, str(shared("models", "multilingual-e5-small-24")), "encoder", 3)[0],
        }
    rows = [["product of matrices", f"{limit / 1e9:.1f}", "100%"]]
    rows += [[name, f"{rate / 1e9:.1f}", f"{rate / limit:.0%}"] for name, rate in sides.items()]
    figures = {"limit_flops": limit} | {f"{name}_share": rate / limit for name, rate in sides.items()}
    return Report("limit: of the processor's arithmetic", ("", "GFLOP/s", "of the limit"), rows, figures, NOTES)


def product_rate() -> float:
    """Operations a second of torch's matrix product, the median of 9."""
    torch.set_num_threads(1)
    one, other = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    torch.mm(one, other)
    return 2 * SIZE**3 / median(seconds(lambda: torch.mm(one, other)) for _ in range(9))


def training_rate(checkpoint: str, form: str, frozen: int) -> float:
    """Operations a second of a training: those of 6 updates, counted, over the time that the same 6 take uncounted."""
    torch.set_num_threads(1)
    text = sentences("swa", "train")
    with FlopCounterMode(display=False) as counter:
        _train(checkpoint, form, frozen, text, PlainBackend("cpu"))
    timed = Turns(lambda: None)
    _train(checkpoint, form, frozen, text, timed)
    return counter.get_total_flops() / sum(ours for _, ours in timed.times)


def _train(checkpoint: str, form: str, frozen: int, text: Sequence[Sentence], backend: PlainBackend) -> None:
    training = Training(steps=6, batch_size=16, learning_rate=1e-4, max_tokens=128, freeze_layers=frozen)
    fit(new_tagger(checkpoint, form, TAGS, 0), text, tag_numbers(text), cross_entropy, training, 0, 0, backend)
