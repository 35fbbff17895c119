"""Parallel corpora: either direction, one file of two languages or of many, and what a malformed one is told."""

import re
from pathlib import Path

import pytest

from engine.data.flores import flores
from engine.data.parallel import ParallelCorpus
from engine.data.sentences import Sentence
from engine.errors import DataError
from engine.languages import LANGUAGES


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "parallel"
    folder.mkdir()
    (folder / "news_eng-hau.tsv").write_text("Ada wrote.\tAda ta rubuta.\nHe left Kano\tYa bar Kano\n", "utf-8")
    (folder / "talks_multiway.tsv").write_text("eng-US\tarb\thau\tswa\r\nGood day\tيوم\tBarka\tHabari\r\nBye\tوداعا\t\tKwaheri\r\n", "utf-8")
    return tmp_path


def words(*texts: str) -> list[Sentence]:
    return [Sentence(tuple(text.split())) for text in texts]


def test_pairs_in_either_direction(data: Path) -> None:
    news = ParallelCorpus(("news",), str(data))
    pairs = list(zip(words("Ada wrote .", "He left Kano"), words("Ada ta rubuta .", "Ya bar Kano"), strict=True))
    assert news.pairs("eng", "hau") == pairs
    assert news.pairs("hau", "eng") == [(theirs, ours) for ours, theirs in pairs]
    assert news.version("eng", "hau") == news.version("hau", "eng")


def test_all_corpora_together_and_a_missing_translation(data: Path) -> None:
    every = ParallelCorpus((), str(data))
    assert [ours for ours, _ in every.pairs("eng", "hau")] == words("Ada wrote .", "He left Kano", "Good day")
    assert every.pairs("swa", "hau") == [(*words("Habari"), *words("Barka"))]  # the second has no Hausa
    assert [ours for ours, _ in every.pairs("ara", "swa")] == words("يوم", "وداعا")  # a header's arb is our ara


def test_the_version_is_of_the_content(data: Path) -> None:
    every, file = ParallelCorpus((), str(data)), data / "parallel" / "news_eng-hau.tsv"
    before, other = every.version("eng", "hau"), every.version("eng", "swa")
    file.write_text(file.read_text("utf-8").replace("Kano", "Zaria"), "utf-8")
    assert every.version("eng", "hau") != before and every.version("eng", "swa") == other
    assert every.pairs("hau", "eng")[1][0] == Sentence(("Ya", "bar", "Zaria"))


@pytest.mark.parametrize(
    ("names", "pair", "told"),
    [
        (("nws",), ("eng", "hau"), r"no parallel corpus 'nws': .*parallel/nws_\*.tsv is missing. Did you mean 'news'\?.*talks.*layout"),
        ((), ("eng", "yor"), r"no parallel corpus of eng and yor: .*It has none with yor. .*<name>_<source>-<target>.tsv"),
        (("news",), ("swa", "hau"), r"no parallel corpus of swa and hau: .* among news. With hau there are: eng\."),
    ],
)  # fmt: skip
def test_a_missing_corpus_is_named_with_the_layout(data: Path, names: tuple[str, ...], pair: tuple[str, str], told: str) -> None:
    with pytest.raises(DataError, match=told):
        ParallelCorpus(names, str(data)).pairs(*pair)
    with pytest.raises(DataError, match="give --data FOLDER"):
        ParallelCorpus(names, None).version(*pair)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("one\ttwo\n\nno tab here\n", "line 3: 1 columns where eng yor need 2"),
        ("a\tb\tc\n", "line 1: 3 columns"),
        ("", "has no pair of yor and eng"),
        ("...\t \n", "has no pair"),
    ],
)
def test_a_malformed_file_is_named(data: Path, content: str, told: str) -> None:
    file = data / "parallel" / "bad_eng-yor.tsv"
    file.write_text(content, "utf-8")
    with pytest.raises(DataError, match=rf"{re.escape(str(file))}.*{told}"):
        ParallelCorpus(("bad",), str(data)).pairs("yor", "eng")


def test_the_corpora_at_hand(shared: Path) -> None:
    corpora = ParallelCorpus(("lafand", "ntrex"), str(shared / "data"))
    assert len(corpora.pairs("hau", "eng")) == 2_500 and len(corpora.pairs("zho", "sna")) == 500


def test_every_language_is_one_of_nllb_or_an_error() -> None:
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    served = set()
    for code in LANGUAGES:
        try:
            served.add(flores(code))
        except DataError:
            assert not any(known.startswith(code) for known in FAIRSEQ_LANGUAGE_CODES)
    assert served <= set(FAIRSEQ_LANGUAGE_CODES) and len(served) == 137
    with pytest.raises(DataError, match="x-eng .a made language"):
        flores("x-eng")
