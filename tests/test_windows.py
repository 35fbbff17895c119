"""Every word gets one slot, whatever it is made of and however long its sentence."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy import TYPES
from transformers import AutoTokenizer, PreTrainedTokenizerBase, T5Tokenizer

from engine.data.sentences import Sentence
from engine.errors import ModelError
from engine.models.load import new_tagger
from engine.models.mt5 import SlotTagger
from engine.models.predict import decode, probabilities
from engine.models.speller import sentinel_ids
from engine.models.windows import Subwords, Window, make_windows, special_ids
from engine.tasks.ner import tag_set
from engine.train.tagging import tag_ids

TAGS = tag_set(TYPES)
WORDS = ["ada", "Mr", "in", "Nero"]
SPELLED = ["</s>", "<pad>", "<extra_id_3>", "▁"]
ODD = ["\u200b", "\u200d\u200b", "a\u0301\u0323", "👩‍👩‍👧", "\ufeff", "ﷺ", "x" * 300, "İ", "\x00"]
words = st.one_of(st.sampled_from(WORDS + SPELLED + ODD), st.text(min_size=1, max_size=12))
texts = st.lists(st.lists(words, min_size=1, max_size=40).map(lambda ws: Sentence(tuple(ws))), min_size=1, max_size=4)
thorough = settings(
    deadline=None, max_examples=50, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def tokenizer(tiny: str) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny)


@pytest.fixture(scope="module")
def mt5(shared: Path) -> PreTrainedTokenizerBase:
    return T5Tokenizer.from_pretrained(shared / "models" / "mt5-tokenizer")


@pytest.fixture(scope="module")
def e5(shared: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(shared / "models" / "multilingual-e5-small-24")


@cache
def marks_of(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    return set(sentinel_ids(tokenizer))


@cache  # reading a vocabulary of 250,100 pieces takes a while
def layouts(tokenizer: PreTrainedTokenizerBase, slots: bool) -> Callable[[list[Sentence], int], list[Window]]:
    """The windows of one form, as the taggers make them."""
    if slots:
        sentinels = sentinel_ids(tokenizer)[:7]  # few, so that sentences need several windows
        subwords, after = Subwords(tokenizer, reserved=sentinel_ids(tokenizer)), [tokenizer.eos_token_id]
        return lambda sentences, size: make_windows(sentences, subwords, size, after=after, sentinels=sentinels)
    before, after = special_ids(tokenizer)
    subwords = Subwords(tokenizer)
    return lambda sentences, size: make_windows(sentences, subwords, size, before, after)


def check(tokenizer: PreTrainedTokenizerBase, sentences: list[Sentence], max_tokens: int, slots: bool) -> None:
    windows = layouts(tokenizer, slots)(sentences, max_tokens)
    covered = [(w.sentence, w.start + i) for w in windows for i in range(len(w.slots))]
    assert covered == [(s, i) for s, sentence in enumerate(sentences) for i in range(len(sentence.words))]
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    marks = marks_of(tokenizer) if slots else set()
    for window in windows:
        assert len(window.input_ids) <= max_tokens
        if slots:
            assert [i for i in window.input_ids if i in marks] == window.slots
            assert not {b for a, b in zip(window.input_ids, window.input_ids[1:], strict=False) if a in marks} & marks
            assert special & set(window.input_ids[:-1]) == set()
        else:
            assert window.slots == sorted(set(window.slots))
            assert special & {window.input_ids[position] for position in window.slots} == set()


@thorough
@given(sentences=texts, max_tokens=st.integers(8, 64), slots=st.booleans())
def test_every_word_has_one_slot_with_the_tiny_vocabulary(tokenizer, sentences, max_tokens, slots):
    check(tokenizer, sentences, max_tokens, slots)


@thorough
@given(sentences=texts, max_tokens=st.integers(8, 64), slots=st.booleans())
def test_every_word_has_one_slot_with_mt5s_vocabulary(mt5, sentences, max_tokens, slots):
    check(mt5, sentences, max_tokens, slots)


@thorough
@given(sentences=texts, max_tokens=st.integers(8, 64))
def test_every_word_has_one_slot_with_e5s_vocabulary(e5, sentences, max_tokens):
    check(e5, sentences, max_tokens, slots=False)


def test_a_short_sentence_is_one_window_in_the_form_of_slots(tokenizer):
    (window,) = layouts(tokenizer, slots=True)([Sentence(("mr", "Bado"))], 64)
    assert tokenizer.decode(window.input_ids) == "<extra_id_0> mr <extra_id_1> ⇧ bado</s>"
    assert tokenizer.convert_ids_to_tokens(window.slots) == ["▁<extra_id_0>", "▁<extra_id_1>"]


def test_the_slots_of_an_encoder_are_first_subwords(e5):
    (window,) = layouts(e5, slots=False)([Sentence(("Abuja", "nchini"))], 64)
    pieces = e5.convert_ids_to_tokens(window.input_ids)
    assert (pieces[0], pieces[-1]) == ("<s>", "</s>")
    assert [pieces[position][0] for position in window.slots] == ["▁", "▁"]
    assert [p for p in range(len(pieces)) if pieces[p].startswith("▁")] == window.slots


def test_long_sentences_are_cut_evenly(tokenizer):
    windows = layouts(tokenizer, slots=True)([Sentence(("in",) * 23)], 64)
    assert [len(w.slots) for w in windows] == [5, 6, 6, 6]
    assert [w.start for w in windows] == [0, 5, 11, 17]


def test_a_word_longer_than_the_window_is_cut_and_keeps_its_slot(tokenizer):
    (window,) = layouts(tokenizer, slots=True)([Sentence(("bado" * 50,))], 16)
    assert len(window.input_ids) == 16 and len(window.slots) == 1


def test_too_small_a_window_is_refused(tokenizer):
    with pytest.raises(ModelError, match="max_tokens=2: a window with one word needs at least 3 ids"):
        layouts(tokenizer, slots=True)([Sentence(("in",))], 2)


@pytest.fixture(scope="module")
def taggers(tiny: str) -> dict[str, SlotTagger]:
    return {form: new_tagger(tiny, form, TAGS, seed=0) for form in ("slots", "sentinel")}


@thorough
@given(sentences=texts, max_tokens=st.integers(8, 64), form=st.sampled_from(["slots", "sentinel"]), random=st.randoms(use_true_random=False))
def test_any_tags_come_back_from_what_is_asked_of_a_model_that_answers_it(taggers, sentences, max_tokens, form, random):
    """Tags -> what training asks for, window by window -> a model that answers just that -> tags."""
    tagger = taggers[form]
    gold = [Sentence(sentence.words, tuple(random.choice(TAGS) for _ in sentence.words)) for sentence in sentences]
    windows, asked = tagger.examples(gold, tag_ids(gold, TAGS), max_tokens)
    order = iter(sorted(range(len(windows)), key=lambda number: len(windows[number].input_ids), reverse=True))  # as they are predicted

    def answer(input_ids: torch.Tensor, attention_mask: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(*slots.shape, len(TAGS))
        for row, ids, number in zip(logits, input_ids.tolist(), order, strict=False):
            assert ids[: len(windows[number].input_ids)] == windows[number].input_ids
            row[range(len(asked[number])), list(asked[number])] = 9.0
        return logits

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tagger, "answer", answer)
        assert decode(probabilities(tagger, gold, max_tokens, batch_size=3), TAGS) == [sentence.tags for sentence in gold]
    if form == "sentinel":  # each tag is written before the next is asked for
        written = [[tagger.tag_ids.index(i) for i in window.slots[1:]] for window in windows]
        assert written == [list(tags)[:-1] for tags in asked]
