"""The form `sentinel`: what it writes with a cache, in batches that shrink, is what the whole model would write alone."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_study import STUDY, run_here
from toy import TYPES, toy_sentences
from transformers import AutoModelForSeq2SeqLM

from engine.data.sentences import Sentence
from engine.errors import ModelError
from engine.models.load import new_tagger
from engine.models.predict import decode, probabilities
from engine.models.saved import export, load_tagger, save_tagger
from engine.models.sentinel import SentinelTagger
from engine.models.tagger import Tagger
from engine.spec import Training
from engine.study import load_study
from engine.tasks.ner import tag_set
from engine.train.batches import Batch, collate
from engine.train.loop import PlainBackend
from engine.train.losses import cross_entropy, kl
from engine.train.tagging import fit

TAGS = tag_set(TYPES)
TEXT = toy_sentences(40)
FEW = [Sentence(("bado",)), *TEXT[:11]]  # of one word to some ten


def numbers(sentences: list[Sentence]) -> list[list[int]]:
    return [[TAGS.index(tag) for tag in sentence.tags] for sentence in sentences]


def train(tagger: Tagger, labels, loss, steps: int) -> list[float]:
    training = Training(steps=steps, batch_size=20, learning_rate=5e-3, schedule="cosine", weight_decay=0.0)
    return fit(tagger, TEXT, labels, loss, training, 0, 0, PlainBackend()).losses


def teacher_forced(tagger: SentinelTagger, sentences: list[Sentence], answers) -> tuple[torch.Tensor, Batch]:
    """Probabilities (B, W, K) in one pass over answers that are given, and the batch."""
    windows = tagger.with_answers(tagger.windows(sentences, 64), answers)
    batch = collate(windows, None, tagger.tokenizer.pad_token_id)
    with torch.inference_mode():
        return tagger(batch.input_ids, batch.attention_mask, batch.slots).softmax(-1), batch


@pytest.fixture(scope="module")
def tagger(tiny: str) -> SentinelTagger:
    """Trained on a few sentences until it knows them."""
    tagger = new_tagger(tiny, "sentinel", TAGS, seed=0)
    losses = train(tagger, numbers(TEXT), cross_entropy, 80)
    assert losses[-1] < 0.05 * losses[0]
    return tagger.eval()


@pytest.fixture(scope="module")
def saved(tagger: SentinelTagger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save_tagger(tagger, folder)
    return folder


@pytest.fixture(scope="module")
def written(tagger: SentinelTagger, saved: Path, tiny: str, tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """The probabilities of `FEW` by transformers' own model: one sentence at a time, the prefix read anew for each word."""
    folder = tmp_path_factory.mktemp("whole")
    export(saved, tiny, folder)
    library = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    settings = json.loads((folder / "tagger.json").read_text("utf-8"))
    assert settings["form"] == "sentinel" and settings["tags"] == list(TAGS)
    pieces = library.lm_head.weight[settings["tag_ids"]] * library.config.d_model**-0.5
    answers = []
    for window in tagger.windows(FEW, 64):
        ids, prefix, rows = torch.tensor([window.input_ids]), [library.config.decoder_start_token_id], []
        for sentinel in window.slots:
            prefix.append(sentinel)
            with torch.inference_mode():
                encoded = library.encoder(ids).last_hidden_state
                states = library.decoder(torch.tensor([prefix]), encoder_hidden_states=encoded).last_hidden_state
                rows.append((pieces @ states[0, -1]).softmax(-1).numpy())
            prefix.append(tagger.tag_ids[rows[-1].argmax()])
        answers.append(np.stack(rows))
    return answers


def test_it_learns_sentences_by_heart(tagger):
    assert decode(probabilities(tagger, TEXT, 64, 16), TAGS) == [sentence.tags for sentence in TEXT]


@settings(deadline=None, max_examples=30, derandomize=True)
@given(order=st.permutations(range(len(FEW))), batch_size=st.integers(1, len(FEW)))
def test_cache_batches_and_order_change_nothing(tagger, written, order, batch_size):
    for index, answer in zip(order, probabilities(tagger, [FEW[i] for i in order], 64, batch_size), strict=True):
        np.testing.assert_allclose(answer, written[index], atol=1e-5)


def test_its_own_answers_fed_to_it_give_the_same(tagger, written):
    forced, batch = teacher_forced(tagger, FEW, written)
    np.testing.assert_allclose(forced[batch.mask], np.concatenate(written), atol=1e-5)


def test_a_tag_depends_on_those_before_it_alone(tagger):
    sentence = TEXT[0]
    right, other = numbers([sentence])[0], numbers([sentence])[0]
    other[2] = (other[2] + 1) % len(TAGS)
    (one, _), (two, _) = (teacher_forced(tagger, [sentence], [answer]) for answer in (right, other))
    same = torch.isclose(one[0], two[0], atol=1e-6).all(-1)
    assert same[:3].all() and not same[3:].all()


def test_soft_labels_are_read_as_their_most_probable_tags(tiny, tagger):
    soft = probabilities(tagger, TEXT, 64, 16)
    student = new_tagger(tiny, "sentinel", TAGS, seed=0)
    windows = student.windows(TEXT, 64)
    assert student.with_answers(windows, soft) == student.with_answers(windows, [rows.argmax(-1).tolist() for rows in soft])
    losses = train(student, soft, kl, 60)
    assert losses[-1] < 0.1 * losses[0]


@settings(deadline=None, max_examples=12, derandomize=True)
@given(lengths=st.lists(st.integers(1, 230), min_size=1, max_size=4), batch_size=st.integers(1, 4), room=st.integers(8, 600))
def test_every_word_gets_a_tag(tagger, lengths, batch_size, room):
    words = [word for sentence in TEXT for word in sentence.words]
    sentences = [Sentence(tuple(words[i % len(words)] for i in range(length))) for length in lengths]
    answers = probabilities(tagger, sentences, room, batch_size)
    for length, answer in zip(lengths, answers, strict=True):
        assert answer.shape == (length, len(TAGS)) and answer.dtype == np.float32
        np.testing.assert_allclose(answer.sum(-1), 1, atol=1e-5)


def test_a_saved_tagger_answers_the_same(tagger, saved, tiny):
    again = load_tagger(saved, tiny)
    assert isinstance(again, SentinelTagger)
    for one, other in zip(*map(partial(probabilities, sentences=TEXT, max_tokens=64, batch_size=16), (again, tagger)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_study_of_it_runs(tmp_path):
    file = tmp_path / "small.py"
    file.write_text(STUDY)
    study = load_study(file, local=True).varied(form=("sentinel",), methods=("teacher-student",), volumes=(20,))
    frame = run_here(study, tmp_path / "out")
    assert set(frame["form"]) == {"sentinel"} and set(frame["status"]) == {"done"}


def test_an_encoder_cannot_write(shared):
    with pytest.raises(ModelError, match="bert.* cannot serve the form 'sentinel'"):
        new_tagger(str(shared / "models" / "multilingual-e5-small-24"), "sentinel", TAGS, seed=0)
