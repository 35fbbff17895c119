"""A checkpoint as the hub holds google/mt5-small, with random weights: real size, real vocabulary, untied head."""

import gc
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import MT5Config, MT5ForConditionalGeneration

from engine.data.sentences import Sentence
from engine.models.load import new_tagger
from engine.models.mt5 import SlotTagger
from engine.models.predict import probabilities
from engine.models.saved import export, load_tagger, save_tagger
from engine.spec import Training
from engine.tasks.ner import tag_set
from engine.train.loop import PlainBackend
from engine.train.losses import cross_entropy
from engine.train.tagging import fit

# https://huggingface.co/google/mt5-small/blob/main/config.json
CONFIG = {
    "architectures": ["MT5ForConditionalGeneration"], "d_ff": 1024, "d_kv": 64, "d_model": 512,
    "decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1, "feed_forward_proj": "gated-gelu",
    "initializer_factor": 1.0, "is_encoder_decoder": True, "layer_norm_epsilon": 1e-06, "model_type": "mt5",
    "num_decoder_layers": 8, "num_heads": 6, "num_layers": 8, "pad_token_id": 0,
    "relative_attention_num_buckets": 32, "tie_word_embeddings": False, "tokenizer_class": "T5Tokenizer",
    "use_cache": True, "vocab_size": 250112,
}  # fmt: skip
TAGS = tag_set(("DATE", "LOC", "MISC", "ORG", "PER"))
LABELS = [[9, 10, 0, 3, 0], [0, 0]]
TEXT = [Sentence(("Ada", "Lovelace", "alizaliwa", "London", ".")), Sentence(("你好", "世界"))]


@pytest.fixture(scope="module")
def hub_folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mt5-small")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MT5ForConditionalGeneration(MT5Config(**CONFIG))
        model.lm_head.weight = torch.nn.Parameter(torch.randn(250112, 512))
    model.save_pretrained(folder)
    for file in (shared / "models" / "mt5-tokenizer").iterdir():
        shutil.copy(file, folder)
    (folder / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    return folder


def test_mt5_small_learns_saves_and_loads(hub_folder: Path, tmp_path: Path):
    tagger = new_tagger(str(hub_folder), "slots", TAGS, seed=0)
    assert isinstance(tagger, SlotTagger)
    pieces = tagger.tokenizer.convert_ids_to_tokens

    assert tagger.sentinels == list(range(250_099, 249_999, -1))
    assert pieces(tagger.sentinels) == [f"▁<extra_id_{number}>" for number in range(100)]
    assert pieces(tagger.tag_ids) == [
        "▁O", "▁Date", "▁date", "▁Location", "▁location", "▁A", "▁B", "▁Organization", "▁organization",
        "▁Person", "▁person",
    ]  # fmt: skip

    windows = tagger.windows(TEXT, 64)
    assert pieces(windows[0].input_ids)[:4] == ["▁<extra_id_0>", "▁Ada", "▁<extra_id_1>", "▁Love"]
    training = Training(steps=2, batch_size=2, learning_rate=1e-3, weight_decay=0.0)
    losses = fit(tagger, TEXT, LABELS, cross_entropy, training, 0, 0, PlainBackend()).losses
    assert len(losses) == 2 and losses[0] != losses[1]
    touched = set(tagger.vocabulary.changed()[0].tolist())
    assert touched and touched <= {i for window in windows for i in window.input_ids}
    assert sum(parameter.numel() for parameter in tagger.parameters()) < 0.16 * whole_size(hub_folder)

    expected = probabilities(tagger, TEXT, 64, 2)
    save_tagger(tagger, tmp_path / "changes")
    tag_ids = tagger.tag_ids
    del tagger
    gc.collect()

    again = load_tagger(tmp_path / "changes", str(hub_folder))
    for one, other in zip(probabilities(again, TEXT, 64, 2), expected, strict=True):
        assert (one == other).all()

    export(tmp_path / "changes", str(hub_folder), tmp_path / "whole")
    before, after = (load_file(folder / "model.safetensors") for folder in (hub_folder, tmp_path / "whole"))
    changed = (before["lm_head.weight"] != after["lm_head.weight"]).any(-1).nonzero().flatten()
    gold = {tag_ids[tag] for labels in LABELS for tag in labels}
    assert gold <= set(changed.tolist()) <= set(tag_ids)
    assert set((before["shared.weight"] != after["shared.weight"]).any(-1).nonzero().flatten().tolist()) == touched


def whole_size(folder: Path) -> int:
    with safe_open(folder / "model.safetensors", "pt") as file:
        names = file.keys()
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
