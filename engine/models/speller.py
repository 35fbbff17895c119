"""Texts of a task as ids and back: words by their subwords, and the task's marks ("PER:", "question:") as they can be had."""

import re
from collections.abc import Sequence
from itertools import count, takewhile

from transformers import PreTrainedTokenizerBase

from engine.errors import ModelError
from engine.models.windows import Subwords

SENTINEL = "▁<extra_id_{}>"  # as mT5's vocabulary holds it; without the mark it may be unknown
CAPITAL = "▁⇧"  # in the tiny model's, stands before the lower-case form of a capital letter: "Ada" is read as "⇧ ada"


class Speller:
    """Spells with a model's vocabulary. `marks`: what a task writes around the words of its data.

    A mark is spelled out, as mT5 does. In a vocabulary that lacks a letter of any mark, as the tiny model's does, each is a
    sentinel, numbered in the order of `marks`. `ids`: the ids of each mark. Raises ModelError where there are too few.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, subwords: Subwords, marks: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._subwords = subwords
        self._normal: dict[str, str] = {}
        spelled = tokenizer(list(marks), add_special_tokens=False)["input_ids"]
        self._marks: dict[int, str] = {}
        if any(tokenizer.unk_token_id in ids for ids in spelled):
            sentinels = sentinel_ids(tokenizer)[: len(marks)]
            if len(sentinels) < len(marks):
                raise ModelError(f"the vocabulary of {tokenizer.name_or_path!r} has {len(sentinels)} sentinels for {len(marks)} marks.")
            self._marks = dict(zip(sentinels, marks, strict=True))
            spelled = [[sentinel] for sentinel in sentinels]
        self.ids: dict[str, list[int]] = dict(zip(marks, spelled, strict=True))

    def words(self, words: Sequence[str]) -> list[int]:
        """Return the ids of words."""
        return [i for ids in self._subwords([words])[0] for i in ids]

    def text(self, ids: Sequence[int]) -> str:
        """Return what ids spell, marks and all, with single blanks."""
        pieces, plain = [], []
        for i in ids:
            if i in self._marks:
                pieces += [self._plain(plain), self._marks[i]]
                plain = []
            else:
                plain.append(i)
        return " ".join(" ".join([*pieces, self._plain(plain)]).split())

    def normal(self, word: str) -> str:
        """Return a word as `text` would give it back: what the vocabulary can spell of it."""
        if word not in self._normal:
            self._normal[word] = self.text(self.words([word]))
        return self._normal[word]

    def _plain(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) if ids else ""
        return re.sub(rf"{CAPITAL.removeprefix('▁')} ?(.)", lambda found: found[1].upper(), text)


def sentinel_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of <extra_id_0>, <extra_id_1>, ..., as many as the vocabulary has (100 in mT5).

    They are looked up, for mT5 numbers them downward and other vocabularies upward. Raises ModelError for none.
    """
    vocabulary = tokenizer.get_vocab()
    names = (SENTINEL.format(number) for number in count())
    found = takewhile(lambda i: i is not None, (vocabulary.get(n, vocabulary.get(n.removeprefix("▁"))) for n in names))
    if not (ids := list(found)):
        raise ModelError(
            f"the vocabulary of {tokenizer.name_or_path!r} has no sentinel {SENTINEL.format(0)!r}, which the forms "
            "'slots' and 'sentinel' put before each word. Use a T5 or mT5 checkpoint, or the form 'encoder'."
        )
    return ids
