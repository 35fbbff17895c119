"""The tiny checkpoint, both forms of tagger, loading and saving, prediction and pretraining, all on the real parts."""

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from toy import TYPES, toy_sentences
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, MT5Config, MT5ForConditionalGeneration

from engine.data.sentences import Sentence
from engine.errors import ModelError, OutOfMemoryError
from engine.models.load import load_model, new_tagger
from engine.models.mt5 import tag_piece_ids
from engine.models.predict import decode, probabilities
from engine.models.pretraining import pretrainer
from engine.models.saved import export, load_tagger, save_tagger
from engine.models.speller import sentinel_ids
from engine.models.tagger import Tagger
from engine.models.tiny import make_tiny
from engine.spec import Training
from engine.tasks.ner import count, f1, tag_set
from engine.train.loop import PlainBackend
from engine.train.losses import cross_entropy
from engine.train.tagging import fit_examples

TAGS = tag_set(TYPES)
TEXT = toy_sentences(300)


@pytest.fixture(scope="module")
def e5(shared: Path) -> str:
    return str(shared / "models" / "multilingual-e5-small-24")


def fit(model, examples, targets, steps: int, learning_rate: float, batch_size: int = 32) -> list[float]:
    training = Training(
        steps=steps, batch_size=batch_size, learning_rate=learning_rate, schedule="cosine", weight_decay=0.0
    )
    return fit_examples(model, examples, targets, cross_entropy, training, 0, 0, PlainBackend()).losses


def fit_tags(tagger: Tagger, sentences: list[Sentence], steps: int, learning_rate: float) -> list[float]:
    windows = tagger.windows(sentences, 64)
    targets = [
        [TAGS.index(tag) for tag in sentences[w.sentence].tags[w.start : w.start + len(w.slots)]] for w in windows
    ]
    return fit(tagger, windows, targets, steps, learning_rate)


def span_f1(tagger: Tagger, sentences: list[Sentence]) -> float:
    answers = decode(probabilities(tagger, sentences, 64, 32), tagger.tags)
    return f1(*count([sentence.tags for sentence in sentences], answers)["ALL"])[2]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def activations(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [module.act for module in model.modules() if hasattr(module, "act")]


class TestTiny:
    def test_another_process_makes_the_same_bytes(self, tiny, tmp_path):
        code = (
            "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); from toy import toy_sentences; "
            "from engine.models.tiny import make_tiny; make_tiny(Path(sys.argv[1]), toy_sentences(300), seed=0)"
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)], check=True)
        names = sorted(file.name for file in tmp_path.iterdir())
        assert names == sorted(file.name for file in Path(tiny).iterdir())
        for name in names:
            assert (tmp_path / name).read_bytes() == (Path(tiny) / name).read_bytes(), name

    def test_the_seed_changes_the_weights_and_not_the_vocabulary(self, tiny, tmp_path):
        make_tiny(tmp_path, TEXT, seed=1)
        one, other = ((Path(folder) / "spiece.model").read_bytes() for folder in (tiny, tmp_path))
        assert one == other
        one, other = ((Path(folder) / "model.safetensors").read_bytes() for folder in (tiny, tmp_path))
        assert one != other

    def test_capitals_survive_the_vocabulary(self, tiny):
        tokenizer = AutoTokenizer.from_pretrained(tiny)
        ids = tokenizer("mr Bado NeRo", add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == "mr ⇧ bado ⇧ ne⇧ ro"
        assert ids[1] == tokenizer.convert_tokens_to_ids("▁⇧")
        lower = tokenizer("bado", add_special_tokens=False)["input_ids"]
        assert ids[2 : 2 + len(lower)] == lower

    def test_every_tag_has_a_piece_of_its_own(self, tiny):
        tokenizer = AutoTokenizer.from_pretrained(tiny)
        ids = tag_piece_ids(tokenizer, TAGS)
        assert tokenizer.convert_ids_to_tokens(ids) == [f"<{tag}>" for tag in TAGS]


class TestTagger:
    @pytest.mark.parametrize("form", ["slots", "encoder"])
    def test_learns(self, tiny, form):
        tagger = new_tagger(tiny, form, TAGS, seed=0)
        fit_tags(tagger, toy_sentences(600, seed=1), 120, 5e-3)
        assert span_f1(tagger, toy_sentences(100, seed=2)) > 0.9

    @pytest.mark.parametrize("form", ["slots", "encoder"])
    def test_a_saved_tagger_answers_the_same(self, tiny, form, tmp_path):
        tagger = new_tagger(tiny, form, TAGS, seed=0)
        fit_tags(tagger, TEXT, 3, 1e-3)
        save_tagger(tagger, tmp_path)
        again = load_tagger(tmp_path, tiny)
        assert (again.form, again.tags) == (form, TAGS)
        assert again.windows(TEXT, 64) == tagger.windows(TEXT, 64)
        assert same(probabilities(again, TEXT, 64, 16), probabilities(tagger, TEXT, 64, 16))

    @pytest.mark.parametrize("form", ["slots", "encoder"])
    def test_padding_changes_no_answer(self, tiny, form):
        tagger = new_tagger(tiny, form, TAGS, seed=0)
        alone = [probabilities(tagger, [sentence], 64, 1)[0] for sentence in TEXT[:20]]
        for one, other in zip(alone, probabilities(tagger, TEXT[:20], 64, 20), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)

    def test_a_batch_that_finds_no_room_is_cut_in_halves(self, tiny, monkeypatch):
        """Of a device that has room for three windows, or for none."""
        tagger, room, asked = new_tagger(tiny, "slots", TAGS, seed=0), 3, []
        whole, answer = probabilities(tagger, TEXT[:20], 64, 16), tagger.answer

        def with_room(input_ids, *rest):
            asked.append(len(input_ids))
            if len(input_ids) > room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return answer(input_ids, *rest)

        monkeypatch.setattr(tagger, "answer", with_room)
        for one, other in zip(probabilities(tagger, TEXT[:20], 64, 16), whole, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
        assert asked[:4] == [16, 8, 4, 2] and max(size for size in asked if size <= room) == 2
        room = 0
        with pytest.raises(OutOfMemoryError, match=r"too small for a single window of \d+ subwords: CUDA out of memory"):
            probabilities(tagger, TEXT[:20], 64, 16)

    def test_the_seed_decides_the_new_head(self, tiny):
        heads = [new_tagger(tiny, "encoder", TAGS, seed).model.classifier.weight for seed in (0, 0, 1)]
        assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])

    def test_the_encoder_form_has_the_checkpoints_encoder(self, tiny):
        slots, encoder = (new_tagger(tiny, form, TAGS, seed=0).model for form in ("slots", "encoder"))
        expected = dict(slots.encoder.named_parameters())
        found = dict(encoder.transformer.encoder.named_parameters())
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected if "embed_tokens" not in name)

    @pytest.mark.parametrize("form", ["slots", "encoder"])
    def test_frozen_layers_keep_their_weights(self, tiny, form):
        tagger = new_tagger(tiny, form, TAGS, seed=0)
        tagger.freeze(embeddings=False, layers=1)
        tagger.windows(TEXT, 64)
        before = {name: value.detach().clone() for name, value in tagger.named_parameters()}
        fit_tags(tagger, TEXT, 2, 1e-2)
        kept = {name for name, value in tagger.named_parameters() if torch.equal(value, before[name])}
        assert any("encoder.block.0" in name for name in kept) and any("shared" in name for name in kept)
        assert not any("encoder.block.1.layer.0.SelfAttention.q" in name for name in kept)
        assert all(name in kept for name in before if "encoder.block.0" in name)

    def test_more_frozen_layers_than_there_are(self, tiny):
        with pytest.raises(ModelError, match="freeze_layers=3: the encoder of .* has 2 layers"):
            new_tagger(tiny, "slots", TAGS, seed=0).freeze(embeddings=False, layers=3)

    def test_long_sentences_are_answered_word_by_word(self, tiny):
        tagger = new_tagger(tiny, "slots", TAGS, seed=0)
        long = Sentence(tuple(word for sentence in TEXT[:60] for word in sentence.words))
        (answer,) = probabilities(tagger, [long], 64, 4)
        assert answer.shape == (len(long.words), len(TAGS)) and answer.dtype == np.float32
        np.testing.assert_allclose(answer.sum(-1), 1, atol=1e-5)

    def test_mt5s_activation_in_one_kernel_is_the_librarys(self, tiny, tmp_path):
        config = MT5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_heads=2, num_layers=2, feed_forward_proj="gated-gelu")
        MT5ForConditionalGeneration(config).save_pretrained(tmp_path)
        AutoTokenizer.from_pretrained(tiny).save_pretrained(tmp_path)
        ours, _ = load_model(str(tmp_path), AutoModelForSeq2SeqLM)
        library = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
        assert not any(type(one) is type(other) for one, other in zip(activations(ours), activations(library), strict=True))
        ids = torch.arange(50)[None]
        with torch.inference_mode():
            one, other = (model.eval()(input_ids=ids, decoder_input_ids=ids).logits for model in (ours, library))
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-5)

    def test_prediction_restores_the_mode(self, tiny):
        tagger = new_tagger(tiny, "slots", TAGS, seed=0).train()
        probabilities(tagger, TEXT[:2], 64, 2)
        assert tagger.training

    def test_decode_takes_the_most_probable(self):
        assert decode([np.array([[0.2, 0.5, 0.3], [0.4, 0.3, 0.3]])], ("O", "B-X", "I-X")) == [("B-X", "O")]


class TestUntied:
    """Real mT5 checkpoints have an output head of their own."""

    @pytest.fixture(scope="class")
    @classmethod
    def untied(cls, tiny, tmp_path_factory) -> str:
        folder = tmp_path_factory.mktemp("untied")
        model = AutoModelForSeq2SeqLM.from_pretrained(tiny)
        generator = torch.Generator().manual_seed(0)
        model.lm_head.weight = torch.nn.Parameter(torch.randn(model.lm_head.weight.shape, generator=generator))
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
        return str(folder)

    def test_the_head_survives_training_and_saving(self, untied, tmp_path):
        tagger = new_tagger(untied, "slots", TAGS, seed=0)
        fit_tags(tagger, TEXT, 3, 1e-2)
        expected = probabilities(tagger, TEXT, 64, 16)
        save_tagger(tagger, tmp_path / "changes")
        again = load_tagger(tmp_path / "changes", untied)
        assert same(probabilities(again, TEXT, 64, 16), expected)
        export(tmp_path / "changes", untied, tmp_path / "whole")
        before, after = (AutoModelForSeq2SeqLM.from_pretrained(folder) for folder in (untied, tmp_path / "whole"))
        assert not torch.equal(after.lm_head.weight, after.shared.weight)
        changed = (after.lm_head.weight != before.lm_head.weight).any(-1).nonzero().flatten()
        assert changed.tolist() == sorted(tagger.tag_ids)

    def test_slots_are_scored_as_by_the_library(self, untied):
        tagger = new_tagger(untied, "slots", TAGS, seed=0)
        window = tagger.windows(TEXT[:1], 64)[0]
        ids, slots = torch.tensor([window.input_ids]), torch.tensor([window.slots])
        with torch.inference_mode():
            ours = tagger(ids, torch.ones_like(ids), slots)
            library = AutoModelForSeq2SeqLM.from_pretrained(untied)
            theirs = library(input_ids=ids, decoder_input_ids=slots).logits[..., tagger.tag_ids]
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


class TestErrors:
    def test_slots_need_a_decoder(self, e5):
        with pytest.raises(ModelError, match="bert.* cannot serve the form 'slots'.*Use the form 'encoder'"):
            new_tagger(e5, "slots", TAGS, seed=0)

    @pytest.mark.parametrize(
        ("missing", "what"),
        [("config.json", "configuration"), ("model.safetensors", "weights"), ("spiece.model", "voc")],
    )
    def test_an_incomplete_folder(self, tiny, tmp_path, missing, what):
        for file in Path(tiny).iterdir():
            if file.name != missing:
                (tmp_path / file.name).write_bytes(file.read_bytes())
        with pytest.raises(ModelError, match=f"has no {what}.*it needs .*{missing}"):
            new_tagger(str(tmp_path), "slots", TAGS, seed=0)

    def test_no_such_folder(self, tmp_path):
        with pytest.raises(ModelError, match="nowhere' does not exist"):
            new_tagger(str(tmp_path / "nowhere"), "slots", TAGS, seed=0)

    def test_a_folder_without_a_tagger(self, tiny):
        with pytest.raises(ModelError, match="holds no tagger"):
            load_tagger(Path(tiny), tiny)

    def test_a_tagger_cut_short(self, tiny, tmp_path):
        save_tagger(new_tagger(tiny, "slots", TAGS, seed=0), tmp_path)
        changes = tmp_path / "changes.safetensors"
        changes.write_bytes(changes.read_bytes()[:20])
        with pytest.raises(ModelError, match="holds no tagger"):
            load_tagger(tmp_path, tiny)

    def test_a_tagger_of_a_checkpoint_that_changed(self, tiny, tmp_path):
        save_tagger(new_tagger(tiny, "slots", TAGS, seed=0), tmp_path / "tagger")
        other = tmp_path / "other"
        shutil.copytree(tiny, other)
        weights = load_file(other / "model.safetensors")
        save_file({name: value + 0.01 for name, value in weights.items()}, other / "model.safetensors", {"format": "pt"})
        with pytest.raises(ModelError, match="another checkpoint"):
            load_tagger(tmp_path / "tagger", str(other))

    def test_a_tagger_of_another_checkpoint(self, tiny, e5, tmp_path):
        tagger = new_tagger(tiny, "encoder", TAGS, seed=0)
        save_tagger(tagger, tmp_path)
        with pytest.raises(ModelError, match="trained from another checkpoint than .*e5"):
            load_tagger(tmp_path, e5)

    def test_an_unknown_form(self, tiny):
        with pytest.raises(ModelError, match="form 'boxes': there are slots, sentinel, spans, text, encoder"):
            new_tagger(tiny, "boxes", TAGS, seed=0)

    def test_float16_is_refused(self, tiny):
        with pytest.raises(ModelError, match="float16"):
            probabilities(new_tagger(tiny, "slots", TAGS, seed=0).half(), TEXT[:1], 64, 1)

    def test_a_vocabulary_without_sentinels(self, e5, tmp_path):
        tokenizer = AutoTokenizer.from_pretrained(e5)
        config = MT5Config(vocab_size=len(tokenizer), d_model=8, d_kv=4, d_ff=8, num_heads=2, num_layers=1)
        MT5ForConditionalGeneration(config).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        with pytest.raises(ModelError, match="no sentinel"):
            new_tagger(str(tmp_path), "slots", TAGS, seed=0)


class TestEncoder:
    def test_a_float16_checkpoint_is_trained_in_float32(self, e5, tmp_path):
        tagger = new_tagger(e5, "encoder", TAGS, seed=0)
        assert {parameter.dtype for parameter in tagger.parameters()} == {torch.float32}
        tagger.freeze(embeddings=False, layers=3)
        trained = {name for name, parameter in tagger.named_parameters() if parameter.requires_grad}
        assert not any("embeddings" in name or "layer.2." in name for name in trained)
        assert any("layer.3." in name for name in trained)
        save_tagger(tagger, tmp_path / "changes")
        export(tmp_path / "changes", e5, tmp_path / "whole")
        assert json.loads((tmp_path / "whole" / "config.json").read_text())["dtype"] == "float32"
        again = load_tagger(tmp_path / "changes", e5)
        assert same(probabilities(again, TEXT[:5], 64, 4), probabilities(tagger, TEXT[:5], 64, 4))


class TestPretraining:
    @pytest.fixture(scope="class")
    def corrupting(self, tiny):
        return pretrainer(tiny, "span-corruption", seed=0)

    @pytest.mark.parametrize("objective", ["masked-lm", "denoise", "span-corruption"])
    def test_the_loss_falls_and_a_tagger_can_start_from_it(self, tiny, objective, tmp_path):
        model = pretrainer(tiny, objective, seed=0)
        examples, targets = model.examples(TEXT, 0.2, 64, seed=0)
        losses = fit(model, examples, targets, 30, 5e-3)
        assert np.mean(losses[-5:]) < 0.6 * losses[0]
        model.save(tmp_path)
        for form in ("slots", "encoder"):
            tagger = new_tagger(str(tmp_path), form, TAGS, seed=0)
            assert torch.equal(tagger.vocabulary.whole(), model.model.shared.weight)

    @pytest.mark.parametrize("objective", ["masked-lm", "denoise", "span-corruption"])
    def test_masks_depend_on_the_seed_alone(self, tiny, objective):
        model = pretrainer(tiny, objective, seed=0)
        assert model.examples(TEXT, 0.2, 64, seed=0) == model.examples(TEXT, 0.2, 64, seed=0)
        assert model.examples(TEXT, 0.2, 64, seed=0) != model.examples(TEXT, 0.2, 64, seed=1)

    def test_denoising_leaves_words_out_and_asks_for_all(self, tiny):
        model = pretrainer(tiny, "denoise", seed=0)
        examples, targets = model.examples(TEXT, 0.2, 64, seed=0)
        whole = new_tagger(tiny, "slots", TAGS, seed=0).windows(TEXT, 64)
        kept = 0
        for example, wanted, window in zip(examples, targets, whole, strict=True):
            assert example.slots == window.slots
            assert wanted == [window.input_ids[window.input_ids.index(slot) + 1] for slot in window.slots]
            stops = [example.input_ids.index(slot) + 1 for slot in example.slots]
            kept += sum(example.input_ids[stop] not in (*example.slots, 1) for stop in stops)
        assert 0.75 < kept / sum(len(window.slots) for window in whole) < 0.85

    def test_span_corruption_loses_nothing(self, tiny):
        model = pretrainer(tiny, "span-corruption", seed=0)
        text = [Sentence(tuple(word for sentence in TEXT[:20] for word in sentence.words))]
        examples, targets = model.examples(text, 0.15, 4096, seed=0)
        sentinels = set(sentinel_ids(model.tokenizer))
        spans: dict[int, list[int]] = {}
        for i in targets[0][:-1]:
            if i in sentinels:
                spans[i] = []
            else:
                spans[list(spans)[-1]].append(i)
        restored = [i for piece in examples[0].input_ids for i in spans.get(piece, [piece])]
        assert restored == model.tokenizer(" ".join(text[0].words))["input_ids"]
        left_out = sum(map(len, spans.values()))
        assert left_out == round(0.15 * (len(restored) - 1)) and len(spans) == round(left_out / 3)
        assert examples[0].slots == [0, *targets[0][:-1]]

    @given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.floats(0.01, 0.99), st.integers(0, 99))
    @settings(deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_no_sentinel_of_span_corruption_stands_first_or_beside_another(self, corrupting, sizes, masked, seed):
        words = [word for sentence in TEXT for word in sentence.words]
        text = [Sentence(tuple(words[:size])) for size in sizes]
        sentinels = set(sentinel_ids(corrupting.tokenizer))
        for example, wanted in zip(*corrupting.examples(text, masked, 256, seed), strict=True):
            read = [i in sentinels for i in example.input_ids[:-1]]
            written = [i in sentinels for i in wanted[:-1]]
            whole = len(read) + len(written) - 2 * sum(read)
            assert 1 <= sum(read) == sum(written) and len(written) - sum(written) == min(max(1, round(whole * masked)), max(whole - 1, 1))
            assert not any(a and b for a, b in pairwise([True, *read])) or whole == 1
            assert not any(a and b for a, b in pairwise([*written, True]))

    def test_masked_words_of_an_encoder(self, e5):
        model = pretrainer(e5, "masked-lm", seed=0)
        examples, targets = model.examples(TEXT[:8], 0.15, 64, seed=0)
        masked = [example.input_ids[position] for example in examples for position in example.slots]
        assert 0.6 < masked.count(model.tokenizer.mask_token_id) / len(masked) <= 1
        whole = new_tagger(e5, "encoder", TAGS, seed=0).windows(TEXT[:8], 64)
        for example, wanted, window in zip(examples, targets, whole, strict=True):
            assert [window.input_ids[position] for position in example.slots] == wanted
        losses = fit(model, examples, targets, 2, 1e-4, batch_size=4)
        assert np.isfinite(losses).all()

    def test_an_encoder_cannot_be_denoised(self, e5):
        with pytest.raises(ModelError, match="'denoise', which needs the decoder"):
            pretrainer(e5, "denoise", seed=0)
