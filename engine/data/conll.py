"""The CoNLL reader: a word and its IOB2 tag a line, a blank line between sentences, UTF-8."""

import re
import sys
from pathlib import Path

from engine.data import iob2
from engine.data.sentences import Sentence
from engine.data.text import read_utf8
from engine.errors import DataError


def read_conll(path: Path, rules: iob2.Rules | None) -> list[Sentence]:
    """The sentences of a file whose columns stand between tabs, else between blanks: first the word, last the tag.

    `rules`: what becomes of each tag; with None, tags are not looked at and sentences are unlabeled. Lines of
    -DOCSTART- are skipped, as are comments ("# ...") before a sentence's first word.

    Raises DataError with file, line and value for a line without a word or tag, a tag that `iob2.keep` refuses, a
    byte that is not UTF-8 and a file without sentences.
    """
    text = re.sub(r"^-DOCSTART-.*", "", read_utf8(path).replace("\r\n", "\n"), flags=re.MULTILINE)
    sentences: list[Sentence] = []
    words: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        word, _, tag = line.partition("\t")
        if not word or not tag or "\t" in tag:  # anything but the usual two columns
            if not line.strip():
                if words:
                    sentences.append(_sentence(words, tags, rules, path, number - len(words)))
                    words, tags = [], []
                continue
            columns = line.split("\t") if "\t" in line else line.rstrip(" ").split(" ")
            if line.startswith("# ") and not words and not _is_hash_word(columns):
                continue
            if len(columns) < 2 or not columns[0] or not columns[-1]:
                raise DataError(
                    f"{path}, line {number}: {line!r} is not a word and its tag. Write both, with a tab between them."
                )
            word, tag = columns[0], columns[-1]
        words.append(sys.intern(word))  # a corpus repeats its words
        tags.append(tag)
    if not sentences:
        raise DataError(f"{path} is empty: a CoNLL file holds a word, a tab and a tag a line.")
    return sentences


def _is_hash_word(columns: list[str]) -> bool:
    """Whether a line is the word "#" and its tag, and no comment."""
    return len(columns) == 2 and (columns[1] == "O" or columns[1][:2] in ("B-", "I-"))


def _sentence(words: list[str], tags: list[str], rules: iob2.Rules | None, path: Path, line: int) -> Sentence:
    """`line`: that of the first word."""
    return Sentence(tuple(words), iob2.keep(tags, rules, lambda i: f"{path}, line {line + i}"))
