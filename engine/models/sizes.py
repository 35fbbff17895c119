"""What a model is, known before anything is loaded: its family, natural form, size, and the hash of its weights.

No torch here: the plan asks these questions.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.errors import ModelError, did_you_mean
from engine.spec import Checkpoint

TINY = "tiny"
TINY_CHECKPOINT = Checkpoint(TINY, "1")  # raise the version when engine.models.tiny makes another model


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model's family ("mt5", "encoder" or "tiny") and its shape.

    `layers`: of the encoder. `inner`: width of all heads together. `feed_forwards`: matrices of a feed-forward part, 3
    where it is gated. `vocabulary`: pieces of the checkpoint as it is published. `positions`: the longest input, in
    subwords; None where positions are relative and any length goes.
    """

    family: str
    width: int
    feed_forward: int
    heads: int
    inner: int
    layers: int
    decoder_layers: int
    vocabulary: int
    feed_forwards: int
    positions: int | None = None

    @property
    def form(self) -> str:
        """The form a study gets where it names none."""
        return "encoder" if self.family == "encoder" else "slots"

    @cached_property
    def body(self) -> int:
        """Weights of the matrices, without the embeddings and the output head."""
        return self.layers * (self.attention + self.dense) + self.decoder

    @cached_property
    def decoder(self) -> int:
        """The decoder's share of `body`, which the encoder form leaves out."""
        return self.decoder_layers * (2 * self.attention + self.dense)

    @property
    def attention(self) -> int:
        """Weights of one attention: queries, keys, values and output."""
        return 4 * self.width * self.inner

    @property
    def dense(self) -> int:
        """Weights of one feed-forward part."""
        return self.feed_forwards * self.width * self.feed_forward


def _mt5(width: int, feed_forward: int, heads: int, layers: int) -> Size:
    return Size(
        family="mt5", width=width, feed_forward=feed_forward, heads=heads, inner=64 * heads, layers=layers,
        decoder_layers=layers, vocabulary=250_112, feed_forwards=3,
    )  # fmt: skip


def _encoder(width: int, feed_forward: int, heads: int, layers: int, vocabulary: int, positions: int | None = 512) -> Size:
    return Size(
        family="encoder", width=width, feed_forward=feed_forward, heads=heads, inner=width, layers=layers,
        decoder_layers=0, vocabulary=vocabulary, feed_forwards=2, positions=positions,
    )  # fmt: skip


def _nllb(width: int, feed_forward: int, layers: int) -> Size:
    return Size(
        family="nllb", width=width, feed_forward=feed_forward, heads=16, inner=width, layers=layers, decoder_layers=layers,
        vocabulary=256_206, feed_forwards=2,
    )  # fmt: skip


KNOWN = {
    TINY: Size(
        family="tiny", width=64, feed_forward=128, heads=4, inner=64, layers=2, decoder_layers=1, vocabulary=1_600,
        feed_forwards=2,
    ),
    "google/mt5-small": _mt5(512, 1024, 6, 8),
    "google/mt5-base": _mt5(768, 2048, 12, 12),
    "google/mt5-large": _mt5(1024, 2816, 16, 24),
    "google/mt5-xl": _mt5(2048, 5120, 32, 24),
    "google/mt5-xxl": _mt5(4096, 10240, 64, 24),
    "google-bert/bert-base-multilingual-cased": _encoder(768, 3072, 12, 12, 119_547),
    "FacebookAI/xlm-roberta-base": _encoder(768, 3072, 12, 12, 250_002),
    "FacebookAI/xlm-roberta-large": _encoder(1024, 4096, 16, 24, 250_002),
}  # fmt: skip


TRANSLATORS = {
    "facebook/nllb-200-distilled-600M": _nllb(1024, 4096, 12),
    "facebook/nllb-200-distilled-1.3B": _nllb(1024, 8192, 24),
    "facebook/nllb-200-1.3B": _nllb(1024, 8192, 24),
    "facebook/nllb-200-3.3B": _nllb(2048, 8192, 24),
}


def describe_translator(name: str) -> Size:
    """Return the size of a translation model; of one that is not known here the smallest NLLB's, for an estimate of cost."""
    return TRANSLATORS.get(name.partition("@")[0], TRANSLATORS["facebook/nllb-200-distilled-600M"])


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
    size = from_config(values)
    if size is None:
        raise ModelError(f"model {name!r}: {config} tells no hidden_size and num_hidden_layers. Such models are not supported.")
    return size


def fills_masks(name: str) -> bool:
    """Whether a model was saved with what fills in masked text, as far as its config.json tells: a sentence encoder was not."""
    if name.partition("@")[0] in KNOWN:
        return True
    config = Path(name) / "config.json" if Path(name).is_dir() else _cached_config(name)
    saved = json.loads(config.read_text("utf-8")).get("architectures") or ()
    return not saved or any(kind.endswith(("ForMaskedLM", "ForPreTraining", "ForConditionalGeneration")) for kind in saved)


def from_config(values: Mapping[str, Any]) -> Size | None:
    """Return the size that a Hugging Face configuration tells, or None where it tells no width or depth."""
    if values.get("model_type") in ("mt5", "t5", "umt5"):
        layers = values["num_layers"]
        return Size(
            family="mt5", width=values["d_model"], feed_forward=values["d_ff"], heads=values["num_heads"],
            inner=values["num_heads"] * values["d_kv"], layers=layers,
            decoder_layers=values.get("num_decoder_layers") or layers, vocabulary=values["vocab_size"],
            feed_forwards=3 if "gated" in values.get("feed_forward_proj", "relu") else 2,
        )  # fmt: skip
    width = values.get("hidden_size") or values.get("dim", 0)
    depth = values.get("num_hidden_layers") or values.get("n_layers", 0)
    heads = values.get("num_attention_heads") or values.get("n_heads", 1)
    feed_forward = values.get("intermediate_size") or values.get("hidden_dim") or 4 * width
    return _encoder(width, feed_forward, heads, depth, values.get("vocab_size", 0), _positions(values)) if width and depth else None


def _positions(values: Mapping[str, Any]) -> int | None:
    """The places of a configuration, where it tells. RoBERTa and its kin count from the one behind the padding's id."""
    places = values.get("max_position_embeddings")
    counted_on = places and "roberta" in values.get("model_type", "")
    return places - values.get("pad_token_id", 1) - 1 if counted_on else places


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
