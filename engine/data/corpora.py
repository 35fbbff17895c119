"""Every dataset behind one small interface, and what is read and counted of any of them.

A split is "train", "dev" or "test" (labeled), or "text" (unlabeled general text). A pool is a split without its tags
and without the sentences that its language is tested on. Folders of files are read in `folder`, the hub in `hub`; several
datasets are one in `union`.
"""

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engine import spec
from engine.data import iob2
from engine.data.folder import LABELED, LAYOUT, FolderDataset, subfolders
from engine.data.hub import open_hub
from engine.data.sentences import Sentence
from engine.errors import DataError, did_you_mean
from engine.languages import SANDBOX_CODES

Read = Callable[[str, str], list[Any]]  # the examples of a language and split
Same = Callable[[Any], Any]  # what equal examples have in common


class Splits(Protocol):
    """Examples by language and split. All methods raise DataError, naming what there is, where a split is missing."""

    @property
    def name(self) -> str: ...

    @property
    def disjoint(self) -> bool:
        """Whether by construction no example stands in two splits."""
        ...

    def splits(self, language: str) -> tuple[str, ...]:
        """The splits that a language has."""
        ...

    def version(self, language: str, split: str) -> str:
        """What fixes the content: a hash of it, or a revision. Takes milliseconds and no network."""
        ...

    def size(self, language: str, split: str) -> int | None:
        """The number of examples, all of them checked; None where only a download could tell."""
        ...


class Dataset(Splits, Protocol):
    """Sentences by language and split."""

    def languages(self) -> tuple[str, ...] | None:
        """The languages with labeled text; None where it is taken to have every real one."""
        ...

    def sentences(self, language: str, split: str) -> list[Sentence]:
        """All sentences, in the file's order. DataError also where they are malformed."""
        ...


def open_dataset(name: str, data: str | None, types: tuple[str, ...], dropped_types: tuple[str, ...]) -> Dataset:
    """Open "sandbox", a dataset of the folder `data`, or one of the hub (a short name, "owner/name@revision").

    `types` are kept, `dropped_types` read as O, any other type is an error; without types, tags are not read and all
    sentences are unlabeled. Raises DataError for an unknown name or a missing folder.
    """
    if name == "sandbox":
        return SandboxDataset(types, dropped_types)
    if data is not None and not Path(data).is_dir():
        raise DataError(f"--data {data}: there is no such folder. It holds {LAYOUT}.")
    if data is not None and (Path(data) / "ner" / name).is_dir():
        return FolderDataset(name, Path(data), types, dropped_types)
    if hub := open_hub(name, types, dropped_types):
        return hub
    others = "Or use sandbox, wikiann, conll2002, conll2003 or a dataset of the hub, written owner/name@revision."
    if data is None:
        raise DataError(f"dataset {name!r} is read from files: give --data FOLDER with {LAYOUT}. {others}")
    there = subfolders(Path(data) / "ner")
    raise DataError(
        f"--data {data} has no dataset {name!r}.{did_you_mean(name, there)} "
        f"It has: {' '.join(there) or f'none; the layout is {LAYOUT}'}. {others}"
    )


@dataclass(frozen=True)
class SandboxDataset:
    """The languages that `engine.data.sandbox` makes, "x-eng" and its kin, imported when asked for."""

    types: tuple[str, ...]
    dropped_types: tuple[str, ...]
    name = "sandbox"
    disjoint = True

    def languages(self) -> tuple[str, ...]:
        return tuple(f"x-{code}" for code in SANDBOX_CODES)

    def splits(self, language: str) -> tuple[str, ...]:
        return (*LABELED, "text") if language in self.languages() else ()

    def version(self, language: str, split: str) -> str:
        from engine.data import sandbox

        return sandbox.version(language, split)

    def size(self, language: str, split: str) -> int:
        from engine.data import sandbox

        size = sandbox.size(language, split)
        if split != "text":  # the one without tags
            each = [f"B-{name}" for name in sandbox.TYPES]  # no sentence is made for this
            iob2.keep(each, iob2.rules(self.types, self.dropped_types), lambda _: f"sandbox {language} {split}")
        return size

    def sentences(self, language: str, split: str) -> list[Sentence]:
        from engine.data import sandbox

        rules = iob2.rules(self.types, self.dropped_types)
        where = f"sandbox {language} {split}"
        made = sandbox.sentences(language, split)
        return [Sentence(s.words, s.tags and iob2.keep(s.tags, rules, lambda _: where)) for s in made]


def read_split(split: spec.Split, data: str | None) -> list[Sentence]:
    """The labeled sentences that a recipe names. DataError where they are no longer those that were planned."""
    dataset = open_dataset(split.dataset, data, split.types, split.dropped)
    require_same(split, dataset.version(split.language, split.split))
    return dataset.sentences(split.language, split.split)


def read_pool(split: spec.Split, data: str | None) -> list[Sentence]:
    """The unlabeled sentences of a recipe whose `version` is `pool_version`'s; tags are not read."""
    dataset = open_dataset(split.dataset, data, types=(), dropped_types=())
    require_same(split, pool_version(dataset, split.language, split.split))
    return pool(dataset, split.language, split.split)


def pool(dataset: Dataset, language: str, split: str) -> list[Sentence]:
    """The sentences of `split` without tags, and without those that stand in the language's dev or test split.

    A student may not learn from the very sentences that it is tested on, labeled or not. Sentences are equal where
    their characters are, whatever their case, their blanks, and how Unicode writes them (NFKC).
    """
    unseen = held_out(dataset, language)
    return [s.unlabeled() for s in dataset.sentences(language, split) if text_of(s) not in unseen]


def held_out(dataset: Dataset, language: str) -> set[str]:
    """The texts, as `text_of` has them, of the language's dev and test splits, which nothing may be trained on."""
    return texts(dataset.sentences, language, held_out_splits(dataset, language), text_of)


def pool_version(dataset: Dataset, language: str, split: str) -> str:
    """The versions of all that decides a pool: its split and the held-out ones."""
    versions = [dataset.version(language, name) for name in (split, *held_out_splits(dataset, language))]
    return "+".join(dict.fromkeys(versions))


def pool_size(dataset: Dataset, language: str, split: str) -> int | None:
    """The number of sentences in a pool; None where only a download could tell."""
    size = dataset.size(language, split)
    return size if size is None or not held_out_splits(dataset, language) else len(pool(dataset, language, split))


def leaks(dataset: Dataset, language: str) -> int | None:
    """How many test sentences stand in the train split too; None where only a download could tell."""
    return leaking(dataset, dataset.sentences, language, text_of)


def leaking(dataset: Splits, read: Read, language: str, same: Same) -> int | None:
    """`leaks` of any examples: `read` gives a split's, `same` what equal ones have in common."""
    if dataset.disjoint or not {"train", "test"} <= set(dataset.splits(language)):
        return 0
    if dataset.size(language, "test") is None:
        return None
    train = texts(read, language, ["train"], same)
    return sum(same(example) in train for example in read(language, "test"))


def texts(read: Read, language: str, splits: Iterable[str], same: Same) -> set[Any]:
    """What the examples of some splits have in common with those equal to them."""
    return {same(example) for split in splits for example in read(language, split)}


def held_out_splits(dataset: Splits, language: str) -> list[str]:
    """The splits whose examples a pool may not have."""
    return [split for split in ("dev", "test") if split in dataset.splits(language) and not dataset.disjoint]


def text_of(sentence: Sentence) -> str:
    """What equal sentences have in common: the characters, whatever their case, their blanks, and how Unicode writes them."""
    return unicodedata.normalize("NFKC", "".join(sentence.words)).casefold()


def require_same(split: spec.Split, version: str) -> None:
    """Raises DataError where a split's version is no longer that of the recipe."""
    if version != split.version:
        raise DataError(
            f"{split.dataset} {split.language} {split.split} has changed since the study was planned: its version was "
            f"{split.version} and is {version}. Run the study again to plan anew; all machines must see the same data."
        )
