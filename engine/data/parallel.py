"""Parallel corpora of a data folder: sentence pairs of two languages, in either direction.

A file of two languages holds a source and its translation a line; a multiway file a sentence in many languages a line,
under a header of their codes.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from engine.data.sentences import Sentence
from engine.data.text import read_utf8, tokenize
from engine.errors import DataError, did_you_mean
from engine.languages import OTHER_CODES

LAYOUT = (
    "<data>/parallel/<name>_<source>-<target>.tsv (a sentence, a tab and its translation a line) or "
    "<data>/parallel/<name>_multiway.tsv (under a header of language codes)"
)
MULTIWAY = "multiway"
Pairs = tuple[tuple[Sentence, Sentence], ...]


@dataclass(frozen=True)
class ParallelCorpus:
    """The corpora `names` ("lafand", "ntrex") of a data folder, all that it has where there is no name."""

    names: tuple[str, ...]
    data: str | None

    def version(self, source: str, target: str) -> str:
        """Hash of the content of all files that pair the two languages. Raises DataError where there is none."""
        content = sha256()
        for file in self._files(source, target):
            content.update(sha256(file.read_bytes()).digest())
        return content.hexdigest()[:16]

    def pairs(self, source: str, target: str) -> list[tuple[Sentence, Sentence]]:
        """Each sentence of `source` with its translation, without tags, both split into words; in the files' order.

        Raises DataError where no file has the two, and for a malformed line.
        """
        files = self._files(source, target)
        return [pair for file in files for pair in _read(file, sha256(file.read_bytes()).hexdigest(), source, target)]

    def _files(self, source: str, target: str) -> list[Path]:
        there = {file: _languages(file, file.stat().st_mtime_ns) for file in self._all()}
        if found := [file for file, codes in there.items() if {source, target} <= set(codes)]:
            return found
        with_target = sorted({code for codes in there.values() if target in codes for code in codes} - {target})
        raise DataError(
            f"no parallel corpus of {source} and {target}: {self._folder()} has none{self._of_names()}. "
            + (f"With {target} there are: {' '.join(with_target)}. " if with_target else f"It has none with {target}. ")
            + f"The layout is {LAYOUT}, in either direction."
        )

    def _all(self) -> list[Path]:
        files = sorted(self._folder().glob("*_*.tsv"))
        names = sorted({_name(file) for file in files})
        for name in self.names:
            if name not in names:
                raise DataError(
                    f"no parallel corpus {name!r}: {self._folder() / name}_*.tsv is missing.{did_you_mean(name, names)} "
                    f"There are: {' '.join(names) or 'none'}. The layout is {LAYOUT}."
                )
        return [file for file in files if not self.names or _name(file) in self.names]

    def _folder(self) -> Path:
        if self.data is None:
            raise DataError(f"parallel corpora are read from files: give --data FOLDER with {LAYOUT}.")
        return Path(self.data) / "parallel"

    def _of_names(self) -> str:
        return f" among {', '.join(self.names)}" if self.names else ""


def _name(file: Path) -> str:
    return file.stem.rpartition("_")[0]


@lru_cache(maxsize=1024)
def _languages(file: Path, _changed: int) -> tuple[str, ...]:
    """The codes of a file's columns, those of the table of languages where it has them."""
    pair = file.stem.rpartition("_")[2]
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        heads = lines.readline().rstrip("\r\n").split("\t") if pair == MULTIWAY else re.split(r"(?<!^x)(?<!-x)-", pair)
    return tuple(_code(head) for head in heads)


def _code(head: str) -> str:
    """"eng-US" is eng, "arb" is ara; "x-eng" is the sandbox's."""
    code = head if head.startswith("x-") else head.partition("-")[0]
    return OTHER_CODES.get(code, code)


@lru_cache(maxsize=64)
def _read(file: Path, _version: str, source: str, target: str) -> Pairs:
    """A file is read once for each content: `_version` tells when it changed."""
    codes = _languages(file, file.stat().st_mtime_ns)
    first, second = codes.index(source), codes.index(target)
    pairs = []
    multiway = _name(file) + f"_{MULTIWAY}" == file.stem
    for number, line in enumerate(read_utf8(file).split("\n"), start=1):
        cells = line.rstrip("\r").split("\t")
        if cells == [""] or (multiway and number == 1):
            continue
        if len(cells) != len(codes):
            raise DataError(
                f"{file}, line {number}: {len(cells)} columns where {' '.join(codes)} need {len(codes)}. Write one sentence "
                "a language, with a tab between them."
            )
        ours, theirs = tokenize(cells[first]), tokenize(cells[second])
        if ours and theirs:  # of a multiway file a translation may be missing
            pairs.append((Sentence(ours), Sentence(theirs)))
    if not pairs:
        raise DataError(f"{file} has no pair of {source} and {target}. The layout is {LAYOUT}.")
    return tuple(pairs)
