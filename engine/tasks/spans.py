"""NER as mT5 writes it in PAN-X (Xue et al. 2021): `PER: Ada Lovelace $$ LOC: London`. Writing, reading, finding the words.

The text says what was named and not where. `place` finds it in the sentence; mT5's own metric, `position_free`, does not look.
How a model's vocabulary spells this text is in `engine.models.speller`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from engine.tasks.ner import ALL, Span, f1, spans

SEPARATOR = "$$"
Named = tuple[str, str]  # type, words with blanks between


@dataclass(frozen=True, slots=True)
class Tagged:
    """A sentence's answer: its tags, the entities it names that are not in the sentence, and whether all of it was read."""

    tags: tuple[str, ...]
    missing: tuple[Named, ...] = ()
    whole: bool = True

    def named(self, words: Sequence[str]) -> list[Named]:
        """All that the answer names, as text."""
        return [*named(words, self.tags), *self.missing]


def named(words: Sequence[str], tags: Sequence[str]) -> list[Named]:
    """Return the entities of a tagged sentence in order, as text."""
    return [(kind, " ".join(words[first : last + 1])) for kind, first, last in spans(tags)]


def write(entities: Iterable[Named]) -> str:
    """Return the answer that names these entities; "" for none."""
    return f" {SEPARATOR} ".join(f"{kind}: {text}" for kind, text in entities)


def read(answer: str, types: Collection[str]) -> tuple[list[Named], bool]:
    """Return the entities that an answer names, and whether all of it could be read.

    A part that is not a known type, a colon and some text is left out. What `write` wrote comes back, unless a word of an
    entity is the separator itself.
    """
    found, whole = [], True
    for part in f" {answer} ".split(f" {SEPARATOR} ") if answer.strip() else ():
        kind, _, text = part.partition(":")
        entity = kind.strip(), " ".join(text.split())
        if entity[0] in types and entity[1]:
            found.append(entity)
        else:
            whole = False
    return found, whole


def place(entities: Iterable[Named], words: Sequence[str]) -> tuple[list[Span], list[Named]]:
    """Return the entities' spans among the words, sorted, and the entities that are not there.

    Entities come in the order of the sentence, so one is first looked for behind the entity before it, then from the
    sentence's start; it takes the first place where its letters, blanks aside, are those of whole words that no entity has
    taken. What stands twice and is named once is thus taken where it stands first.
    """
    letters = ["".join(word.split()) for word in words]
    taken = [False] * len(words)
    placed, missing, after = [], [], 0
    for kind, text in entities:
        wanted = "".join(text.split())
        starts = (*range(after, len(words)), *range(after))
        ends = ((start, _end(wanted, letters, taken, start)) for start in starts)
        first, end = next(((start, end) for start, end in ends if end is not None), (0, None))
        if end is None:
            missing.append((kind, text))
            continue
        taken[first:end] = [True] * (end - first)
        placed.append((kind, first, end - 1))
        after = end
    return sorted(placed, key=lambda span: span[1]), missing


def _end(wanted: str, letters: Sequence[str], taken: Sequence[bool], start: int) -> int | None:
    """Where the free words from `start` on that spell `wanted` end; None where they do not."""
    for end in range(start, len(letters)):
        if taken[end] or not letters[end] or not wanted.startswith(letters[end]):
            return None
        wanted = wanted.removeprefix(letters[end])
        if not wanted:
            return end + 1
    return None


def tagged(found: Iterable[Span], length: int) -> tuple[str, ...]:
    """Return the IOB2 tags of a sentence of so many words with these spans, which must not overlap."""
    tags = ["O"] * length
    for kind, first, last in found:
        tags[first : last + 1] = [f"B-{kind}", *[f"I-{kind}"] * (last - first)]
    return tuple(tags)


def position_free(gold: Sequence[Sequence[Named]], predicted: Sequence[Sequence[Named]]) -> dict[str, float]:
    """Return mT5's span F1 per type met, and for "ALL": entities of each sentence compared as a multiset of type and text.

    As in `span_f1` of its published evaluation (github.com/google-research/multilingual-t5, evaluation/metrics.py), an
    entity with a colon in its text counts nowhere, neither in gold nor in what was predicted. It is 0.0 where it would be
    0/0.
    """
    counts: tuple[Counter[str], Counter[str], Counter[str]] = Counter(), Counter(), Counter()
    for entities in zip(gold, predicted, strict=True):
        right, answer = (Counter(entity for entity in some if ":" not in entity[1]) for some in entities)
        for counter, found in zip(counts, (right & answer, answer - right, right - answer), strict=True):
            for (kind, _), number in found.items():
                counter[kind] += number
                counter[ALL] += number
    kinds = {ALL}.union(*counts)
    return {kind: f1(*(counter[kind] for counter in counts))[2] for kind in kinds}
