"""Several teachers: their weights sum to 1, a relative counts more than a stranger, and the mixture is a mean."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data import sandbox
from engine.data.sampling import tempered
from engine.models.embed import Embedder
from engine.models.similarity import mixture, similarities, weights
from engine.models.tiny import make_tiny
from engine.spec import MIXTURES, Similarity

MEASURES = sorted({kind[0] for kind in MIXTURES.values() if kind})
LEVELS = ("domain", "sentence")
TRAINING = Similarity(rank=8, learning_rate=1e-2, epochs=5)
sizes = st.integers(1, 6)


def languages(number: int, seed: int = 0) -> list[np.ndarray]:
    """Embeddings of made languages, each around a center of its own: (50, 12)."""
    rng = np.random.default_rng(seed)
    return [center + rng.normal(size=(50, 12)) for center in rng.normal(size=(number, 12)) * 2]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("measure", MEASURES)
def test_a_target_weighs_its_relative_most_and_weights_sum_to_1(measure: str, level: str) -> None:
    relative, stranger, other = languages(3)
    target = relative[:20] * 0.9 + 0.02
    found = weights(similarities(measure, [other, relative, stranger], target, TRAINING, seed=0), level)
    assert found.shape == ((1 if level == "domain" else 20), 3)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert found.mean(axis=0).argmax() == 1


@pytest.mark.parametrize("measure", MEASURES)
def test_the_same_seed_gives_the_same_similarities_whatever_else_is_drawn(measure: str) -> None:
    target, *sources = languages(4)
    first = similarities(measure, sources, target, TRAINING, seed=3)
    torch.rand(5)
    assert np.array_equal(first, similarities(measure, sources, target, TRAINING, seed=3))


@given(st.integers(1, 5), sizes, sizes, st.integers(0, 99))
@settings(deadline=None, max_examples=50, derandomize=True)
def test_a_mixture_is_a_distribution_and_a_teacher_split_in_two_of_half_its_weight_changes_nothing(k: int, n: int, words: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    teachers = [[rng.dirichlet(np.ones(7), size=words).astype(np.float32) for _ in range(n)] for _ in range(k)]
    parts = rng.dirichlet(np.ones(k), size=n).astype(np.float32)
    mixed = mixture(teachers, parts)
    for rows in mixed:
        np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-4)
    halved = np.concatenate([parts[:, :1] / 2, parts[:, :1] / 2, parts[:, 1:]], axis=1)
    for one, other in zip(mixed, mixture([teachers[0], *teachers], halved), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("measure", MEASURES)
def test_a_teacher_given_twice_is_its_own_mixture_and_both_weigh_alike(measure: str, level: str) -> None:
    """Beside a third their weights together are not those of one: a softmax over the sources counts each (Wu et al. 2020)."""
    source, other, target = languages(3)
    answers = [np.random.default_rng(n).dirichlet(np.ones(7), size=4).astype(np.float32) for n in range(len(target))]
    alone = weights(similarities(measure, [source, source], target, TRAINING, seed=0), level)
    for mixed, answer in zip(mixture([answers, answers], alone), answers, strict=True):
        np.testing.assert_allclose(mixed, answer, rtol=1e-4)
    if measure != "lid":  # which learns to tell two sources apart even where there is nothing to learn
        found = weights(similarities(measure, [source, source, other], target, TRAINING, seed=0), level)
        np.testing.assert_allclose(found[:, 0], found[:, 1], rtol=1e-4)


def test_language_identification_finds_the_stranger_in_text(tmp_path) -> None:
    text = {code: sandbox.sentences(code, "dev")[:300] for code in ("x-eng", "x-tam", "x-nld")}
    make_tiny(tmp_path, [sentence for sentences in text.values() for sentence in sentences], 0)
    embed = Embedder(str(tmp_path), 64, "fp32", torch.device("cpu"))
    relative, stranger, target = map(embed, text.values())
    for seed in range(3):
        of_relative, of_stranger = weights(similarities("lid", [relative, stranger], target, TRAINING, seed), "domain")[0]
        assert of_relative > of_stranger + 0.1


def test_one_teacher_is_its_own_mixture_to_the_bit() -> None:
    answers = [np.float32([[0.1, 0.9], [1 / 3, 2 / 3]])]
    assert np.array_equal(mixture([answers], np.ones((1, 1), np.float32))[0], answers[0])


@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.floats(0, 1), st.integers(0, 9))
@settings(deadline=None, max_examples=50, derandomize=True)
def test_languages_are_drawn_by_temperature(counts: list[int], alpha: float, seed: int) -> None:
    sources = [sandbox.sentences("x-eng", "dev")[:count] for count in counts]
    drawn = tempered(sources, alpha, seed)
    assert sum(map(len, drawn)) == sum(counts)
    shares = np.array(counts) ** alpha / sum(count**alpha for count in counts) * sum(counts)
    for chosen, count, share in zip(drawn, counts, shares, strict=True):
        assert abs(len(chosen) - share) <= 1
        times = np.bincount(chosen, minlength=count)
        assert times.max() - times.min() <= 1
    assert tempered(sources, 1.0, seed) == [list(range(count)) for count in counts]


def test_embeddings_do_not_depend_on_their_neighbors(tmp_path) -> None:
    sentences = sandbox.sentences("x-eng", "dev")[:20]
    make_tiny(tmp_path, sentences, 0)
    embed = Embedder(str(tmp_path), 12, "fp32", torch.device("cpu"))  # so short that most are several windows
    together = embed(sentences)
    assert together.shape == (20, 64)
    for sentence, row in zip(sentences, together, strict=True):
        np.testing.assert_allclose(embed([sentence])[0], row, rtol=1e-3, atol=1e-5)
