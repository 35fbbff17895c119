"""A trained tagger on disk: what training changed in its checkpoint, and nothing else.

The embeddings' rows and the layers that training left alone stay in the checkpoint, which is there in any case; of mT5's
1.2 GB some 200 MB are left. `export` writes the whole in Hugging Face format.
"""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import ModelError
from engine.models.load import load_for, original
from engine.models.mt5 import SlotTagger
from engine.models.tagger import Tagger, save_model
from engine.models.text2text import Text2Text
from engine.models.vocabulary import CompactEmbedding

SETTINGS = "tagger.json"
CHANGES = "changes.safetensors"
STAMPED = 1_000  # numbers of each weight that tell one checkpoint from another
OUTPUTS = "outputs"  # beside the parameters by name, as are the ids and rows of each vocabulary


def save_tagger(tagger: Tagger, folder: Path) -> None:
    """Write form, tags and changed weights to `folder`, of which some thousand rows may be embeddings."""
    folder.mkdir(parents=True, exist_ok=True)
    before = original(tagger.checkpoint, tagger.form, tagger.tags)
    weights = _weights(before)
    changes = {name: value for name, value in _weights(tagger).items() if not torch.equal(value, weights[name].to(value))}
    for name, vocabulary in _vocabularies(tagger).items():
        changes[f"{name}.ids"], changes[f"{name}.rows"] = vocabulary.changed()
    if isinstance(tagger, Text2Text):
        changes[OUTPUTS] = tagger.vocabulary.ids
    save_file({name: value.cpu().contiguous() for name, value in changes.items()}, folder / CHANGES)
    settings = {"form": tagger.form, "tags": tagger.tags, "checkpoint": _stamp(before)}
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2), "utf-8")


def load_tagger(folder: Path, checkpoint: str) -> Tagger:
    """Return the tagger that was saved in `folder`, which was trained from `checkpoint`.

    Raises ModelError where the folder holds none, or one of another checkpoint.
    """
    try:
        settings = json.loads((folder / SETTINGS).read_text("utf-8"))
        changes = load_file(folder / CHANGES)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{folder} holds no tagger: {error}. Give a folder written by save_tagger().") from error
    before = original(checkpoint, settings["form"], tuple(settings["tags"]))
    if settings.get("checkpoint") != _stamp(before):
        raise ModelError(f"{folder}: its tagger was trained from another checkpoint than {checkpoint!r}. Name that one.")
    tagger = before.copy()
    weights = _weights(tagger)
    if isinstance(tagger, Text2Text):
        tagger.outputs = changes.pop(OUTPUTS)
        tagger.cover(tagger.outputs)
    with torch.no_grad():
        for name, vocabulary in _vocabularies(tagger).items():
            ids, rows = changes.pop(f"{name}.ids"), changes.pop(f"{name}.rows")
            vocabulary.cover(ids)
            vocabulary.weight[vocabulary.place[ids]] = rows
        for name, value in changes.items():
            weights[name].copy_(value)
    return tagger


def export(folder: Path, checkpoint: str, out: Path) -> None:
    """Write the tagger saved in `folder` to `out` as a whole model in Hugging Face format, vocabulary included.

    `tagger.json` there has the form and the tags and, where pieces of the vocabulary stand for these, their ids in the same order.
    """
    tagger = load_tagger(folder, checkpoint)
    model, tokenizer = load_for(checkpoint, tagger.form, tagger.tags)
    with torch.no_grad():
        for name, value in _weights(tagger).items():
            if name.startswith("model."):
                model.get_parameter(name.removeprefix("model.")).copy_(value)
        for name, vocabulary in _vocabularies(tagger).items():
            ids, rows = vocabulary.changed()
            (model.lm_head if name == "head" else model.get_input_embeddings()).weight[ids] = rows
        if isinstance(tagger, SlotTagger) and tagger.head is not None:
            model.lm_head.weight[tagger.tag_ids] = tagger.head
    save_model(model, tokenizer, out)
    ids = {"tag_ids": tagger.tag_ids} if hasattr(tagger, "tag_ids") else {}
    (out / SETTINGS).write_text(json.dumps({"form": tagger.form, "tags": tagger.tags} | ids, indent=2), "utf-8")


def _stamp(before: Tagger) -> str:
    """Stands for an untrained tagger's weights: a hub's name alone may mean others tomorrow, or on another node.

    Of each weight some numbers are read, for to read all of them would take as long as a load.
    """
    found = hashlib.sha256()
    for name, value in [*sorted(_weights(before).items()), ("vocabulary", before.vocabulary.whole())]:
        numbers = value.flatten()
        found.update(f"{name} {tuple(value.shape)}".encode())
        found.update(numbers[:: max(1, len(numbers) // STAMPED)].contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def _weights(tagger: Tagger) -> dict[str, Tensor]:
    """The parameters by name, without the vocabularies."""
    apart = {id(vocabulary.weight) for vocabulary in _vocabularies(tagger).values()}
    return {name: value.detach() for name, value in tagger.named_parameters() if id(value) not in apart}


def _vocabularies(tagger: Tagger) -> dict[str, CompactEmbedding]:
    """The embeddings, and the output head where it is as large."""
    head = getattr(tagger, "head", None)
    return {"vocabulary": tagger.vocabulary} | ({"head": head} if isinstance(head, CompactEmbedding) else {})
