"""Named entity recognition: IOB2 tags, the spans they mean, and span F1 as seqeval counts it."""

from collections import Counter
from collections.abc import Iterable, Sequence

from engine.errors import DataError

ALL = "ALL"  # the key of the counts over all types
Span = tuple[str, int, int]  # type, first word, last word


def tag_set(types: Iterable[str]) -> tuple[str, ...]:
    """Return the IOB2 tags of some entity types, types sorted: ("O", "B-LOC", "I-LOC", ...)."""
    return ("O", *(f"{mark}-{kind}" for kind in sorted(types) for mark in "BI"))


def spans(tags: Sequence[str]) -> list[Span]:
    """Return the entities of one sentence in order, as `seqeval.metrics.sequence_labeling.get_entities` does.

    An I- tag that continues nothing of its type begins an entity: the CoNLL-2000 script's rule, seqeval's default.
    """
    found: list[Span] = []
    before = "O"
    for index, tag in enumerate(tags):
        mark, _, kind = tag.partition("-")
        if mark == "I" and before.partition("-")[2] == kind:
            found[-1] = (kind, found[-1][1], index)
        elif mark in ("B", "I"):
            found.append((kind, index, index))
        before = tag
    return found


def count(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], missing: Sequence[Sequence[str]] | None = None
) -> dict[str, tuple[int, int, int]]:
    """Return (true positives, false positives, false negatives) per entity type met in the sentences, and for "ALL".

    `gold` and `predicted`: for each sentence its tags. `missing`: for each sentence the types of entities that were
    predicted and are nowhere in it, all of them false positives. Raises DataError where a sentence has more of one than of
    the other.
    """
    counts: tuple[Counter[str], Counter[str], Counter[str]] = Counter(), Counter(), Counter()
    for index, (right, answer) in enumerate(zip(gold, predicted, strict=True)):
        if len(right) != len(answer):
            raise DataError(f"sentence {index} has {len(right)} words and {len(answer)} predicted tags.")
        true, found = set(spans(right)), set(spans(answer))
        for counter, entities in zip(counts, (true & found, found - true, true - found), strict=True):
            counter.update(kind for kind, _, _ in entities)
            counter[ALL] += len(entities)
    for kinds in missing or ():
        counts[1].update(kinds)
        counts[1][ALL] += len(kinds)
    kinds = sorted(set().union(*counts) - {ALL})
    return {kind: tuple(counter[kind] for counter in counts) for kind in (*kinds, ALL)}


def f1(tp: int, fp: int, fn: int) -> tuple[float, float, float]:
    """Return precision, recall and F1; each is 0.0 where it would be 0/0, as in seqeval."""
    precision = tp / (tp + fp) if tp + fp else 0.0
    recall = tp / (tp + fn) if tp + fn else 0.0
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0
