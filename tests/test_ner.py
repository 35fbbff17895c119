"""Spans and scores are seqeval's, on valid and invalid tag sequences alike."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from engine.errors import DataError
from engine.tasks.ner import count, f1, spans, tag_set

TAGS = tag_set(("PER", "LOC", "ORG"))
sequences = st.lists(st.sampled_from(TAGS), min_size=1, max_size=12)
pairs = st.lists(
    st.integers(1, 10).flatmap(lambda n: st.tuples(*[st.lists(st.sampled_from(TAGS), min_size=n, max_size=n)] * 2)),
    min_size=1,
    max_size=5,
)
thorough = settings(deadline=None, max_examples=300, derandomize=True)


def test_tag_set_is_sorted_by_type():
    assert tag_set(("PER", "LOC")) == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


@thorough
@given(sequences)
def test_spans_are_those_of_seqeval(tags):
    assert spans(tags) == get_entities(tags)


@thorough
@given(pairs)
def test_scores_are_those_of_seqeval(sentences):
    gold, predicted = (list(tags) for tags in zip(*sentences, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns where a score is 0/0
        expected = precision_score(gold, predicted), recall_score(gold, predicted), f1_score(gold, predicted)
    assert f1(*count(gold, predicted)["ALL"]) == pytest.approx(expected)


@thorough
@given(pairs)
def test_types_and_sentences_add_up_to_all(sentences):
    gold, predicted = (list(tags) for tags in zip(*sentences, strict=True))
    counts = count(gold, predicted)
    whole = counts.pop("ALL")
    assert tuple(map(sum, zip((0, 0, 0), *counts.values(), strict=True))) == whole
    single = [count([right], [answer])["ALL"] for right, answer in sentences]
    assert tuple(map(sum, zip(*single, strict=True))) == whole


def test_counts_name_type_and_kind_of_error():
    counts = count([["B-PER", "I-PER", "O", "B-LOC"]], [["B-PER", "O", "O", "B-LOC"]])
    assert counts == {"LOC": (1, 0, 0), "PER": (0, 1, 1), "ALL": (1, 1, 1)}


def test_tags_of_another_length_are_refused():
    with pytest.raises(DataError, match="sentence 1 has 2 words and 1 predicted"):
        count([["O"], ["O", "O"]], [["O"], ["O"]])
