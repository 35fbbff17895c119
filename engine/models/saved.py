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

SETTINGS = "tagger.json"
CHANGES = "changes.safetensors"
STAMPED = 1_000  # numbers of each weight that tell one checkpoint from another
IDS, ROWS = "vocabulary.ids", "vocabulary.rows"  # beside the parameters by name


def save_tagger(tagger: Tagger, folder: Path) -> None:
    """Write form, tags and changed weights to `folder`, of which some thousand rows may be embeddings."""
    folder.mkdir(parents=True, exist_ok=True)
    before = original(tagger.checkpoint, tagger.form, tagger.tags)
    weights = _weights(before)
    changes = {name: value for name, value in _weights(tagger).items() if not torch.equal(value, weights[name].to(value))}
    changes[IDS], changes[ROWS] = tagger.vocabulary.changed()
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
    weights, vocabulary = _weights(tagger), tagger.vocabulary
    ids, rows = changes.pop(IDS), changes.pop(ROWS)
    vocabulary.cover(ids)
    with torch.no_grad():
        vocabulary.weight[vocabulary.place[ids]] = rows
        for name, value in changes.items():
            weights[name].copy_(value)
    return tagger


def export(folder: Path, checkpoint: str, out: Path) -> None:
    """Write the tagger saved in `folder` to `out` as a whole model in Hugging Face format, vocabulary included."""
    tagger = load_tagger(folder, checkpoint)
    model, tokenizer = load_for(checkpoint, tagger.form, tagger.tags)
    ids, rows = tagger.vocabulary.changed()
    with torch.no_grad():
        for name, value in _weights(tagger).items():
            if name.startswith("model."):
                model.get_parameter(name.removeprefix("model.")).copy_(value)
        model.get_input_embeddings().weight[ids] = rows
        if isinstance(tagger, SlotTagger) and tagger.head is not None:
            model.lm_head.weight[tagger.tag_ids] = tagger.head
    save_model(model, tokenizer, out)


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
    """The parameters by name, without the embeddings."""
    return {name: value.detach() for name, value in tagger.named_parameters() if value is not tagger.vocabulary.weight}
