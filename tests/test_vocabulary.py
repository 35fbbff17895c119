"""Compact embeddings are lossless: a tagger answers and learns as the whole model would, whatever it has read before."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import TYPES, toy_sentences
from transformers import AutoModelForSeq2SeqLM, AutoModelForTokenClassification, AutoTokenizer

from engine.models.load import new_tagger, original
from engine.models.mt5 import slot_states
from engine.models.predict import probabilities
from engine.models.saved import export, load_tagger, save_tagger
from engine.models.tagger import Tagger
from engine.models.vocabulary import CompactEmbedding
from engine.spec import Training
from engine.tasks.ner import tag_set
from engine.train.batches import collate
from engine.train.loop import PlainBackend
from engine.train.losses import cross_entropy
from engine.train.tagging import fit

TAGS = tag_set(TYPES)
TEXT = toy_sentences(200)
LABELS = [[TAGS.index(tag) for tag in sentence.tags] for sentence in TEXT]
WHOLE = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
SOME_IDS = st.lists(st.integers(0, 49), max_size=12)
FORMS = pytest.mark.parametrize("form", ["slots", "encoder"])


def whole_embedding(tagger: Tagger) -> None:
    """Give the tagger the library's own embeddings back."""
    embedding = torch.nn.Embedding.from_pretrained(tagger.vocabulary.whole().clone(), freeze=False)
    embedding.cover = lambda ids: None
    tagger.model.set_input_embeddings(embedding)


def train(tagger: Tagger, steps: int = 4) -> list[float]:
    training = Training(steps=steps, batch_size=16, learning_rate=1e-2, weight_decay=0.0)
    return fit(tagger, TEXT, LABELS, cross_entropy, training, 0, 0, PlainBackend()).losses


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(SOME_IDS, min_size=1, max_size=6))
def test_every_row_is_the_checkpoints(reads):
    embedding = CompactEmbedding(WHOLE)
    for ids in reads:
        embedding.cover(torch.tensor(ids, dtype=torch.int64))
        seen = torch.tensor(sorted({i for read in reads for i in read} & set(embedding.ids.tolist())), dtype=torch.int64)
        assert torch.equal(embedding(seen), WHOLE[seen])
    assert sorted(embedding.ids.tolist()) == sorted({i for ids in reads for i in ids})
    assert embedding.weight.shape == (len(embedding.ids), 4)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(SOME_IDS, SOME_IDS, SOME_IDS)
def test_what_was_learned_survives_growth_and_state(first, second, other):
    embedding = CompactEmbedding(WHOLE)
    embedding.cover(torch.tensor(first, dtype=torch.int64))
    with torch.no_grad():
        embedding.weight.add_(1)
    embedding.cover(torch.tensor(second, dtype=torch.int64))
    again = CompactEmbedding(WHOLE)
    again.cover(torch.tensor(other, dtype=torch.int64))
    again.load_state_dict(embedding.state_dict())
    for one in (embedding, again):
        assert torch.equal(one(torch.tensor(first, dtype=torch.int64)), WHOLE[first] + 1)
        assert sorted(one.changed()[0].tolist()) == sorted(set(first))
        assert torch.equal(one(one.ids), WHOLE[one.ids] + torch.isin(one.ids, torch.tensor(first))[:, None])


def test_the_same_state_keeps_the_weight_that_an_optimizer_knows():
    embedding = CompactEmbedding(WHOLE)
    embedding.cover(torch.tensor([3, 4]))
    weight, state = embedding.weight, {name: value.clone() for name, value in embedding.state_dict().items()}
    embedding.load_state_dict(state)
    assert embedding.weight is weight


def test_a_piece_that_was_not_read_is_an_error():
    embedding = CompactEmbedding(WHOLE)
    embedding.cover(torch.tensor([3]))
    with pytest.raises(IndexError):
        embedding(torch.tensor([4]))


@FORMS
@settings(deadline=None, max_examples=10, derandomize=True)
@given(order=st.permutations(range(20)), cut=st.integers(1, 19))
def test_answers_do_not_depend_on_what_was_read_before(tiny, form, order, cut):
    once, twice = (new_tagger(tiny, form, TAGS, seed=0) for _ in range(2))
    probabilities(twice, [TEXT[i] for i in order[:cut]], 64, 8)
    for one, other in zip(probabilities(once, TEXT[:20], 64, 8), probabilities(twice, TEXT[:20], 64, 8), strict=True):
        np.testing.assert_array_equal(one, other)


def test_tag_logits_are_those_of_the_whole_model(tiny):
    tagger = new_tagger(tiny, "slots", TAGS, seed=0)
    windows = tagger.windows(TEXT[:8], 64)
    batch = collate(windows, None, tagger.tokenizer.pad_token_id)
    library = AutoModelForSeq2SeqLM.from_pretrained(tiny)
    with torch.inference_mode():
        states = slot_states(library, batch.input_ids, batch.attention_mask, batch.slots)
        every_logit = library.lm_head(states * library.config.d_model**-0.5)
        ours = tagger(batch.input_ids, batch.attention_mask, batch.slots)
    torch.testing.assert_close(ours, every_logit[..., tagger.tag_ids], atol=1e-5, rtol=0)


@FORMS
def test_training_is_that_of_the_whole_model(tiny, form):
    compact, whole = (new_tagger(tiny, form, TAGS, seed=0) for _ in range(2))
    whole_embedding(whole)
    np.testing.assert_allclose(train(compact), train(whole), rtol=1e-5)
    ids = compact.vocabulary.ids
    learned = whole.model.get_input_embeddings().weight
    torch.testing.assert_close(compact.vocabulary(ids), learned[ids], atol=1e-5, rtol=0)
    others = torch.ones(len(learned), dtype=torch.bool).index_fill(0, ids, False)
    assert torch.equal(learned[others], compact.vocabulary.whole()[others])


@FORMS
def test_an_export_is_a_whole_model_of_the_library(tiny, form, tmp_path):
    tagger = new_tagger(tiny, form, TAGS, seed=0)
    train(tagger)
    save_tagger(tagger, tmp_path / "changes")
    export(tmp_path / "changes", tiny, tmp_path / "whole")
    new_text = toy_sentences(20, seed=9)
    loaded = load_tagger(tmp_path / "changes", tiny)
    batch = collate(loaded.windows(new_text, 64), None, loaded.tokenizer.pad_token_id)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "whole")
    assert tokenizer.get_vocab() == loaded.tokenizer.get_vocab()
    with torch.inference_mode():
        ours = loaded(batch.input_ids, batch.attention_mask, batch.slots)
        if form == "slots":
            model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "whole")
            states = slot_states(model, batch.input_ids, batch.attention_mask, batch.slots)
            theirs = model.lm_head(states * model.config.d_model**-0.5)[..., loaded.tag_ids]
        else:
            model = AutoModelForTokenClassification.from_pretrained(tmp_path / "whole")
            assert model.config.id2label == dict(enumerate(TAGS))
            logits = model(batch.input_ids, batch.attention_mask).logits
            theirs = logits.gather(1, batch.slots.clamp(min=0)[..., None].expand(-1, -1, len(TAGS)))
    torch.testing.assert_close(ours[batch.mask], theirs[batch.mask], atol=1e-5, rtol=0)


def test_cells_start_from_one_untouched_copy(tiny):
    before = [value.clone() for value in original(tiny, "slots", TAGS).parameters()]
    first = train(new_tagger(tiny, "slots", TAGS, seed=0))
    after = list(original(tiny, "slots", TAGS).parameters())
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert train(new_tagger(tiny, "slots", TAGS, seed=0)) == first


def test_a_saved_tagger_holds_what_training_changed(tiny, tmp_path):
    tagger = new_tagger(tiny, "encoder", TAGS, seed=0)
    tagger.freeze(embeddings=True, layers=1)
    train(tagger)
    save_tagger(tagger, tmp_path)
    frozen = load_tagger(tmp_path, tiny).vocabulary
    assert len(frozen.changed()[0]) == 0
    size = (tmp_path / "changes.safetensors").stat().st_size
    trained = sum(value.numel() for value in tagger.parameters() if value.requires_grad)
    assert 4 * trained <= size < 4 * trained + 10_000
