"""Perturbed test sets: what was shared is gone, nothing else has changed, and the exposure counts it."""

import unicodedata
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import mbert
from small_study import MINI, mini, run_here
from toy import toy_sentences

from engine.compiler import compile_study
from engine.data import sandbox
from engine.data.corpora import open_dataset
from engine.data.perturb import COMMON, MASK, perturb
from engine.data.sampling import subset
from engine.data.sentences import Sentence
from engine.errors import DataError
from engine.fingerprint import fingerprint
from engine.models.recipes import LOCAL
from engine.spec import (
    Perturbation,
    Split,
    Study,
)
from engine.store import Store
from engine.tasks.ner import spans

KINDS = ("names", "context", "both", "mask", "random", "places:x-tur", "given:x-tur")
TEST, TRAIN = sandbox.sentences("x-nld", "test")[:200], sandbox.sentences("x-eng", "train")[:2_000]


def other(kind: str) -> list[Sentence]:
    code = kind.partition(":")[2]
    return sandbox.sentences(code or "x-nld", "train" if code else "dev")


def entities(sentences: list[Sentence]) -> list[tuple[str, str]]:
    return [(kind, " ".join(s.words[first : last + 1])) for s in sentences for kind, first, last in spans(s.tags)]


@pytest.mark.parametrize("kind", KINDS)
def test_entities_keep_their_number_type_and_order_and_the_exposure_counts_the_edited(kind: str) -> None:
    made, exposure = perturb(kind, TEST, TRAIN, other(kind), seed=1)
    before, after = entities(TEST), entities(made)
    assert [type_ for type_, _ in after] == [type_ for type_, _ in before]
    assert (made, exposure) == perturb(kind, TEST, TRAIN, other(kind), seed=1)
    assert made != perturb(kind, TEST, TRAIN, other(kind), seed=2)[0] or kind == "mask"
    if kind not in ("context", "both"):
        assert exposure == pytest.approx(sum(a != b for a, b in zip(before, after, strict=True)) / len(before))
        outside = [[w for w, t in zip(s.words, s.tags, strict=True) if t == "O"] for s in (*TEST, *made)]
        assert outside[: len(TEST)] == outside[len(TEST) :]
    assert 0 < exposure <= 1


def test_names_shared_with_the_training_text_become_names_that_are_not() -> None:
    known = {(kind, name.casefold()) for kind, name in entities(TRAIN)}
    made, exposure = perturb("names", TEST, TRAIN, other("names"), seed=0)
    shared = [(kind, name.casefold()) in known for kind, name in entities(TEST)]
    assert exposure == pytest.approx(sum(shared) / len(shared))
    assert not any((kind, name.casefold()) in known for kind, name in entities(made))


def test_context_that_is_shared_becomes_context_that_is_not() -> None:
    known = {w.casefold() for s in TRAIN for w, t in zip(s.words, s.tags, strict=True) if t == "O"}
    made, _ = perturb("context", TEST, TRAIN, other("context"), seed=0)
    for before, after in zip(TEST, made, strict=True):
        assert before.tags == after.tags and len(before.words) == len(after.words)
        for old, new, tag in zip(before.words, after.words, before.tags, strict=True):
            assert old == new or (tag == "O" and old.casefold() in known and new.casefold() not in known)


@given(st.integers(0, 99), st.sampled_from(("mask", "random", "names", "both")))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_any_text_stays_valid(seed: int, kind: str) -> None:
    test, train, spare = (toy_sentences(40, seed + offset) for offset in (0, 100, 200))
    made, exposure = perturb(kind, test, train, spare, seed)
    assert len(made) == len(test) and 0 <= exposure <= 1
    for before, after in zip(test, made, strict=True):
        assert len(after.words) == len(after.tags)
        assert [kind for kind, *_ in spans(before.tags)] == [kind for kind, *_ in spans(after.tags)]
        if kind == "mask":
            assert all((word == MASK) == (tag != "O") for word, tag in zip(after.words, after.tags, strict=True))
        if kind == "random":
            assert list(map(len, before.words)) == list(map(len, after.words))


def test_without_a_replacement_it_says_so() -> None:
    with pytest.raises(DataError, match=r"no PER to put in the place of|no LOC to put|no ORG to put"):
        perturb("names", TEST, TRAIN, TRAIN, seed=0)
    with pytest.raises(DataError, match="no word to put in the place of"):
        perturb("context", TEST, TRAIN, TRAIN, seed=0)


def tagged(*names: str, words: str = "") -> Sentence:
    """A sentence of persons and other words, written with blanks between words."""
    parts = [(word, tag) for name in names for word, tag in zip(name.split(), ("B-PER", *["I-PER"] * 9), strict=False)]
    return Sentence(*zip(*parts, *((word, "O") for word in words.split()), strict=True))


def of_new_words(shared: str, new: str) -> tuple[Sentence, float]:
    """What becomes of a test sentence with context that the training text has, where dev has other words."""
    spare = [tagged("Spare", words=" ".join(f"a{'b' * n}" for n in range(COMMON))) for _ in range(9)]  # the most frequent
    made, exposure = perturb("context", [tagged("Ada", words=shared)], [tagged("Bo", words=shared)], [*spare, tagged("X", words=new)], 0)
    return made[0], exposure


@pytest.mark.parametrize(
    "words",
    [
        "\u0939\u093f\u0902\u0926\u0940 \u0915\u093f\u0924\u093e\u092c",  # Devanagari: each has vowel signs
        "\u09ac\u09be\u0982\u09b2\u09be \u0995\u09bf",  # Bengali
        "\u1ecdm\u1ecd\u0301 \u1eb9\u0300k\u1ecd\u0301",  # Yoruba: dots below in the letter, tones as marks
        "o\u0323mo\u0323\u0301 e\u0323\u0300ko\u0323\u0301",  # the same, all marks apart
        "n\u00famero m\u0101ja",
        "ng\u2019ombe nusu-saa",  # an apostrophe, a hyphen
        "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u0646\u0627\u0645\u0647\u200c\u0647\u0627",  # Persian, with joiners
    ],
)
def test_words_of_any_script_are_context_and_take_its_place(words: str) -> None:
    first, second = words.split()
    made, exposure = of_new_words(first, second)
    assert made.words == ("Ada", second) and exposure == 1


@pytest.mark.parametrize("sign", ["2020", "3rd", "...", "-", "''", "\u0964", "\u093f", "%"])
def test_what_is_no_word_stays(sign: str) -> None:
    assert of_new_words(sign, "new")[0].words == ("Ada", sign)
    with pytest.raises(DataError, match="no word to put in the place of 'old'"):
        perturb("context", [tagged("Ada", words="old")], [tagged("Bo", words="old")], [tagged("X", words=sign)], seed=0)


@pytest.mark.parametrize("name", ["\u0926\u093f\u0932\u094d\u0932\u0940", "A\u1ecd\u0300gb\u00e1", "\u0995\u09b2\u0995\u09be\u09a4\u09be-O'Neil"])
def test_random_letters_and_marks_are_of_the_same_script(name: str) -> None:
    scripts = tagged("\u0926\u093f\u0932\u094d\u0932\u0940 \u092a\u0941\u0923\u0947", "\u0995\u09b2\u0995\u09be\u09a4\u09be \u09a2\u09c1", "Ad\u00e0 Lovelace \u1ecd\u0300\u1ecd\u0301")
    drawn = {perturb("random", [tagged(name), scripts], [], [], seed)[0][0].words[0] for seed in range(20)}
    assert all(len({new[place] for new in drawn}) > 1 for place, letter in enumerate(name) if unicodedata.category(letter)[0] in "LM")
    for new in drawn:
        assert [(unicodedata.name(a).split()[0], unicodedata.category(a)[0], a.isupper()) for a in name] == [
            (unicodedata.name(a).split()[0], unicodedata.category(a)[0], a.isupper()) for a in new
        ]


def test_real_text_of_any_script_is_perturbed_alike(shared: Path) -> None:
    """The share of words outside of names that change, over the corpora's own splits."""
    for dataset, code in (("hiner", "hin"), ("bengali_rifat", "ben"), ("masakhaner2", "yor"), ("masakhaner2", "swa")):
        data = open_dataset(dataset, str(shared / "data"), ("LOC", "ORG", "PER"), ("DATE", "MISC"))
        test, train, dev = (data.sentences(code, split)[:1_000] for split in ("test", "train", "dev"))
        made, _ = perturb("context", test, train, dev, seed=0)
        changed = [a != b for old, new in zip(test, made, strict=True) for a, b, tag in zip(old.words, new.words, old.tags, strict=True) if tag == "O"]
        assert 0.25 < sum(changed) / len(changed) < 0.6, (code, sum(changed) / len(changed))


def test_what_stands_in_unlabeled_text_is_known_too() -> None:
    test, dev = [tagged("Ada Love", words="met"), tagged("Ada", words="saw")], [tagged("Bo Day"), tagged("Cy"), tagged("Di Fay", words="heard")]
    read = [Sentence(("we", "met", "ADA", "Love", "and", "cy", "Di"))]
    for labeled in ([], [tagged("Guy", words="of")]):
        (first, second), exposure = perturb("names", test, [*labeled, *read], dev, seed=0)
        assert first.words[:-1] in (("Bo", "Day"), ("Di", "Fay")) and exposure == 1  # "Cy" has been read
        assert second.words[0] in ("Bo", "Di")  # the whole name stands there, if not alone
    assert perturb("names", test, [Sentence(("Ada", "and", "Love"))], dev, seed=0)[1] == 0.5  # "Ada Love" does not


def test_each_method_meets_test_text_without_what_its_training_read(tmp_path: Path) -> None:
    (tmp_path / "bert").mkdir()
    study = mini(tmp_path, mbert(tmp_path / "bert"), "encoder").varied(
        methods=("direct", "adapted-target", "teacher-student", "translate-train", "in-language"), perturbations=("none", "names"),
        volumes=(0, 10, 50),
    )  # fmt: skip
    rows = run_here(study, tmp_path / "out", {"bert": study.model[0]}, str(tmp_path))
    rows = rows.filter(pl.col("entity_type") == "ALL", pl.col("perturbation") == "names")
    found = {(row["method"], row["volume"]): row["exposure"] for row in rows.iter_rows(named=True)}
    source, own, dev, test = (MINI[name] for name in (("swa", "train"), ("hau", "train"), ("hau", "dev"), ("hau", "test")))
    read = {("direct", 0): [], ("adapted-target", 0): subset(own, 30, 0)}
    read |= {("teacher-student", volume): subset(own, volume, 0) for volume in (10, 50)}
    read |= {("translate-train", volume): subset(toy_sentences(60, seed=9), volume, 0) for volume in (10, 50)}
    assert found == {("in-language", 0): perturb("names", test, own, dev, 0)[1]} | {
        cell: perturb("names", test, [*source, *(s.unlabeled() for s in text)], dev, 0)[1] for cell, text in read.items()
    }
    assert found["direct", 0] < found["teacher-student", 10] < found["teacher-student", 50]
    graph, store = compile_study(study, str(tmp_path)), Store(str(tmp_path / "out"))
    for work in graph.cells:  # the gain is over the teacher on the same text
        if work.teacher:
            assert graph.steps[work.scored].recipe.perturbation == graph.steps[work.teacher].recipe.perturbation
            assert len({store.record(name)["figures"]["exposure"] for name in (work.scored, work.teacher)}) == 1


def test_identities_are_those_of_earlier_stores_where_the_text_is_the_same() -> None:
    train, dev = (Split("news", "swa", split, "1", ("LOC", "PER")) for split in ("train", "dev"))
    assert fingerprint(Perturbation("names", (train,), 0, (dev,), 1)) == "eafdb90e0457"
    study = Study(
        name="kept", question="", hypothesis="", dataset="sandbox", model="tiny", sources="x-eng", targets="x-nld", seeds=0,
        methods=("direct", "in-language"), perturbations=("names", "mask", "places:x-tur", "given:x-tur"), recipes=LOCAL,
    )  # fmt: skip
    graph = compile_study(study, None)
    assert {type(graph.steps[work.scored].recipe.perturbation) for work in graph.cells} == {Perturbation}
