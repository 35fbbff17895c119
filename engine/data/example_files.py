"""Pairs and questions of a data folder: their files, and the dataset that they make. Formats as in `LAYOUTS`."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from engine.data.examples import Example, Pair, Question
from engine.data.folder import LABELED
from engine.data.text import read_utf8
from engine.errors import DataError, did_you_mean
from engine.languages import LANGUAGES
from engine.tasks.nli import LABELS

LAYOUTS = {
    "nli": "<data>/nli/<dataset>_<language>.<train|dev|test>.tsv",
    "qa": "<data>/qa/<dataset>/<language>.<train|dev|test>.json",
}
COLUMNS = ("premise", "hypothesis", "label")


@dataclass(frozen=True)
class FolderExamples:
    """One dataset of a data folder, laid out as in `LAYOUTS`.

    A QA file may be named by any name of its language (swa, sw, swahili), and without a split where it is all test. A
    language with a dev file and no test file is tested on dev, as XTREME does for TyDiQA, whose test set is not published
    (Hu et al. 2020): that file is its split "test", and it has no "dev". `hub`: the repository that goes by the same name.
    """

    task: str
    name: str
    data: Path
    hub: str = ""
    disjoint = False

    def splits(self, language: str) -> tuple[str, ...]:
        return tuple(split for split in LABELED if self._path(language, split))

    def version(self, language: str, split: str) -> str:
        return sha256(self._found(language, split).read_bytes()).hexdigest()

    def size(self, language: str, split: str) -> int:
        return len(self._read(language, split))

    def examples(self, language: str, split: str) -> list[Any]:
        return list(self._read(language, split))

    def _read(self, language: str, split: str) -> tuple[Example, ...]:
        return _read_file(self.task, self._found(language, split), self.version(language, split))

    def _path(self, language: str, split: str) -> Path | None:
        files = _files(self.task, self.data, self.name).get(language, {})
        if self.task == "qa" and "test" not in files:
            files = {"train": files.get("train"), "test": files.get("dev")}
        return files.get(split)

    def _found(self, language: str, split: str) -> Path:
        if path := self._path(language, split):
            return path
        if language.startswith("x-"):
            raise DataError(f"{language!r} is made: only dataset 'sandbox' has it. {self.name!r} holds real text.")
        if there := self.splits(language):
            each = ", ".join(f"{name} ({path.name})" for name in there if (path := self._path(language, name)))
            hint = f"{did_you_mean(split, there)} Of {language} it has: {each}."
        else:
            codes = sorted(_files(self.task, self.data, self.name))
            hint = f"{did_you_mean(language, codes)} Its languages: {' '.join(codes)}."
        hub = self.hub and f" The folder of --data comes before the hub: for the hub's {self.name!r} write dataset={self.hub}."
        layout = LAYOUTS[self.task].replace("<dataset>", self.name)
        raise DataError(f"dataset {self.name!r} has no split {split!r} of {language!r}: the layout is {layout}.{hint}{hub}")


def folder_datasets(task: str, data: Path) -> list[str]:
    """The names of the task's datasets in a data folder."""
    if task == "qa":
        return sorted(path.name for path in (data / "qa").glob("*") if any(path.glob("*.json")))
    return sorted({path.name.rpartition("_")[0] for path in (data / "nli").glob("*_*.*.tsv")})


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file with a tab between columns, whose first line names them: premise, hypothesis, label.

    Raises DataError with file, line and value for a line of another number of columns, an empty text, an unknown label, a
    byte that is not UTF-8, and a file without pairs.
    """
    header, *lines = read_utf8(path).replace("\r\n", "\n").removesuffix("\n").split("\n")
    if tuple(header.split("\t")) != COLUMNS:
        raise DataError(f"{path}, line 1: {header!r} does not name the columns. Write {'<tab>'.join(COLUMNS)}.")
    if not lines:
        raise DataError(f"{path} is empty: after the line of column names it holds a pair a line.")
    return [_pair(line, f"{path}, line {number}") for number, line in enumerate(lines, start=2)]


def read_questions(path: Path) -> list[Question]:
    """The questions of a JSON file: {"contexts": [text, ...], "qas": [[id, context's index, question, answers], ...]}.

    Its answers are [[text, offset in characters], ...]. Raises DataError with file, place and value for what is no JSON, has
    another form, an index without a context, or an answer that does not stand at its offset, and a file without questions.
    """
    try:
        content = json.loads(read_utf8(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}. It must hold one JSON object.") from None
    match content:
        case {"contexts": [*contexts], "qas": [_, *_] as questions}:
            return [_question(row, contexts, f"{path}, qas[{number}]") for number, row in enumerate(questions)]
        case {"contexts": [*_], "qas": []}:
            raise DataError(f'{path} is empty: "qas" holds no question.')
    has = ", ".join(content) if isinstance(content, dict) else type(content).__name__
    raise DataError(f'{path}: needs an object with the lists "contexts" and "qas"; it has: {has}.')


def checked(question: Question, where: str) -> Question:
    """The question. Raises DataError where it is empty, has no answer, or one that is not in the context where it says."""
    if not question.question.strip():
        raise DataError(f"{where}: the question is empty. Leave it out.")
    if not question.answers:
        raise DataError(f"{where}: there is no answer. Unanswerable questions are no part of the task: leave them out.")
    for answer, offset in question.answers:
        stands = question.context[max(offset, 0) :][: len(answer)]
        if not answer.strip() or offset < 0 or stands != answer:
            raise DataError(
                f"{where}: the answer {answer!r} does not stand at offset {offset} of its context; {stands!r} does. "
                "An answer is a part of the context, its offset the number of characters (not bytes) before it."
            )
    return question


def _pair(line: str, where: str) -> Pair:
    columns = line.split("\t")
    if len(columns) != len(COLUMNS):
        raise DataError(
            f"{where}: {line!r} has {len(columns)} columns. Write {'<tab>'.join(COLUMNS)}, without a tab in a text."
        )
    for name, value in zip(COLUMNS, columns, strict=True):
        if not value.strip():
            raise DataError(f"{where}: the {name} is empty. Fill it in, or leave the line out.")
    if columns[2] not in LABELS:
        raise DataError(f"{where}: label {columns[2]!r} is unknown.{did_you_mean(columns[2], LABELS)} Labels: {', '.join(LABELS)}.")
    return Pair(*columns)


def _question(row: Any, contexts: list[Any], where: str) -> Question:
    match row:
        case [str(id_), int(index), str(question), [*rows]] if 0 <= index < len(contexts) and isinstance(contexts[index], str):
            return checked(Question(id_, contexts[index], question, tuple(_answer(answer, where) for answer in rows)), where)
        case [str(), int(index), str(), [*_]]:
            raise DataError(f"{where}: there is no context {index}: the file has texts 0 to {len(contexts) - 1}. Name one of them.")
    raise DataError(f"{where}: {row!r} is not [id, index of the context, question, [[answer, offset], ...]]. Write it so.")


def _answer(row: Any, where: str) -> tuple[str, int]:
    match row:
        case [str(answer), int(offset)]:
            return answer, offset
    raise DataError(f"{where}: {row!r} is not an answer and its offset. Write [text, characters of the context before it].")


_READERS: dict[str, Callable[[Path], list[Any]]] = {"nli": read_pairs, "qa": read_questions}


@lru_cache(maxsize=64)
def _read_file(task: str, path: Path, version: str) -> tuple[Example, ...]:
    """A file is parsed once for each content: `version` tells when it changed."""
    return tuple(_READERS[task](path))


def _files(task: str, data: Path, name: str) -> dict[str, dict[str, Path]]:
    """The dataset's files by language and split; those whose names say neither are none of it."""
    found: dict[str, dict[str, Path]] = {}
    paths = (data / "qa" / name).glob("*.json") if task == "qa" else (data / "nli").glob(f"{name}_*.*.tsv")
    for path in sorted(paths):
        language, _, split = path.stem.removeprefix(f"{name}_" if task == "nli" else "").partition(".")
        code = _CODES.get(language)
        if code and (split or "test") in LABELED:
            found.setdefault(code, {})[split or "test"] = path
    return found


_CODES = {name: row.code for row in LANGUAGES.values() for name in (row.code, row.alpha2, row.name.casefold()) if name}
