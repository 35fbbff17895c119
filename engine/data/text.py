"""Plain text: reading UTF-8, splitting it into sentences, and sentences into words as labeled corpora have them.

The tokenizer is one rule for all languages, no match for a treebank's own. It matters most that punctuation does
not hang on words, for a tagger never saw "Abuja," in training.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

from engine.data.sentences import Sentence
from engine.errors import DataError

# Written without blanks between words: each character is a word here, as in WikiAnn.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Kept inside a word: N'Djamena, COVID-19, EU:n, 01/24/2001, U.S
_INNER = "'’‘‐‑·.:/@&-"
# Invisible, and no part of a word: soft hyphen, direction marks, byte order mark; a zero-width space is a blank.
_INVISIBLE = {code: "" for code in (0xAD, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF)}
_INVISIBLE[0x200B] = " "
_NO_BLANK_BEFORE = re.compile(r" ([,.;:!?%)\]»”…।॥؟،。、！？])")
_BETWEEN_UNSPACED = re.compile(f"(?<=[{_UNSPACED}。、！？]) (?=[{_UNSPACED}。、！？])")
_SENTENCE_END = re.compile(r"(?<=[.!?…।॥۔؟።])\s+|(?<=[。！？])")


def tokenize(text: str) -> tuple[str, ...]:
    """The words of `text`: runs of letters, digits and marks, with a single sign of `_INNER` kept within them.

    Anything else is a word of its own, a repeated sign ("...") one word. A comma stays between digits. Chinese,
    Japanese, Thai, Lao, Khmer and Burmese are split into characters with their marks.
    """
    return tuple(word for chunk in text.translate(_INVISIBLE).split() for word in _split(chunk))


def plain(words: Sequence[str]) -> str:
    """The words as running text: roughly what `tokenize` splits into them."""
    text = _NO_BLANK_BEFORE.sub(r"\1", " ".join(words))
    return _BETWEEN_UNSPACED.sub("", text)


def split_sentences(text: str) -> list[str]:
    """Split paragraphs, one a line, after final punctuation. Rough: "Dr. Ada" is split too."""
    return [part.strip() for line in text.split("\n") for part in _SENTENCE_END.split(line) if part.strip()]


def read_text(path: Path) -> list[Sentence]:
    """Unlabeled sentences, one a line, tokenised. Raises DataError for a file with none, or not in UTF-8."""
    sentences = [Sentence(words) for line in read_utf8(path).split("\n") if (words := tokenize(line))]
    if not sentences:
        raise DataError(f"{path} is empty: a text file holds one sentence a line.")
    return sentences


def read_utf8(path: Path) -> str:
    """The text of a file, without a byte order mark. Raises DataError with the line of the first other byte."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} at offset {error.start} is not UTF-8. "
            f"Convert the file: iconv -f <its encoding> -t UTF-8 {path.name}"
        ) from error


@lru_cache(maxsize=2**16)  # text repeats its words
def _split(chunk: str) -> tuple[str, ...]:
    """The words of text without blanks."""
    word, unspaced = _patterns()
    return tuple(match[0] for match in word.finditer(unspaced.sub(r" \g<0> ", chunk)))


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A word, and a character of the unspaced scripts. `\\w` lacks marks, without which Hindi words fall apart."""
    marks = "".join(chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M")
    letters = rf"(?:\w|[{marks}\u200c\u200d])+"
    word = rf"{letters}(?:(?:[{_INNER}]|(?<=\d),(?=\d)){letters})*|(\S)\1*"
    return re.compile(word), re.compile(rf"[{_UNSPACED}][{marks}]*")
