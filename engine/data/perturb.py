"""Perturbed test sets: names and words of a labeled text replaced, to see what a model holds on to.

The names and the context are Manafi & Krishnaswamy 2024's: what the test text shares with the text that a model was
trained on is replaced by what it does not share. Such a model meets fewer replacements the less it shares, so the share
of entities edited (the exposure) comes with the text. A name or word has one replacement throughout.
"""

import re
import unicodedata
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from random import Random

from engine.data.sentences import Sentence
from engine.errors import DataError
from engine.tasks.ner import spans

MASK = "___"
COMMON = 50  # so many of the most frequent words are taken for function words, and left
Name = tuple[str, ...]
_INNER = re.compile(r"(?<=.)['’‘‐‑-](?=.)")  # signs that words have within them
_JOINERS = "\u200c\u200d"  # invisible, within words of Indic and Arabic scripts


@dataclass(frozen=True)
class Source:
    """Labeled text to compare with or to draw from: its names by type, as written, and its other words, folded, with their
    numbers."""

    names: dict[str, list[Name]]
    words: Counter[str]

    @classmethod
    def of(cls, sentences: Iterable[Sentence]) -> "Source":
        names: dict[str, dict[Name, None]] = defaultdict(dict)
        words: Counter[str] = Counter()
        for sentence in sentences:
            inside = set()
            for kind, first, last in spans(sentence.tags or ()):
                names[kind][sentence.words[first : last + 1]] = None
                inside |= {*range(first, last + 1)}
            words.update(word.casefold() for place, word in enumerate(sentence.words) if place not in inside)
        return cls({kind: sorted(found) for kind, found in names.items()}, words)


def perturb(
    kind: str, test: Sequence[Sentence], train: Sequence[Sentence], other: Sequence[Sentence], seed: int
) -> tuple[list[Sentence], float]:
    """Return the test text with its tags, perturbed, and the share of its entities that were edited.

    `kind`:
    - "names": names that `train` has too, of the same type, become names of `other` that it has not.
    - "context": words outside of names that `train` has too become words of `other` that it has not, of the nearest
      frequency; words with a digit or sign and the most frequent are left. (Manafi & Krishnaswamy take the nearest in a
      model's embeddings.) The entities of a sentence with such a word count as edited.
    - "both": the one, then the other.
    - "places:CODE", "given:CODE": places, or the first words of persons, become those of `other`, text of that language.
    - "mask": each word of a name becomes ___. "random": its letters and marks become others of the test's, of the same
      script; its case and length stay.

    `train`: the text that the model was trained on. In what has no tags, a name stands wherever its words do, as any type,
    and each word counts as context. `other`: labeled text of the target, or of CODE. Raises
    DataError where there is nothing to replace a name or word with.
    """
    known, spare = Source.of(train), Source.of(other)
    named = [name for source in (spare, Source.of(test)) for names in source.names.values() for name in names]
    names = _Names(kind, known, _standing(named, [s for s in train if s.tags is None]), spare, test, seed)
    words = _Words(known, spare, seed) if kind in ("context", "both") else None
    edited, total, made = 0, 0, []
    for sentence in test:
        changed, count = names(sentence) if kind != "context" else (sentence, 0)
        entities = len(spans(sentence.tags or ()))
        if words and (with_words := words(changed)) != changed:
            changed, count = with_words, entities
        made.append(changed)
        edited, total = edited + count, total + entities
    return made, edited / total if total else 0.0


class _Names:
    """Replaces names; remembers by what."""

    def __init__(self, kind: str, known: Source, read: AbstractSet[str], spare: Source, test: Sequence[Sentence], seed: int) -> None:
        self.kind = kind.partition(":")[0]
        self.random = Random(f"names {kind} {seed}")
        self.known = {type_: {_folded(name) for name in names} for type_, names in known.names.items()}
        self.read = read
        new_only = kind in ("names", "both")
        self.pool = {
            type_: [(_folded(name), name) for name in names if not new_only or not self._is_known(type_, name)]
            for type_, names in spare.names.items()
        }
        self.letters = _letters(test)
        self.chosen: dict[tuple[str, Name], Name] = {}

    def __call__(self, sentence: Sentence) -> tuple[Sentence, int]:
        """The sentence with its names replaced, and how many of them were."""
        words, tags, edited, end = [], [], 0, 0
        for type_, first, last in spans(sentence.tags or ()):
            name = sentence.words[first : last + 1]
            new = self._replacement(type_, name)
            words += [*sentence.words[end:first], *new]
            tags += [*(sentence.tags or ())[end:first], f"B-{type_}", *[f"I-{type_}"] * (len(new) - 1)]
            edited, end = edited + (new != name), last + 1
        return Sentence((*words, *sentence.words[end:]), (*tags, *(sentence.tags or ())[end:])), edited

    def _replacement(self, type_: str, name: Name) -> Name:
        if (type_, name) not in self.chosen:
            self.chosen[type_, name] = self._choose(type_, name)
        return self.chosen[type_, name]

    def _choose(self, type_: str, name: Name) -> Name:
        shared = self._is_known(type_, name)
        match self.kind:
            case "mask":
                return (MASK,) * len(name)
            case "random":
                return tuple("".join(self._letter(letter) for letter in word) for word in name)
            case "places" if type_ == "LOC":
                return self._draw(type_, name)
            case "given" if type_ == "PER":
                return (self._draw(type_, name)[0], *name[1:])
            case "names" | "both" if shared:
                return self._draw(type_, name)
            case _:
                return name

    def _is_known(self, type_: str, name: Name) -> bool:
        return (folded := _folded(name)) in self.read or folded in self.known.get(type_, ())

    def _draw(self, type_: str, name: Name) -> Name:
        folded = _folded(name)
        if choices := [new for other, new in self.pool.get(type_, ()) if other != folded]:
            return self.random.choice(choices)
        raise DataError(
            f"perturbation {self.kind!r}: no {type_} to put in the place of {' '.join(name)!r}: the text that names are drawn "
            "from has none that the training text lacks. Use another perturbation, or a dataset with more text."
        )

    def _letter(self, letter: str) -> str:
        choices = self.letters.get(_group(letter))
        if not choices:
            return letter
        new = self.random.choice(choices)
        return new.upper() if letter.isupper() else new


class _Words:
    """Replaces words outside of names; remembers by what."""

    def __init__(self, known: Source, spare: Source, seed: int) -> None:
        self.known, self.numbers = set(known.words), spare.words
        self.common = {word for word, _ in spare.words.most_common(COMMON)}
        self.new = [word for word in spare.words if word not in self.known and _is_word(word)]
        Random(f"words {seed}").shuffle(self.new)
        self.new.sort(key=self.numbers.__getitem__)
        self.free, self.chosen = list[str](), dict[str, str]()

    def __call__(self, sentence: Sentence) -> Sentence:
        tags = sentence.tags or ()
        return Sentence(tuple(self._replacement(word) if tag == "O" else word for word, tag in zip(sentence.words, tags, strict=True)), tags)

    def _replacement(self, word: str) -> str:
        folded = word.casefold()
        if folded not in self.known or folded in self.common or not _is_word(word):
            return word
        if folded not in self.chosen:
            self.chosen[folded] = self._nearest(folded)
        new = self.chosen[folded]
        return new.capitalize() if word[0].isupper() else new

    def _nearest(self, folded: str) -> str:
        """The word of the nearest frequency; one that replaces nothing yet, while there are such."""
        self.free = self.free or list(self.new)
        if not self.free:
            raise DataError(
                f"perturbation 'context': no word to put in the place of {folded!r}: the target's text has none that the training "
                "text lacks. Use another perturbation, or a dataset with more text."
            )
        number = self.numbers[folded]
        above = bisect_left(self.free, number, key=self.numbers.__getitem__)
        around = [place for place in (above - 1, above) if 0 <= place < len(self.free)]
        return self.free.pop(min(around, key=lambda place: abs(self.numbers[self.free[place]] - number)))


def _folded(name: Name) -> str:
    return " ".join(name).casefold()


def _standing(names: Iterable[Name], text: Iterable[Sentence]) -> set[str]:
    """Those of the names, folded, whose words stand somewhere in the text, one after the other."""
    asked: dict[str, dict[str, int]] = defaultdict(dict)  # first word -> names, and their numbers of words
    for name in names:
        asked[name[0].casefold()][_folded(name)] = len(name)
    found = set()
    for sentence in text:
        for place, word in enumerate(sentence.words):
            for folded, length in asked.get(word.casefold(), {}).items():
                if _folded(sentence.words[place : place + length]) == folded:
                    found.add(folded)
    return found


def _is_word(word: str) -> bool:
    """Whether it is made of letters and their marks, with apostrophes and hyphens within it at most."""
    kinds = {unicodedata.category(letter)[0] for letter in _INNER.sub("", word) if letter not in _JOINERS}
    return "L" in kinds and kinds <= {"L", "M"}


def _letters(test: Sequence[Sentence]) -> dict[tuple[str, str], list[str]]:
    """The letters and marks of a text, in small letters, by `_group`."""
    groups = defaultdict(list)
    for letter in sorted({letter for sentence in test for word in sentence.words for letter in word.lower()}):
        if (group := _group(letter))[1] in "LM" and len(letter.upper()) == 1:  # "ß" would become two
            groups[group].append(letter)
    return groups


def _group(letter: str) -> tuple[str, str]:
    """A letter's script, by the first word of its name, and whether it is a letter, a mark, or of another category."""
    return unicodedata.name(letter, "").partition(" ")[0], unicodedata.category(letter)[0]
