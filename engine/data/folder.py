"""A data folder: CoNLL files by dataset, language and split, plain text by language. Formats: `conll`, `text`."""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from engine.data import iob2
from engine.data.conll import read_conll
from engine.data.sentences import Sentence
from engine.data.text import read_text
from engine.errors import DataError, did_you_mean

LABELED = ("train", "dev", "test")
LAYOUT = "<data>/ner/<dataset>/<language>/<train|dev|test>.conll and <data>/text/<language>.txt"


@dataclass(frozen=True)
class FolderDataset:
    """One dataset of a data folder, laid out as in `LAYOUT`."""

    name: str
    data: Path
    types: tuple[str, ...]
    dropped_types: tuple[str, ...]
    disjoint = False

    def languages(self) -> tuple[str, ...]:
        return tuple(self._languages("train"))

    def splits(self, language: str) -> tuple[str, ...]:
        return tuple(split for split in (*LABELED, "text") if self._path(language, split).is_file())

    def version(self, language: str, split: str) -> str:
        return sha256(self._found(language, split).read_bytes()).hexdigest()

    def size(self, language: str, split: str) -> int:
        return len(self._read(language, split))

    def sentences(self, language: str, split: str) -> list[Sentence]:
        return list(self._read(language, split))

    def _read(self, language: str, split: str) -> tuple[Sentence, ...]:
        version = self.version(language, split)
        if split == "text":
            return _text_file(self._path(language, split), version)
        return _conll_file(self._path(language, split), version, self.types, self.dropped_types)

    def _path(self, language: str, split: str) -> Path:
        if split == "text":
            return self.data / "text" / f"{language}.txt"
        return self.data / "ner" / self.name / language / f"{split}.conll"

    def _languages(self, split: str) -> list[str]:
        if split == "text":
            return sorted(path.stem for path in (self.data / "text").glob("*.txt"))
        return subfolders(self.data / "ner" / self.name)

    def _found(self, language: str, split: str) -> Path:
        path = self._path(language, split)
        if path.is_file():
            return path
        if language.startswith("x-"):
            raise DataError(f"{language!r} is made: only dataset 'sandbox' has it. {self.name!r} holds real text.")
        if split != "text" and (there := self.splits(language)):
            hint = f"{did_you_mean(split, there)} Of {language} it has: {' '.join(there)}."
        else:
            codes = self._languages(split)
            has = f"Its languages: {' '.join(codes)}." if codes else "It has none: see the folder that --data names."
            hint = f"{did_you_mean(language, codes)} {has}"
        raise DataError(f"dataset {self.name!r} has no split {split!r} of {language!r}: {path} is missing.{hint}")


@lru_cache(maxsize=64)
def _conll_file(
    path: Path, version: str, types: tuple[str, ...], dropped_types: tuple[str, ...]
) -> tuple[Sentence, ...]:
    """A file is parsed once for each content: `version` tells when it changed."""
    return tuple(read_conll(path, iob2.rules(types, dropped_types)))


@lru_cache(maxsize=64)
def _text_file(path: Path, version: str) -> tuple[Sentence, ...]:
    return tuple(read_text(path))


def subfolders(folder: Path) -> list[str]:
    """The names of its folders; none where it is missing."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
