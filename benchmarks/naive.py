"""One cell as a user would do it with the libraries alone: `python -m benchmarks.naive BASE METHOD SOURCE TARGET VOLUME SEED`.

Every cell from scratch in a process of its own: the teacher, its labels by `generate()`, the student, and evaluation by
`generate()`. Text-to-text over the whole vocabulary (Raman et al. 2022), which takes more updates to learn than to fill
slots; it gets as many as bring it to an equal F1. Prints the target's F1.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM

from benchmarks.material import TAGS, TYPES, Examples, UserLoop, tag_numbers
from engine.data.corpora import open_dataset, pool
from engine.data.sampling import subset
from engine.data.sentences import Sentence
from engine.models.load import load_model
from engine.models.mt5 import tag_piece_ids
from engine.models.recipes import LOCAL
from engine.models.speller import sentinel_ids
from engine.models.windows import Subwords, Window, make_windows
from engine.spec import Training
from engine.tasks.ner import ALL, count, f1

RECIPE = LOCAL["tiny"]
# Updates for each of the recipe's. F1 on x-eng's dev split: .93 to .94 with twice as many (3 seeds), .69 to .81 with 1.25 to
# 1.75 times (4 runs), .64 with as many; the engine's teachers .90 to .91 (3 seeds).
UPDATES = 2
BATCH = 64  # sentences of a call of generate()


class Script:
    """A model with what its texts are made of."""

    def __init__(self, base: str, seed: int) -> None:
        self.model, self.tokenizer = load_model(base, AutoModelForSeq2SeqLM)
        self.seed = seed
        # The tiny model's head is tied to embeddings of size 1; the library does not scale its input as T5 did.
        head = self.model.shared.weight.detach() * self.model.config.d_model**-0.5
        self.model.config.tie_word_embeddings = False
        self.model.lm_head.weight = nn.Parameter(head.clone())
        self.sentinels = sentinel_ids(self.tokenizer)
        self.tags = tag_piece_ids(self.tokenizer, TAGS)

    def windows(self, sentences: Sequence[Sentence]) -> list[Window]:
        """The input: a sentinel before each word."""
        subwords = Subwords(self.tokenizer, self.sentinels)
        return make_windows(sentences, subwords, 256, after=[self.tokenizer.eos_token_id], sentinels=self.sentinels)

    def train(self, sentences: Sequence[Sentence], labels: Sequence[Sequence[int]], training: Training) -> None:
        """Fine-tune on the answer `<x0> TAG <x1> TAG ... </s>`."""
        examples: Examples = [
            (window.input_ids, self._answer(window, tags))
            for window, tags in zip(self.windows(sentences), labels, strict=True)
        ]
        training = replace(training, steps=UPDATES * training.steps)
        loop = UserLoop(self.model, examples, self.tokenizer.pad_token_id, training, self.seed)
        for _ in range(training.steps):
            loop()

    def tag(self, sentences: Sequence[Sentence]) -> list[list[int]]:
        """The numbers of the tags that generate() writes; what is no tag is read as O."""
        self.model.eval()
        windows = self.windows(sentences)
        numbers = {piece: number for number, piece in enumerate(self.tags)}
        found: list[list[int]] = []
        for first in range(0, len(windows), BATCH):
            part = windows[first : first + BATCH]
            written = self._generate(part)[:, 2::2].tolist()  # the start token, a sentinel, a tag, ...
            for window, row in zip(part, written, strict=True):
                tags = [numbers.get(piece, 0) for piece in row[: len(window.slots)]]
                found.append(tags + [0] * (len(window.slots) - len(tags)))
        return found

    def _answer(self, window: Window, tags: Sequence[int]) -> list[int]:
        pairs = zip(window.slots, (self.tags[tag] for tag in tags), strict=True)
        return [i for pair in pairs for i in pair] + [self.tokenizer.eos_token_id]

    def _generate(self, windows: Sequence[Window]) -> Tensor:
        batch: Any = self.tokenizer.pad({"input_ids": [w.input_ids for w in windows]}, return_tensors="pt")
        longest = 2 * max(len(window.slots) for window in windows) + 1
        with torch.inference_mode():
            return self.model.generate(**batch, max_new_tokens=longest, do_sample=False)


def cell(base: str, method: str, source: str, target: str, volume: int, seed: int) -> float:
    """Return the target's F1 of one cell. A student learns its teacher's tags."""
    data = open_dataset("sandbox", None, TYPES, ("DATE", "MISC"))
    model = Script(base, seed)
    train = data.sentences(target if method == "in-language" else source, "train")
    model.train(train, tag_numbers(train), RECIPE.finetune)
    if method == "teacher-student":
        chosen = subset(pool(data, target, "train"), volume, seed)
        tags = model.tag(chosen)
        model = Script(base, seed)
        model.train(chosen, tags, RECIPE.distill)
    test = data.sentences(target, "test")
    predicted = [tuple(TAGS[tag] for tag in tags) for tags in model.tag(test)]
    return f1(*count([sentence.tags or () for sentence in test], predicted)[ALL])[2]


if __name__ == "__main__":
    base, method, source, target, volume, seed = sys.argv[1:]
    print(cell(base, method, source, target, int(volume), int(seed)))
