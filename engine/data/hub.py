"""Datasets of the Hugging Face hub, through the `datasets` library, which is imported at the first use.

`datasets` runs no loading scripts any more: a repository has to hold Parquet (main, or its refs/convert/parquet
revision), one configuration a language, with the columns "tokens" and "ner_tags". What a download alone can tell
(sizes, a missing split) is told when the data are read. A fingerprint knows a repository by its revision: give a
commit, "owner/name@<commit>", where the repository may still change; without one it is the branch main.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

from engine.data import iob2
from engine.data.sentences import Sentence
from engine.data.text import split_sentences, tokenize
from engine.errors import DataError, did_you_mean
from engine.languages import Language, language

_SHORT_NAMES = {
    "wikiann": ("unimelb-nlp/wikiann", "main"),  # Rahimi et al. 2019's splits of Pan et al. 2017
    "conll2002": ("eriktks/conll2002", "refs/convert/parquet"),  # Tjong Kim Sang 2002
    "conll2003": ("eriktks/conll2003", "refs/convert/parquet"),  # Tjong Kim Sang & De Meulder 2003; its German is not free
}
# Repositories that are known to have these languages alone, each in a folder of Parquet files.
_FOLDERS = {"eriktks/conll2002": {"nld": "nl", "spa": "es"}, "eriktks/conll2003": {"eng": "conll2003"}}
WIKIPEDIA = "wikimedia/wikipedia"
WIKIPEDIA_DUMP = "20231101"
# Taken from the beginning of a Wikipedia: a fixed pool, from which volumes are drawn after dev and test are left out.
TEXT_SENTENCES = 150_000
TEXT_WORDS = 5  # shorter ones are mostly headings
SPLIT_NAMES = {"train": ("train",), "dev": ("validation", "dev", "valid", "val"), "test": ("test",)}
_WIKI_CODES = {"bho": "bh", "gsw": "als", "yue": "zh-yue"}  # where Wikipedia's code is neither ISO 639-1 nor 639-3

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class HubDataset:
    """One repository. `types` and `dropped_types` as in `engine.data.corpora`."""

    name: str
    repo: str
    revision: str
    types: tuple[str, ...]
    dropped_types: tuple[str, ...]
    disjoint = False

    def languages(self) -> tuple[str, ...] | None:
        """None but of the few repositories known here: only a download tells what others have."""
        return tuple(_FOLDERS[self.repo]) if self.repo in _FOLDERS else None

    def splits(self, code: str) -> tuple[str, ...]:
        """What is expected; only reading tells whether it is there."""
        known = self.languages()
        return () if code.startswith("x-") or (known and code not in known) else (*SPLIT_NAMES, "text")

    def version(self, code: str, split: str) -> str:
        """The repository and revision; for "text" the dump of the language's Wikipedia. Needs no network."""
        if code.startswith("x-"):
            raise DataError(f"{code!r} is made: only dataset 'sandbox' has it. {self.name!r} holds real text.")
        known = self.languages()
        if split != "text" and known and code not in known:
            raise DataError(f"{self.name} has no {code!r}.{did_you_mean(code, known)} Its languages: {' '.join(known)}.")
        if split == "text":
            return f"{WIKIPEDIA}/{_wikipedia_config(code)}[:{TEXT_SENTENCES}]"
        if split not in SPLIT_NAMES:
            hint = did_you_mean(split, self.splits(code))
            raise DataError(f"{self.name} has no split {split!r}.{hint} Splits: {' '.join(self.splits(code))}.")
        return f"{self.repo}@{self.revision}"

    def size(self, code: str, split: str) -> None:
        """None: only a download could tell."""
        self.version(code, split)

    def sentences(self, code: str, split: str) -> list[Sentence]:
        """Downloads what the library's cache does not hold. DataError also where that fails or the data do not fit."""
        where = f"{self.version(code, split)} {code} {split}"
        if split == "text":
            return list(wikipedia(WIKIPEDIA, _wikipedia_config(code), TEXT_SENTENCES))
        splits = load(self.repo, self.revision, config_names(language(code)), _FOLDERS.get(self.repo, {}).get(code))
        name = next((name for name in SPLIT_NAMES[split] if name in splits), None)
        if name is None:
            raise DataError(f"{where}: there is no such split. The repository has: {', '.join(splits)}.")
        return list(_rows(splits[name], iob2.rules(self.types, self.dropped_types), where))


def open_hub(name: str, types: tuple[str, ...], dropped_types: tuple[str, ...]) -> HubDataset | None:
    """The dataset of a short name or of "owner/name", either with "@revision" or not; None for a name of another form."""
    match = re.fullmatch(r"([\w-][\w.-]*/[\w-][\w.-]*|[\w-]+)(?:@(\S+))?", name)
    if match is None or ("/" not in match[1] and match[1] not in _SHORT_NAMES):
        return None
    repo, revision = _SHORT_NAMES.get(match[1], (match[1], "main"))
    return HubDataset(name, repo, match[2] or revision, types, dropped_types)


@lru_cache(maxsize=4)
def wikipedia(repo: str, config: str, number: int) -> tuple[Sentence, ...]:
    """The first `number` sentences of a Wikipedia, tokenised, without those of fewer than `TEXT_WORDS` words.

    They are streamed once on a machine, and kept in the library's cache.
    """
    import datasets

    settings = {"repo": repo, "config": config, "number": number}
    features = datasets.Features(words=datasets.List(datasets.Value("string")))
    rows = _asked(
        f"{repo} {config}", lambda: datasets.Dataset.from_generator(_streamed, features=features, gen_kwargs=settings)
    )
    return tuple(Sentence(tuple(words)) for words in rows["words"])


def _streamed(repo: str, config: str, number: int) -> Iterator[dict[str, Any]]:
    import datasets

    articles = datasets.load_dataset(repo, config, split="train", streaming=True)
    sentences = (tokenize(sentence) for article in articles for sentence in split_sentences(article["text"]))
    yield from islice(({"words": words} for words in sentences if len(words) >= TEXT_WORDS), number)


@lru_cache(maxsize=8)
def load(repo: str, revision: str, names: tuple[str, ...], folder: str | None = None) -> Any:
    """All splits (a `datasets.DatasetDict`) of a folder, or of the configuration with the first of the names that there is."""
    import datasets

    what = f"{repo}@{revision}"
    if folder:
        return _asked(f"{what} {folder}", lambda: datasets.load_dataset(repo, data_dir=folder, revision=revision))
    configs = _asked(what, lambda: datasets.get_dataset_config_names(repo, revision=revision))
    config = next((name for name in names if name in configs), None)
    if config is None:
        raise DataError(f"{what} has no configuration named {' or '.join(names)}. It has: {' '.join(configs)}.")
    return _asked(f"{what} {config}", lambda: datasets.load_dataset(repo, config, revision=revision))


def config_names(known: Language) -> tuple[str, ...]:
    """The names that a language's configuration may have, likeliest first."""
    return tuple(filter(None, (known.code, known.alpha2, _WIKI_CODES.get(known.code))))


def _wikipedia_config(code: str) -> str:
    return f"{WIKIPEDIA_DUMP}.{_WIKI_CODES.get(code) or language(code).alpha2 or code}"


def _asked(what: str, ask: Callable[[], Answer]) -> Answer:
    """What the hub answers. The library raises a dozen unrelated classes, so that all of them are caught here."""
    try:
        return ask()
    except Exception as error:
        cause = error.__cause__ or error  # what a generator raises comes wrapped
        raise DataError(
            f"{what} could not be read from the hub: {type(cause).__name__}: {cause}. Check the name and the revision "
            "(loading scripts do not run any more: Parquet only) and the network; on a machine without one, fill the "
            "library's cache elsewhere and set HF_HOME, or give the data as CoNLL files (pairs as TSV, questions as JSON) with --data."
        ) from error


def _rows(table: Any, rules: iob2.Rules | None, where: str) -> Iterator[Sentence]:
    """The sentences of a split; a row without tokens is none."""
    if not {"tokens", "ner_tags"} <= set(table.column_names):
        raise DataError(f"{where}: needs the columns tokens and ner_tags; it has {', '.join(table.column_names)}.")
    names = getattr(table.features["ner_tags"].feature, "names", None)
    for number, row in enumerate(table.select_columns(["tokens", "ner_tags"])):
        if row["tokens"]:
            tags = [names[tag] for tag in row["ner_tags"]] if names else [str(tag) for tag in row["ner_tags"]]
            yield _sentence(tuple(row["tokens"]), tags, rules, f"{where}, row {number}")


def _sentence(words: tuple[str, ...], tags: list[str], rules: iob2.Rules | None, where: str) -> Sentence:
    if len(words) != len(tags):
        raise DataError(f"{where}: {len(words)} tokens with {len(tags)} ner_tags. Each token has one tag.")
    return Sentence(words, iob2.keep(tags, rules, lambda i: f"{where}, token {i}"))
