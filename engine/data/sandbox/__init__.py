"""The sandbox: 16 languages that we made, from real typology. A test instrument, never evidence about real languages.

The grammar of "x-tur" follows lang2vec's features of Turkish (typology.py, grammar.py), its words descend by the real
family tree and from real neighbors (lexicon.py). Sentences begin as meanings that belong to no language (meaning.py)
and are put into words (realize.py), so the exact translation of any of them is known. The same on every machine, and
without any file but lang2vec's. Pairs and questions in the same languages, for NLI and QA: entailment.py, questions.py.
"""

import json
from functools import lru_cache
from hashlib import sha256
from random import Random
from typing import Any
from zlib import crc32

from engine.data.sandbox import lexicon, meaning, typology
from engine.data.sandbox.grammar import grammar
from engine.data.sandbox.lexicon import Lexicon
from engine.data.sandbox.meaning import Meaning, meanings
from engine.data.sandbox.realize import Realizer, Token
from engine.data.sandbox.typology import checksums, typologies
from engine.data.sentences import Sentence
from engine.errors import DataError, did_you_mean
from engine.languages import SANDBOX_CODES

GENERATOR_VERSION = 1  # raise it with any change of what is generated

# Sentences of each split. By its hash a meaning belongs to one split in all languages: so no test sentence is in a train
# split, nor is its translation. "parallel" says the same in all languages; the other splits are each language's own.
SIZES = {"train": 8000, "dev": 500, "test": 1000, "text": 2000, "parallel": 4000}
SHARES = {"test": (0, 3), "dev": (3, 5), "parallel": (5, 8), "train": (8, 16), "text": (16, 24)}  # of 24, from and to
TYPES = ("LOC", "ORG", "PER")  # of entities; every labeled split has all of them
_PARAMETERS = (SHARES, meaning.PARAMETERS, lexicon.PARAMETERS, typology.PARAMETERS)

Alignment = tuple[tuple[int, int], ...]


def version(language: str, split: str) -> str:
    """Hash of all that decides a split's sentences; costs milliseconds. Raises DataError for an unknown split."""
    count = size(language, split)
    return hashed(GENERATOR_VERSION, language, split, count, *_PARAMETERS, checksums())


def hashed(*decisive: Any) -> str:
    """Stands for all that decides something made here."""
    return sha256(json.dumps(decisive).encode()).hexdigest()[:16]


def size(language: str, split: str) -> int:
    """Sentences of a split. Raises DataError for an unknown language or split."""
    return known_size(SIZES, language, split)


def known_size(sizes: dict[str, int], language: str, split: str) -> int:
    """The split's among these sizes. Raises DataError for an unknown language or split."""
    _iso(language)
    if split not in sizes:
        near = did_you_mean(split, sizes)
        raise DataError(f"The sandbox has no split {split!r} of {language}.{near} There are: {', '.join(sizes)}.")
    return sizes[split]


def realizer(language: str) -> Realizer:
    """What puts meanings into the language's words. Raises DataError for an unknown one."""
    return _realizer(_iso(language))


@lru_cache(maxsize=32)
def sentences(language: str, split: str) -> list[Sentence]:
    """The sentences of a split, with IOB2 tags of LOC, ORG and PER; the split "text" has none.

    Takes about a second the first time; the list is kept, so do not change it. Raises DataError as `size` does.
    """
    say = _realizer(_iso(language)).sentence
    return [_sentence(say(said), tagged=split != "text") for said in _meanings(language, split)]


def translations(source: str, target: str, split: str) -> list[tuple[Sentence, Sentence, Alignment]]:
    """The source's sentences of a split, each with its exact translation and the (i, j) of words that say the same.

    Any split but "text" serves; "parallel" holds the same meanings in the same order for every language. Function words
    that only one of the two languages has are aligned with nothing. Raises DataError as `size` does.
    """
    say, translate = _realizer(_iso(source)).sentence, _realizer(_iso(target)).sentence
    pairs = []
    for said in _meanings(source, split):
        ours, theirs = say(said), translate(said)
        positions = {token.says: j for j, token in enumerate(theirs)}
        alignment = tuple((i, positions[token.says]) for i, token in enumerate(ours) if token.says in positions)
        pairs.append((_sentence(ours), _sentence(theirs), alignment))
    return pairs


def _meanings(language: str, split: str) -> list[Meaning]:
    """The distinct meanings of a split: from the language's own stream, those whose hash falls into its share."""
    count, (start, stop) = size(language, split), SHARES[split]
    owner = "all" if split == "parallel" else language
    found: dict[tuple[str, ...], Meaning] = {}
    stream = meanings(Random(f"sandbox {owner} {split}"))
    while len(found) < count:
        said = next(stream)
        if start <= crc32(" ".join(said.keys).encode()) % 24 < stop:
            found.setdefault(said.keys, said)
    return list(found.values())


@lru_cache(maxsize=len(SANDBOX_CODES))
def _realizer(code: str) -> Realizer:
    return Realizer(grammar(typologies()[code].traits), Lexicon(code))


def _sentence(tokens: list[Token], tagged: bool = True) -> Sentence:
    words, tags, _ = zip(*tokens, strict=True)
    return Sentence(words, tags if tagged else None)


def _iso(language: str) -> str:
    code = language.removeprefix("x-")
    if language[:2] != "x-" or code not in SANDBOX_CODES:
        languages = [f"x-{code}" for code in SANDBOX_CODES]
        raise DataError(
            f"{language!r} is no sandbox language.{did_you_mean(language, languages)} There are: {', '.join(languages)}."
        )
    return code
