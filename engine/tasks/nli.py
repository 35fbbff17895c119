"""Natural language inference: its labels, mT5's text form, and accuracy as counts."""

from collections import Counter
from collections.abc import Sequence

from engine.data.examples import Pair
from engine.errors import DataError, did_you_mean
from engine.tasks.ner import ALL

LABELS = ("entailment", "neutral", "contradiction")
# What mT5 answers: the label's number in XNLI, as text (`process_xnli` of google-research/multilingual-t5's
# preprocessors.py; the numbers are TFDS's and facebook/xnli's). Unlike T5's MNLI, whose targets are the names.
WORDS = {label: str(number) for number, label in enumerate(LABELS)}


def text(pair: Pair) -> str:
    """What a text-to-text model reads (`process_xnli`, as above)."""
    return f"xnli: premise: {pair.premise} hypothesis: {pair.hypothesis}"


def count(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Return (true positives, false positives, false negatives) per label, and for "ALL".

    Each pair has one label and one answer: a wrong answer is a false positive of its label and a false negative of the
    right one. So for ALL precision, recall and F1 (`engine.tasks.ner.f1`) are the accuracy. Raises DataError where
    there are more of one than of the other, and for what is no label.
    """
    if len(gold) != len(predicted):
        raise DataError(f"{len(gold)} labels and {len(predicted)} predicted ones. Each pair has one of both.")
    for label in {*gold, *predicted} - {*LABELS}:
        raise DataError(f"{label!r} is no label of NLI.{did_you_mean(label, LABELS)} Labels: {', '.join(LABELS)}.")
    right = Counter(answer for label, answer in zip(gold, predicted, strict=True) if label == answer)
    counts = {
        label: (right[label], predicted.count(label) - right[label], gold.count(label) - right[label]) for label in LABELS
    }
    wrong = len(gold) - right.total()
    return counts | {ALL: (right.total(), wrong, wrong)}
