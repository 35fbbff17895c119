"""Every dataset of NLI and QA behind one small interface, as `corpora` has those of tagging.

Tasks are "nli" (examples are `Pair`s) and "qa" (`Question`s); splits are "train", "dev" and "test", all of them labeled.
Folders of files are read in `example_files`, the hub in `example_hub`.
"""

import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from engine import spec
from engine.data.corpora import Splits, held_out_splits, leaking, require_same, texts
from engine.data.example_files import LAYOUTS, FolderExamples, folder_datasets
from engine.data.example_hub import HUB_NAMES, open_example_hub
from engine.data.examples import Example
from engine.errors import DataError, did_you_mean


class ExampleDataset(Splits, Protocol):
    """Examples of a task by language and split."""

    def examples(self, language: str, split: str) -> list[Any]:
        """All examples, `Pair`s or `Question`s, in the file's order. DataError also where they are malformed."""
        ...


def open_task_dataset(task: str, name: str, data: str | None) -> ExampleDataset:
    """Open the task's "sandbox", a dataset of the folder `data`, or one of the hub ("xnli", "owner/name@revision").

    A dataset of the folder comes before one of the hub. Raises DataError for an unknown name or a missing folder.
    """
    layout = LAYOUTS[task]
    if name == "sandbox":
        return SandboxExamples(task)
    if "+" in name:
        raise DataError(
            f"dataset {name!r} with task={task}: unions are of NER alone. Name one dataset, or compare several: dataset={tuple(name.split('+'))}."
        )
    if data is not None and not Path(data).is_dir():
        raise DataError(f"--data {data}: there is no such folder. For {task.upper()} it holds {layout}.")
    there = folder_datasets(task, Path(data)) if data is not None else []
    if data is not None and name in there:
        return FolderExamples(task, name, Path(data), HUB_NAMES[task].get(name, ""))
    if hub := open_example_hub(task, name):
        return hub
    others = f"Or use sandbox, {' or '.join(HUB_NAMES[task])}, or a dataset of the hub, written owner/name@revision."
    if data is None:
        raise DataError(f"dataset {name!r} is read from files: give --data FOLDER with {layout}. {others}")
    has = " ".join(there) or f"none; the layout is {layout}"
    raise DataError(f"--data {data} has no {task.upper()} dataset {name!r}.{did_you_mean(name, there)} It has: {has}. {others}")


@dataclass(frozen=True)
class SandboxExamples:
    """What `engine.data.sandbox` makes of a task, in "x-eng" and its kin; imported when asked for."""

    task: str
    name = "sandbox"
    disjoint = True

    def splits(self, language: str) -> tuple[str, ...]:
        return ("train", "dev", "test")

    def version(self, language: str, split: str) -> str:
        return self._maker().version(language, split)

    def size(self, language: str, split: str) -> int:
        return self._maker().size(language, split)

    def examples(self, language: str, split: str) -> list[Any]:
        return list(self._maker().examples(language, split))

    def _maker(self) -> Any:
        from engine.data.sandbox import entailment, questions

        return {"nli": entailment, "qa": questions}[self.task]


def read_examples(task: str, split: spec.Split, data: str | None) -> list[Any]:
    """The examples that a recipe names. DataError where they are no longer those that were planned."""
    dataset = open_task_dataset(task, split.dataset, data)
    require_same(split, dataset.version(split.language, split.split))
    return dataset.examples(split.language, split.split)


def pool_examples(dataset: ExampleDataset, language: str, split: str) -> list[Any]:
    """The examples of a split without labels, and without those that stand in the language's dev or test split.

    Equal are what `example_leaks` takes for equal.
    """
    tested = texts(dataset.examples, language, held_out_splits(dataset, language), _folded)
    return [replace(example, label=None) for example in dataset.examples(language, split) if _folded(example) not in tested]


def example_leaks(dataset: ExampleDataset, language: str) -> int | None:
    """How many test examples stand in the train split too; None where only a download could tell.

    Equal are two pairs with the same premise and hypothesis, two questions with the same context and wording, whatever
    their case, their blanks, and how Unicode writes them (NFKC).
    """
    return leaking(dataset, dataset.examples, language, _folded)


def _folded(example: Example) -> tuple[str, ...]:
    return tuple("".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in example.key)
