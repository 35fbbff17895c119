"""How much the texts of two languages share: types of words or subwords, names, and how varied their words are.

Counts and nothing else; what is a word or a subword, the caller says. Formulas and sources: docs/methods.md.
"""

from collections.abc import Mapping, Sequence

from engine.data.sentences import Sentence

FREQUENT = 5  # a type counts for `jaccard` where it occurs more often, as in LITMUS


def share(a: Mapping[str | int, int], b: Mapping[str | int, int]) -> float:
    """Types of both over the sum of each one's types: 0 to 0.5 (Lin et al. 2019). 0 where there is none."""
    return len(a.keys() & b.keys()) / max(1, len(a) + len(b))


def jaccard(a: Mapping[str | int, int], b: Mapping[str | int, int]) -> float:
    """Types of both over types of either, of those that occur more than `FREQUENT` times in their text: 0 to 1."""
    ours, theirs = ({kind for kind, number in counts.items() if number > FREQUENT} for counts in (a, b))
    return len(ours & theirs) / max(1, len(ours | theirs))


def shared_entities(train: Sequence[Sentence], test: Sequence[Sentence]) -> float | None:
    """The share of the words in entities of `test` that stand in `train` with the same tag (Manafi & Krishnaswamy 2024).

    By occurrence. It reads the gold tags of both. None where `test` has no entity.
    """
    known = set(_entity_words(train))
    asked = _entity_words(test)
    return sum(pair in known for pair in asked) / len(asked) if asked else None


def variety_distance(source: Sequence[str], target: Sequence[str]) -> float:
    """(1 - TTR of the source / TTR of the target)^2, type-token ratios of equally many words (Lin et al. 2019).

    A ratio falls with the length of the text, so the longer one is cut to the words of the shorter one. Each has one or more.
    """
    number = min(len(source), len(target))
    return (1 - len(set(source[:number])) / len(set(target[:number]))) ** 2


def _entity_words(sentences: Sequence[Sentence]) -> list[tuple[str, str]]:
    return [pair for s in sentences for pair in zip(s.words, s.tags or (), strict=True) if pair[1] != "O"]
