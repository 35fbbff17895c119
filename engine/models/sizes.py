"""What a model is, known before anything is loaded: its family, natural form, size, and the hash of its weights.

No torch here: the plan asks these questions.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ModelError, did_you_mean
from engine.spec import Checkpoint

TINY = "tiny"
TINY_CHECKPOINT = Checkpoint(TINY, "1")  # raise the version when engine.models.tiny makes another model


@dataclass(frozen=True)
class Size:
    """A model's family ("mt5", "encoder" or "tiny") and its parameters, in units, without embeddings.

    `decoder` counts the decoder's share of `body`, which the encoder form leaves out.
    """

    family: str
    body: int
    decoder: int

    @property
    def form(self) -> str:
        """The form a study gets where it names none."""
        return "encoder" if self.family == "encoder" else "slots"


def _mt5(d_model: int, d_ff: int, heads: int, layers: int, d_kv: int = 64) -> Size:
    attention, feed_forward = 4 * d_model * heads * d_kv, 3 * d_model * d_ff
    decoder = layers * (2 * attention + feed_forward)
    return Size("mt5", layers * (attention + feed_forward) + decoder, decoder)


def _encoder(d_model: int, d_ff: int, layers: int) -> Size:
    return Size("encoder", layers * (4 * d_model**2 + 2 * d_model * d_ff), 0)


KNOWN = {
    TINY: Size("tiny", body=90_000, decoder=40_000),
    "google/mt5-small": _mt5(512, 1024, 6, 8),
    "google/mt5-base": _mt5(768, 2048, 12, 12),
    "google/mt5-large": _mt5(1024, 2816, 16, 24),
    "google/mt5-xl": _mt5(2048, 5120, 32, 24),
    "google/mt5-xxl": _mt5(4096, 10240, 64, 24),
    "google-bert/bert-base-multilingual-cased": _encoder(768, 3072, 12),
    "FacebookAI/xlm-roberta-base": _encoder(768, 3072, 12),
    "FacebookAI/xlm-roberta-large": _encoder(1024, 4096, 24),
}


def describe(name: str) -> Size:
    """Return the size of a known model, of a folder in Hugging Face format, or of a hub id in the local cache.

    Raises ModelError where the folder has no readable config.json or the id is unknown here.
    """
    if name.partition("@")[0] in KNOWN:
        return KNOWN[name.partition("@")[0]]
    config = Path(name) / "config.json" if Path(name).is_dir() else _cached_config(name)
    try:
        values = json.loads(config.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"model {name!r}: {config} cannot be read ({error}). A model folder needs a config.json.") from error
    if values.get("model_type") in ("mt5", "t5", "umt5"):
        return _mt5(values["d_model"], values["d_ff"], values["num_heads"], values["num_layers"], values["d_kv"])
    width = values.get("hidden_size") or values.get("dim", 0)
    depth = values.get("num_hidden_layers") or values.get("n_layers", 0)
    if not width or not depth:
        raise ModelError(f"model {name!r}: {config} tells no hidden_size and num_hidden_layers. Such models are not supported.")
    return _encoder(width, values.get("intermediate_size", 4 * width), depth)


def short_name(name: str) -> str:
    """The model's name in the results table: a folder's own name, a hub id without its revision."""
    return Path(name).resolve().name if Path(name).is_dir() else name.partition("@")[0]


def checkpoint(name: str) -> Checkpoint:
    """Return what identifies the model: its short name, and what fixes its weights. Reads a folder's files whole.

    That is a SHA-256 over the folder's files, or the revision of a hub id ("google/mt5-base@<revision>", "main" where
    none is given: pin it, for "main" may move).
    """
    if name == TINY:
        return TINY_CHECKPOINT
    folder = Path(name)
    if not folder.is_dir():
        return Checkpoint(short_name(name), name.partition("@")[2] or "main")
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in (".json", ".model", ".safetensors", ".txt"):
            digest.update(file.name.encode())
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return Checkpoint(short_name(name), digest.hexdigest()[:16])


def _cached_config(name: str) -> Path:
    """The config.json of a hub id, downloaded if it is not at hand. Other code never guesses what a model is."""
    from huggingface_hub import hf_hub_download

    hub_id, _, revision = name.partition("@")
    try:
        return Path(hf_hub_download(hub_id, "config.json", revision=revision or None))
    except Exception as error:  # the hub raises many kinds; all mean that the model cannot be had
        raise ModelError(
            f"model {name!r} is neither a folder nor a known model, and its config.json could not be fetched "
            f"({type(error).__name__}).{did_you_mean(name, KNOWN)} Give a folder in Hugging Face format, or one of: "
            f"{', '.join(KNOWN)}."
        ) from error
