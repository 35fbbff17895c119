"""`tag`: words tagged a second, mT5-small's real shape: `generate()` as users write it, against our forms and their floor.

`compare` measures on any device, from a checkpoint folder and sentences; `run` gives it the CPU, on one thread.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM

from benchmarks.material import TAGS, sentences, shared, write_checkpoint
from benchmarks.report import Report
from engine.data.sentences import Sentence
from engine.models.load import new_tagger
from engine.models.mt5 import SlotTagger
from engine.models.tagger import Tagger
from engine.models.windows import Window
from engine.train.batches import Batch, collate

MAX_TOKENS = 256


@dataclass(frozen=True)
class Tagging:
    """What `compare` measured. `seconds`: for each contender one time a round. `words`: those of one round.

    `same`: the share of words to which `sentinel` gives the tag that constrained generation gives.
    """

    seconds: dict[str, list[float]]
    words: int
    same: float

    def rate(self, name: str) -> float:
        """Words a second."""
        return self.words / statistics.median(self.seconds[name])

    def times(self, name: str, baseline: str) -> float:
        """How many times as fast as the baseline: the median over rounds."""
        return statistics.median(b / a for a, b in zip(self.seconds[name], self.seconds[baseline], strict=True))


NAMES = {
    "generate": "generate(), all 250,112 pieces",
    "constrained": "generate(), only a sentinel or a tag allowed",
    "sentinel": "`sentinel`",
    "slots": "`slots`",
    "floor": "the encoder alone, on the same input",
    "encoder": "`encoder`, whose input has no sentinels",
}
NOTES = (
    (
        "Words tagged a second by a model of mT5-small's shape with random weights and an output head of its own. All read the "
        "same sentences in the same batches of similar length, made before: tokenizing is the same for all and not timed."
    ),
    (
        "generate() is greedy, with a cache, and writes exactly 2 ids a word of a batch's longest sentence, as it would with "
        "trained weights; random ones never end an answer."
    ),
    (
        "Same tags: words that get the tag that the constrained generate() gives them. The form `slots` asks another question "
        "of the model, without the tags before, so there it says nothing."
    ),
)


def compare(
    folder: Path, text: Sequence[Sentence], device: str, dtype: torch.dtype, batch_size: int, batches: int, rounds: int
) -> Tagging:
    """Time all contenders in turn, round by round, on `batches` of the batches that `text` makes by length.

    `folder`: a checkpoint as `write_checkpoint` makes it. All weights are of `dtype`.
    """
    slots, sentinel, encoder = (
        new_tagger(str(folder), form, TAGS, seed=0).to(device, dtype).eval() for form in ("slots", "sentinel", "encoder")
    )
    user = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=dtype).to(device).eval()
    user.generation_config.eos_token_id = None  # so that it writes as much as it is asked for
    sample = _sample(slots, text, batch_size, batches)
    marked, also_marked, plain = (_batches(tagger, sample, batch_size, device) for tagger in (slots, sentinel, encoder))
    allowed = Constraint(slots)
    contenders: dict[str, tuple[list[Batch], Callable[[Batch], Tensor]]] = {
        "generate": (marked, lambda batch: generate(user, batch)),
        "constrained": (marked, lambda batch: generate(user, batch, prefix_allowed_tokens_fn=allowed)),
        "sentinel": (also_marked, lambda batch: tags(sentinel, batch)),
        "slots": (marked, lambda batch: tags(slots, batch)),
        "floor": (marked, lambda batch: slots.model.encoder(batch.input_ids, batch.attention_mask)[0][..., 0]),
        "encoder": (plain, lambda batch: tags(encoder, batch)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    answers: dict[str, list[Tensor]] = {}
    with torch.inference_mode():
        for given, answer in contenders.values():
            answer(given[-1])  # for warmth, the shortest batch
        for name, (given, answer) in [*contenders.items()] * rounds:
            started = time.perf_counter()
            answers[name] = [answer(batch).cpu() for batch in given]
            seconds[name].append(time.perf_counter() - started)
    words = sum(int(batch.mask.sum()) for batch in marked)
    return Tagging(seconds, words, _same(slots, marked, answers["constrained"], answers["sentinel"]) / words)


def tags(tagger: Tagger, batch: Batch) -> Tensor:
    """Numbers of tags (B, W)."""
    return tagger.answer(batch.input_ids, batch.attention_mask, batch.slots).argmax(-1)


def generate(model: Any, batch: Batch, **settings: Any) -> Tensor:
    """Greedy generation with cache, (B, 2W): the start token is left out."""
    written = model.generate(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, do_sample=False, use_cache=True,
        max_new_tokens=2 * batch.slots.shape[1], **settings,
    )  # fmt: skip
    return written[:, 1:]


class Constraint:
    """generate()'s `prefix_allowed_tokens_fn`: a sentinel where one is due, else any tag."""

    def __init__(self, tagger: SlotTagger) -> None:
        self.sentinels = [[sentinel] for sentinel in tagger.sentinels]
        self.tags = tagger.tag_ids

    def __call__(self, row: int, written: Tensor) -> list[int]:
        words, tag_is_due = divmod(len(written) - 1, 2)  # less the start token
        return self.tags if tag_is_due else self.sentinels[words]


def _sample(tagger: Tagger, text: Sequence[Sentence], batch_size: int, batches: int) -> list[Sentence]:
    """The sentences of so many batches, of all lengths, out of all that `text` makes."""
    windows = _by_length(tagger, text)
    step = len(windows) // batches
    starts = range((step - batch_size) // 2, step * batches, step)
    return [text[window.sentence] for start in starts for window in windows[start : start + batch_size]]


def _by_length(tagger: Tagger, text: Sequence[Sentence]) -> list[Window]:
    return sorted(tagger.windows(text, MAX_TOKENS), key=lambda window: len(window.input_ids), reverse=True)


def _batches(tagger: Tagger, text: Sequence[Sentence], batch_size: int, device: str) -> list[Batch]:
    """As `engine.models.predict` makes them."""
    windows = _by_length(tagger, text)
    parts = [windows[first : first + batch_size] for first in range(0, len(windows), batch_size)]
    return [collate(part, None, tagger.tokenizer.pad_token_id).to(device) for part in parts]


def _same(tagger: SlotTagger, batches: Sequence[Batch], written: Sequence[Tensor], tagged: Sequence[Tensor]) -> int:
    """The number of words whose tags are the same in generated ids and in numbers of tags."""
    ids = torch.tensor(tagger.tag_ids)
    agree = ((text[:, 1::2] == ids[tags])[batch.mask.cpu()] for batch, text, tags in zip(batches, written, tagged, strict=True))
    return sum(int(words.sum()) for words in agree)


def run() -> Report:
    """Compare on one CPU thread, in float32, on test sentences of MasakhaNER 2.0's Swahili."""
    tokenizer, text = shared("models", "mt5-tokenizer"), sentences("swa", "test")
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        # Weights of mT5's own initial size: with much smaller ones every word of every sentence would get the same tag.
        write_checkpoint(Path(folder), tokenizer)
        return report(compare(Path(folder), text, "cpu", torch.float32, batch_size=16, batches=2, rounds=3))


def report(measured: Tagging) -> Report:
    """The table and figures of a comparison."""
    rows = [
        [
            NAMES[name], f"{measured.rate(name):,.0f}", f"{measured.times(name, 'generate'):.1f}x",
            f"{1 / measured.times(name, 'floor'):.2f}x", f"{measured.same:.2%}" if name == "sentinel" else "",
        ]
        for name in measured.seconds
    ]  # fmt: skip
    figures = {f"{name}_words_per_second": measured.rate(name) for name in measured.seconds}
    for name in ("constrained", "sentinel", "slots", "encoder"):
        figures |= {
            f"{name}_over_generate": measured.times(name, "generate"),
            f"{name}_time_of_floor": 1 / measured.times(name, "floor"),
        }
    figures |= {"sentinel_over_constrained": measured.times("sentinel", "constrained"), "sentinel_same_tags": measured.same}
    columns = ("", "words/s", "against generate()", "time of the encoder's", "same tags")
    return Report("tag: words a second", columns, rows, figures, NOTES)
