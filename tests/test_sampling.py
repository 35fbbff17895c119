"""Nested subsets: what makes curves over the volume paired."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data import sandbox
from engine.data.sampling import nested_subset
from engine.data.sentences import Sentence
from engine.errors import DataError
from engine.spec import Checkpoint, FewshotRecipe, Site, Split, Training
from engine.steps import fewshot
from engine.train.loop import PlainBackend

words = st.lists(st.sampled_from(["a", "b", "ab", "é", "क"]), min_size=1, max_size=4).map(tuple)
corpora = st.lists(words.map(Sentence), min_size=1, max_size=30)
quick = settings(deadline=None, max_examples=50, derandomize=True)


def chosen(sentences, n, seed):
    return [sentences[i].words for i in nested_subset(sentences, n, seed)]


@quick
@given(corpora, st.data(), st.integers(0, 99))
def test_a_smaller_subset_begins_a_larger_one(sentences, data, seed):
    large = data.draw(st.integers(0, len(sentences)))
    small = data.draw(st.integers(0, large))
    drawn = nested_subset(sentences, large, seed)
    assert nested_subset(sentences, small, seed) == drawn[:small]
    assert len(set(drawn)) == large and set(drawn) <= set(range(len(sentences)))


@quick
@given(corpora, st.randoms(use_true_random=False), st.data())
def test_the_order_of_the_file_does_not_matter(sentences, random, data):
    n = data.draw(st.integers(0, len(sentences)))
    shuffled = random.sample(sentences, len(sentences))
    assert chosen(sentences, n, seed=3) == chosen(shuffled, n, seed=3)


@quick
@given(corpora, words, st.integers(0, 99))
def test_one_more_sentence_moves_no_other(sentences, more, seed):
    """The draw depends on the sentence itself: what a larger corpus adds is only inserted."""
    before = nested_subset(sentences, len(sentences), seed)
    after = nested_subset([*sentences, Sentence(more)], len(sentences) + 1, seed)
    assert [index for index in after if index < len(sentences)] == before


def numbered(n):
    return [Sentence((str(i),)) for i in range(n)]


def test_the_draw_is_the_same_in_every_process_and_version():
    """A changed order would silently change every student: then the recipe version has to be raised."""
    assert nested_subset(numbered(10), 10, seed=0) == [6, 2, 8, 4, 5, 7, 0, 9, 1, 3]


def test_seeds_differ():
    draws = {tuple(nested_subset(numbered(50), 10, seed)) for seed in range(20)}
    assert len(draws) == 20


def test_the_draw_is_even():
    counts = [0] * 20
    for seed in range(400):
        for index in nested_subset(numbered(20), 5, seed):
            counts[index] += 1
    assert min(counts) > 60 and max(counts) < 140  # 100 expected, standard deviation 9


def test_tags_do_not_matter():
    tagged = [Sentence(s.words, ("B-PER",)) for s in numbered(30)]
    assert nested_subset(tagged, 12, seed=1) == nested_subset(numbered(30), 12, seed=1)


def test_equal_sentences_are_drawn_apart():
    sentences = [Sentence(("same",))] * 5 + numbered(5)
    ranks = [i for i, index in enumerate(nested_subset(sentences, 10, seed=0)) if index < 5]
    assert ranks != list(range(ranks[0], ranks[0] + 5))


@pytest.mark.parametrize("n", [11, -1])
def test_more_than_there_are(n):
    message = f"^{n} sentences were asked for and there are 10. Lower the volume or use pool='text'"
    with pytest.raises(DataError, match=message):
        nested_subset(numbered(10), n, seed=0)


def test_more_shots_than_there_are_are_called_so(tmp_path):
    """Of a dataset of the hub only a download tells, which comes after the training."""
    split = Split("sandbox", "x-nld", "dev", sandbox.version("x-nld", "dev"), ("LOC", "ORG", "PER"), ("DATE", "MISC"))
    recipe = FewshotRecipe(Checkpoint("m", "1"), "1", "slots", split, 501, Training(steps=1), 0)
    with pytest.raises(DataError, match="501 sentences were asked for and there are 500. They are the shots, of sandbox x-nld dev.*lower the axis shots"):
        fewshot.run(recipe, {}, tmp_path, Site(), PlainBackend())
