"""Extractive question answering: mT5's text form, and exact match and F1 as SQuAD counts them.

The scores are those of SQuAD's evaluation script, v1.1 (Rajpurkar et al. 2016), which XQuAD and TyDiQA's gold passage
task are scored by too. It is English: it drops the articles a, an and the, and no others; the punctuation of ASCII, so
that "«", "،" and "।" stay; and its tokens stand between blanks, so that in Chinese, Japanese and Thai an answer is one
token and F1 little more than exact match. MLQA's script has rules for some of these languages, and other numbers.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from engine.data.examples import Question
from engine.errors import DataError

_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class Score:
    """One question's. `exact`: 1.0 where the prediction is an answer, else 0.0. `f1`: of the tokens, 0 to 1."""

    exact: float
    f1: float


def text(question: Question) -> str:
    """What a text-to-text model reads, in the form of mT5's `xquad` preprocessor (google-research/multilingual-t5).

    That one also puts blanks around punctuation, in the answers as well; here all texts stay as they are.
    """
    return f"question: {question.question} context: {question.context}"


def target(question: Question) -> str:
    """What a text-to-text model learns to write: the first answer, as in mT5."""
    return _answers(question)[0]


def normalize(answer: str) -> str:
    """Lower case, without ASCII punctuation, then without English articles, single blanks between tokens."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", answer.lower().translate(_PUNCTUATION)).split())


def score(prediction: str, answers: Sequence[str]) -> Score:
    """The best exact match and the best F1 over the answers, each for itself. Raises DataError without answers.

    Where nothing is left of a text ("The"), its F1 is 0.0 even with itself: so it is in the script.
    """
    if not answers:
        raise DataError("a question without an answer cannot be scored. Leave it out, or give it one.")
    told = normalize(prediction)
    right = [normalize(answer) for answer in answers]
    return Score(float(told in right), max(_f1(told.split(), answer.split()) for answer in right))


def scores(questions: Sequence[Question], predictions: Sequence[str]) -> list[Score]:
    """Each question's score. Raises DataError where there are more of one than of the other, or no answers."""
    if len(questions) != len(predictions):
        raise DataError(f"{len(questions)} questions and {len(predictions)} predictions. Each question has one.")
    return [score(told, _answers(question)) for question, told in zip(questions, predictions, strict=True)]


def mean(each: Sequence[Score]) -> Score:
    """Exact match and F1 of a test set: the means over its questions, 0 to 1 (the script prints percent)."""
    return Score(fmean(score.exact for score in each), fmean(score.f1 for score in each))


def _answers(question: Question) -> list[str]:
    if question.answers is None:
        raise DataError(f"question {question.id!r} has no answers. Only labeled questions can be learned from or scored.")
    return [answer for answer, _ in question.answers]


def _f1(told: list[str], right: list[str]) -> float:
    same = (Counter(told) & Counter(right)).total()
    if not same:
        return 0.0
    precision, recall = same / len(told), same / len(right)
    return 2 * precision * recall / (precision + recall)
