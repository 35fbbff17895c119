"""Pairs and questions of the Hugging Face hub; what `hub` says of its datasets holds for these too.

A repository has the columns of XNLI (premise, hypothesis, label) or of SQuAD (id, context, question, answers), and one
configuration a language; where it is otherwise, `_KNOWN` says how.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.data.example_files import checked
from engine.data.examples import Pair, Question
from engine.data.hub import SPLIT_NAMES, config_names, load
from engine.errors import DataError, did_you_mean
from engine.languages import language
from engine.tasks.nli import LABELS

COLUMNS = {"nli": ("premise", "hypothesis", "label"), "qa": ("id", "context", "question", "answers")}


@dataclass(frozen=True)
class Layout:
    """How a repository is laid out.

    `config`: the name of a configuration, "{}" standing for the language's names. `splits`: what they are called there.
    `by_id`: whether all languages stand in one configuration, an id beginning with its language's English name.
    `train`: repositories with the train split of a language, where this one has none.
    """

    config: str = "{}"
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: SPLIT_NAMES)
    by_id: bool = False
    train: Mapping[str, tuple[str, str]] = field(default_factory=dict)


HUB_NAMES = {
    "nli": {"xnli": "facebook/xnli"},  # Conneau et al. 2018
    "qa": {"xquad": "google/xquad", "tydiqa_goldp": "google-research-datasets/tydiqa"},
}
_KNOWN = {
    # Artetxe et al. 2020: 1,190 questions of SQuAD's dev set, translated; trained for on SQuAD v1.1, as in XTREME
    "google/xquad": Layout("xquad.{}", {"test": ("validation",)}, train={"eng": ("rajpurkar/squad", "plain_text")}),
    # Clark et al. 2020: the test set is not published, and XTREME tests on dev
    "google-research-datasets/tydiqa": Layout("secondary_task", {"train": ("train",), "test": ("validation",)}, by_id=True),
}


@dataclass(frozen=True)
class HubExamples:
    """One repository of a task."""

    task: str
    name: str
    repo: str
    revision: str
    layout: Layout = Layout()
    disjoint = False

    def splits(self, code: str) -> tuple[str, ...]:
        """What is expected; only reading tells whether it is there."""
        return tuple(split for split in SPLIT_NAMES if split in self.layout.splits or split == "train" and code in self.layout.train)

    def version(self, code: str, split: str) -> str:
        """The repository and revision. Needs no network."""
        if code.startswith("x-"):
            raise DataError(f"{code!r} is made: only dataset 'sandbox' has it. {self.name!r} holds real text.")
        if split not in (there := self.splits(code)):
            raise DataError(f"{self.name} has no split {split!r} of {code}.{did_you_mean(split, there)} Splits: {' '.join(there)}.")
        repo, revision, _ = self._source(code, split)
        return f"{repo}@{revision}"

    def size(self, code: str, split: str) -> None:
        """None: only a download could tell."""
        self.version(code, split)

    def examples(self, code: str, split: str) -> list[Any]:
        """Downloads what the library's cache does not hold. DataError also where that fails or the data do not fit."""
        where = f"{self.version(code, split)} {code} {split}"
        splits = load(*self._source(code, split))
        name = next((name for name in self.layout.splits.get(split, (split,)) if name in splits), None)
        if name is None:
            raise DataError(f"{where}: there is no such split. The repository has: {', '.join(splits)}.")
        table, prefix = splits[name], f"{language(code).name.casefold()}-"
        if not {*COLUMNS[self.task]} <= {*table.column_names}:
            needs, has = " ".join(COLUMNS[self.task]), " ".join(table.column_names)
            raise DataError(f"{where}: {self.task.upper()} needs the columns {needs}; it has {has}.")
        made = _pairs(table, where) if self.task == "nli" else _questions(table, where, prefix if self.layout.by_id else "")
        if found := list(made):
            return found
        raise DataError(f"{where}: there is no example{f' whose id begins with {prefix!r}' if self.layout.by_id else ''}.")

    def _source(self, code: str, split: str) -> tuple[str, str, tuple[str, ...]]:
        """Repository, revision, and the names that the configuration may have."""
        if split == "train" and split not in self.layout.splits:
            repo, config = self.layout.train[code]
            return repo, "main", (config,)
        return self.repo, self.revision, tuple(dict.fromkeys(self.layout.config.format(name) for name in config_names(language(code))))


def open_example_hub(task: str, name: str) -> HubExamples | None:
    """The dataset of a name of `HUB_NAMES` or "owner/name", either with "@revision" or not; None for other forms."""
    match = re.fullmatch(r"([\w-][\w.-]*(?:/[\w-][\w.-]*)?)(?:@(\S+))?", name)
    repo = match and HUB_NAMES[task].get(match[1], match[1])
    if not match or "/" not in repo:
        return None
    return HubExamples(task, name, repo, match[2] or "main", _KNOWN.get(repo, Layout()))


def _pairs(table: Any, where: str) -> Iterator[Pair]:
    names = getattr(table.features["label"], "names", LABELS)  # numbers without names are XNLI's
    for number, row in enumerate(table.select_columns(COLUMNS["nli"])):
        label = row["label"]
        known = names[label] if isinstance(label, int) and 0 <= label < len(names) else label
        if known not in LABELS:
            raise DataError(f"{where}, row {number}: label {known!r} is unknown. Labels: {', '.join(LABELS)}.")
        yield Pair(row["premise"], row["hypothesis"], known)


def _questions(table: Any, where: str, prefix: str) -> Iterator[Question]:
    for number, row in enumerate(table.select_columns(COLUMNS["qa"])):
        if row["id"].startswith(prefix):
            answers = tuple(zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True))
            yield checked(Question(row["id"], row["context"], row["question"], answers), f"{where}, row {number}")
