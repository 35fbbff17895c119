"""What the steps ask of a task: its examples, its labels, what is learned of them, and how answers are scored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from engine.data.sentences import Sentence
from engine.models.predict import decode
from engine.spec import Split
from engine.tasks import ner
from engine.tasks.ner import ALL
from engine.tasks.spans import Tagged, named, position_free
from engine.train.tagging import tag_ids


@dataclass(frozen=True)
class Scores:
    """How a test set was answered.

    `total`: a row for each type or label, and for ALL; its columns are named as in the results table. `single`: a row for
    each example, with counts (tp, fp, fn) for a paired bootstrap, and the answer. `figures`: for the step's record.
    """

    total: pl.DataFrame
    single: pl.DataFrame
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """`labels`: those of a split. `learned`: what a model is trained to answer, for each example (`Tagger.examples`).

    `decoded`: the answers that probabilities stand for. `scored`: examples, answers and the split's labeled types.
    """

    labels: Callable[[Split], tuple[str, ...]]
    learned: Callable[[Sequence[Any], Sequence[str]], Sequence[Any]]
    decoded: Callable[[Sequence[Any], Sequence[str]], Sequence[Any]]
    scored: Callable[[Sequence[Any], Sequence[Any], Sequence[str]], Scores]


def _tagged(probabilities: Sequence[Any], tags: Sequence[str]) -> list[Tagged]:
    return [Tagged(predicted) for predicted in decode(probabilities, tags)]


def _of_tags(sentences: Sequence[Sentence], answers: Sequence[Tagged], types: Sequence[str]) -> Scores:
    """Spans counted as seqeval does and, from the same answers, mT5's position-free F1."""
    gold = [sentence.tags or () for sentence in sentences]
    predicted = [answer.tags for answer in answers]
    missing = [[kind for kind, _ in answer.missing] for answer in answers]
    total = ner.count(gold, predicted, missing)
    free = position_free(
        [named(sentence.words, tags) for sentence, tags in zip(sentences, gold, strict=True)],
        [answer.named(sentence.words) for sentence, answer in zip(sentences, answers, strict=True)],
    )
    rows = [(kind, *total.get(kind, (0, 0, 0)), free.get(kind, 0.0)) for kind in (*sorted(types), ALL)]
    single = [ner.count(*([part] for part in parts))[ALL] for parts in zip(gold, predicted, missing, strict=True)]
    return Scores(
        pl.DataFrame(rows, schema=["entity_type", "tp", "fp", "fn", "position_free_f1"], orient="row"),
        _single(single).with_columns(predicted=pl.Series(predicted)),
        {"parse_failures": sum(not answer.whole for answer in answers)},
    )


def _single(counts: Sequence[tuple[float, float, float]]) -> pl.DataFrame:
    table = pl.DataFrame(counts, schema=["tp", "fp", "fn"], orient="row")
    return table.with_row_index("sentence").cast({"sentence": pl.Int64})


TASKS = {
    "ner": Task(lambda split: ner.tag_set(split.types), tag_ids, _tagged, _of_tags),
}
