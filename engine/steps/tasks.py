"""What the steps ask of a task: its examples, its labels, what is learned of them, and how answers are scored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from engine.data.corpora import pool_version, read_pool, read_split, require_same
from engine.data.example_corpora import open_task_dataset, pool_examples, read_examples
from engine.data.examples import Pair, Question
from engine.data.sentences import Sentence
from engine.models.predict import decode
from engine.spec import Split, TaskSplit
from engine.tasks import ner, nli, qa
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


def _labeled(probabilities: Sequence[Any], labels: Sequence[str]) -> list[str]:
    return [label for (label,) in decode(probabilities, labels)]


def _of_labels(pairs: Sequence[Pair], answers: Sequence[str], types: Sequence[str]) -> Scores:
    """Counts per label; the F1 of all is the accuracy. One label for every pair is a collapse, whatever it scores."""
    gold = [pair.label or "" for pair in pairs]
    rows = [(label, *counts) for label, counts in nli.count(gold, answers).items()]
    single = [(1, 0, 0) if right == answer else (0, 1, 1) for right, answer in zip(gold, answers, strict=True)]
    return Scores(
        pl.DataFrame(rows, schema=["entity_type", "tp", "fp", "fn"], orient="row"),
        _single(single).with_columns(predicted=pl.Series(answers)),
        {"collapsed": len(set(answers)) == 1},
    )


def _of_answers(questions: Sequence[Question], answers: Sequence[str], types: Sequence[str]) -> Scores:
    """SQuAD's F1 and exact match. Fractions of counts whose F1 is a question's own let a bootstrap go as with tags."""
    each = qa.scores(questions, answers)
    mean = qa.mean(each)
    return Scores(
        pl.DataFrame({"entity_type": [ALL], "f1": [mean.f1], "exact_match": [mean.exact]}),
        _single([(score.f1, 1 - score.f1, 1 - score.f1) for score in each]).with_columns(
            exact_match=pl.Series([score.exact for score in each]), predicted=pl.Series(answers)
        ),
    )


def read(split: Split, data: str | None) -> list[Any]:
    """The examples that a recipe names, labeled. DataError where they are no longer those that were planned."""
    return read_examples(split.task, split, data) if isinstance(split, TaskSplit) else read_split(split, data)


def read_unlabeled(split: Split, data: str | None) -> list[Any]:
    """The pool that a recipe names: a split without its labels and without what its language is tested on."""
    if not isinstance(split, TaskSplit):
        return read_pool(split, data)
    dataset = open_task_dataset(split.task, split.dataset, data)
    require_same(split, pool_version(dataset, split.language, split.split))
    return pool_examples(dataset, split.language, split.split)


TASKS = {
    "ner": Task(lambda split: ner.tag_set(split.types), tag_ids, _tagged, _of_tags),
    "nli": Task(
        lambda split: nli.LABELS, lambda pairs, labels: [[labels.index(pair.label)] for pair in pairs], _labeled, _of_labels
    ),
    "qa": Task(lambda split: (), lambda questions, labels: list(map(qa.target, questions)), lambda *_: [], _of_answers),
}
