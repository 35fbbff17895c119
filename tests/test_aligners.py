"""Aligners: how pairs are taken from similarities, an encoder's states as words', and what is said where one is missing."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data import sandbox
from engine.errors import ModelError, StudyError
from engine.models.embed import Embedder
from engine.models.tiny import make_tiny
from engine.projection.aligners import EmbeddingAligner, new_aligner
from engine.projection.extract import argmax, itermax, match
from engine.projection.statistical import StatisticalAligner
from engine.spec import AWESOME, SIMALIGN, WordAlignment


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny(folder, sandbox.sentences("x-eng", "dev") + sandbox.sentences("x-tur", "dev"), 0)
    return str(folder)


def aligner(checkpoint: str, max_tokens: int = 256, **values) -> EmbeddingAligner:
    how = WordAlignment(**{"layer": 0, "extraction": "argmax"} | values)
    return EmbeddingAligner(Embedder(checkpoint, max_tokens, "fp32", torch.device("cpu")), how)


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 999))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_pairs_from_similarities(n: int, m: int, seed: int) -> None:
    similarity = np.random.default_rng(seed).random((n, m))
    mutual, more, assigned = argmax(similarity), itermax(similarity), match(similarity)
    assert mutual[np.unravel_index(similarity.argmax(), similarity.shape)]
    assert mutual.sum(0).max() == mutual.sum(1).max() == 1
    assert (more | mutual == more).all()  # what argmax has stays
    assert assigned.sum() == min(n, m) and assigned.sum(0).max() == assigned.sum(1).max() == 1
    assert similarity[assigned].sum() >= similarity[mutual].sum() - 1e-9
    for extract in (argmax, itermax, match):
        assert (extract(similarity.T) == extract(similarity).T).all()


def test_itermax_adds_a_second_word_to_one_that_is_aligned() -> None:
    similarity = np.array([[0.9, 0.8, 0.1], [0.2, 0.1, 0.7], [0.1, 0.2, 0.65], [0.1, 0.1, 0.1]])
    assert argmax(similarity).sum() == 2
    assert list(zip(*np.nonzero(itermax(similarity)), strict=True)) == [(0, 0), (0, 1), (1, 2), (2, 2)]


@pytest.mark.parametrize("units", ["words", "subwords"])
@pytest.mark.parametrize("extraction", ["argmax", "itermax", "match", "softmax"])
def test_a_sentence_aligns_with_itself_in_another_order(tiny: str, units: str, extraction: str) -> None:
    align = aligner(tiny, units=units, extraction=extraction)
    align.embedder.model.get_input_embeddings().weight.data *= 10  # random ones barely stand out in a softmax
    known = dict.fromkeys(word for sentence in sandbox.sentences("x-eng", "dev") for word in sentence.words)
    words = [word for word in known if len(align.embedder.tokenizer.tokenize(word)) == 1][:12]
    expected = tuple((i, len(words) - 1 - i) for i in range(len(words)))
    assert align([(words, words[::-1]), (words[:1], words[:1])]) == [expected, ((0, 0),)]


def test_states_of_subwords_know_their_words_also_where_a_sentence_is_cut(tiny: str) -> None:
    sentences = sandbox.sentences("x-tur", "dev")[:20]
    whole = aligner(tiny).embedder.subwords(sentences, 0)
    cut = aligner(tiny, max_tokens=12).embedder.subwords(sentences, 0)  # embeddings alone: no context is lost
    for sentence, (states, words), (others, same_words) in zip(sentences, whole, cut, strict=True):
        assert words[0] == 0 and words[-1] == len(sentence.words) - 1 and (np.diff(words) <= 1).all()
        assert (words == same_words).all()
        np.testing.assert_allclose(states, others, rtol=1e-5)


def test_a_batch_aligns_as_its_sentences_do_alone(tiny: str) -> None:
    pairs = [(ours.words, theirs.words) for ours, theirs, _ in sandbox.translations("x-eng", "x-tur", "dev")[:20]]
    align = aligner(tiny, layer=-1)
    assert align(pairs) == [align([pair])[0] for pair in pairs]


def test_an_encoder_has_the_layers_it_has(tiny: str) -> None:
    with pytest.raises(ModelError, match="layer=8: the encoder of .* has 2; give one from -3 to 2"):
        aligner(tiny, layer=8)([(("a",), ("b",))])


@pytest.mark.parametrize("name", ["eflomal", "fast-align"])
def test_a_statistical_aligner_learns_from_the_pairs_it_aligns(name: str) -> None:
    assert StatisticalAligner(name)([]) == []
    pytest.importorskip("thot", reason="sil-thot is not installed")
    text = sandbox.translations("x-eng", "x-tur", "dev")[:250]
    pairs = [(ours.words, theirs.words) for ours, theirs, _ in text]
    found = new_aligner(WordAlignment(aligner=name))(pairs)
    right = sum(len({*ours} & {*gold}) for ours, (_, _, gold) in zip(found, text, strict=True))
    assert right / sum(map(len, found)) > 0.6 and right / sum(len(gold) for _, _, gold in text) > 0.6
    again, once_more = (new_aligner(WordAlignment(aligner=name))(pairs[:10]) for _ in range(2))
    assert again == once_more


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"aligner='eflomal' needs the package sil-thot.*pip install 'sprachbund\[align\]'"):
        StatisticalAligner("eflomal")


def test_gold_alignment_is_not_computed() -> None:
    with pytest.raises(StudyError, match="aligner='gold' is looked up with the translation"):
        new_aligner(WordAlignment(aligner="gold"))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"aligner": "eflomall"}, "Did you mean 'eflomal'?"),
        ({"extraction": "max"}, "must be one of argmax, itermax, match, softmax"),
        ({"aligner": "gold", "checkpoint": "x"}, "only the aligner 'embedding' has one"),
        ({"threshold": 1.0}, "is a probability"),
    ],
)
def test_settings_of_an_aligner_are_checked(values: dict, says: str) -> None:
    with pytest.raises(StudyError) as raised:
        WordAlignment(**values)
    assert says in str(raised.value)


def test_a_real_encoder_aligns_translations(shared: Path) -> None:
    text = [
        ("Angela Merkel visited Lagos in Nigeria on Monday .", "Am Montag besuchte Angela Merkel Lagos in Nigeria ."),
        ("The president lives in Berlin .", "Rais anaishi Berlin ."),
    ]
    pairs = [(ours.split(), theirs.split()) for ours, theirs in text]
    names = [{(0, 3), (1, 4), (3, 5), (5, 7)}, {(4, 2)}]
    for how in (SIMALIGN, AWESOME):
        align = aligner(str(shared / "models" / "multilingual-e5-small-24"), layer=how.layer, extraction=how.extraction)
        for found, expected in zip(align(pairs), names, strict=True):
            assert expected <= {*found}
