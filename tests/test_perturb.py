"""Perturbed test sets: what was shared is gone, nothing else has changed, and the exposure counts it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import toy_sentences

from engine.data import sandbox
from engine.data.perturb import MASK, perturb
from engine.data.sentences import Sentence
from engine.errors import DataError
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
