"""Loading: a pretrained checkpoint as a tagger that is to be trained. One that was trained: `engine.models.saved`.

A checkpoint is a folder in Hugging Face format or a hub id, "name" or "name@revision". Weights come as float32, whatever
they were stored as, from safetensors files only, and no code of a checkpoint's own is run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.activations import NewGELUActivation
from transformers.utils import logging

from engine.errors import ModelError
from engine.models.answer import Answerer
from engine.models.encoder import EncoderTagger
from engine.models.mt5 import SlotTagger
from engine.models.sentinel import SentinelTagger
from engine.models.spans import SpanWriter
from engine.models.tagger import T5_TYPES, Tagger

ENCODER_DECODERS: dict[str, type[Tagger]] = {
    "slots": SlotTagger, "sentinel": SentinelTagger, "spans": SpanWriter, "text": Answerer,
}  # fmt: skip
NEEDED = {
    "configuration": ("config.json",),
    "weights": ("model.safetensors", "model.safetensors.index.json"),
    "vocabulary": ("tokenizer.json", "spiece.model", "sentencepiece.bpe.model", "vocab.txt"),
}


def new_tagger(checkpoint: str, form: str, tags: Sequence[str], seed: int) -> Tagger:
    """Return a tagger that starts from a pretrained checkpoint; what is new in it is drawn from `seed`.

    Raises ModelError where the checkpoint cannot be had, is incomplete, or cannot serve the form.
    """
    tagger = original(checkpoint, form, tuple(tags)).copy()
    if isinstance(tagger, EncoderTagger):
        _draw_head(tagger.model, seed)
    return tagger


@lru_cache(maxsize=1)
def original(checkpoint: str, form: str, tags: tuple[str, ...]) -> Tagger:
    """Return the checkpoint as a tagger, with zeros for what is new in it. To be copied, never to be trained.

    A worker keeps the last one: from a copy a cell starts in a tenth of the time that loading takes.
    """
    kind = model_type(checkpoint)
    if form in ENCODER_DECODERS:
        if kind not in T5_TYPES:
            raise ModelError(
                f"model {checkpoint!r} ({kind}) cannot serve the form {form!r}, which needs an encoder-decoder with "
                f"sentinels ({', '.join(T5_TYPES)}). Use the form 'encoder', or an mT5 checkpoint."
            )
        return ENCODER_DECODERS[form](*load_for(checkpoint, form, tags), tags, checkpoint)
    if form != "encoder":
        raise ModelError(f"form {form!r}: there are {', '.join((*ENCODER_DECODERS, 'encoder'))}.")
    model, tokenizer = load_for(checkpoint, form, tags)
    for parameter in model.classifier.parameters():
        nn.init.zeros_(parameter)
    return EncoderTagger(model, tokenizer, tags, checkpoint)


def load_for(checkpoint: str, form: str, tags: Sequence[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a checkpoint's whole model in the class that serves the form, and its tokenizer; as `load_model`."""
    if form in ENCODER_DECODERS:
        return load_model(checkpoint, AutoModelForSeq2SeqLM)
    labels = dict(enumerate(tags))
    return load_model(
        checkpoint, AutoModelForTokenClassification, num_labels=len(labels), id2label=labels,
        label2id={tag: index for index, tag in labels.items()},
        ignore_mismatched_sizes=True,  # a head that the checkpoint has is of another task, maybe of another size
    )  # fmt: skip


def load_model(checkpoint: str, auto_class: Any, **settings: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a checkpoint's model, made by a transformers auto class, and its tokenizer, in float32 on the CPU.

    Raises ModelError where the checkpoint cannot be had or is incomplete.
    """
    name, revision = _locate(checkpoint)
    try:
        with _quiet():
            kind = AutoConfig.from_pretrained(name, revision=revision).model_type
            if kind in T5_TYPES and not torch.cuda.is_available():
                settings["attn_implementation"] = "eager"  # no fused one takes T5's bias on a CPU; this is the faster
            model = auto_class.from_pretrained(
                name, revision=revision, dtype=torch.float32, use_safetensors=True, **settings
            )
            tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"model {checkpoint!r} could not be loaded: {error}") from error
    fuse_activations(model)
    return model, tokenizer


def load_tokenizer(checkpoint: str) -> PreTrainedTokenizerBase:
    """Return a checkpoint's tokenizer alone. Raises ModelError where it cannot be had."""
    name, revision = _locate(checkpoint)
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        raise ModelError(f"model {checkpoint!r}: its tokenizer could not be loaded: {error}") from error


def model_type(checkpoint: str) -> str:
    """Return a checkpoint's architecture, such as "mt5" or "xlm-roberta". Raises ModelError where it cannot be had."""
    name, revision = _locate(checkpoint)
    try:
        return AutoConfig.from_pretrained(name, revision=revision).model_type
    except (OSError, ValueError) as error:
        raise ModelError(f"model {checkpoint!r} has no readable configuration: {error}") from error


def fuse_activations(model: PreTrainedModel) -> None:
    """Compute mT5's GELU in one kernel. transformers takes eight, and keeps what each puts out for the gradient."""
    for module in model.modules():
        if isinstance(getattr(module, "act", None), NewGELUActivation):
            module.act = nn.GELU(approximate="tanh")


def _draw_head(model: PreTrainedModel, seed: int) -> None:
    """Draw the linear head. T5's states have length sqrt(d), and its default of 1.0 would make a first loss of ~30."""
    head = model.classifier
    std = head.in_features**-0.5 if model.config.model_type in T5_TYPES else model.config.initializer_range
    nn.init.normal_(head.weight, std=std, generator=torch.Generator().manual_seed(seed))


def _locate(checkpoint: str) -> tuple[str, str | None]:
    """Split a hub id from its revision; check that a folder is complete. "main" where no revision is given."""
    folder = Path(checkpoint)
    if folder.is_dir():
        for what, files in NEEDED.items():
            if not any((folder / file).exists() for file in files):
                raise ModelError(f"model folder {checkpoint!r} has no {what}: it needs {' or '.join(files)}.")
        return checkpoint, None
    if folder.is_absolute() or checkpoint.startswith("."):
        raise ModelError(f"model folder {checkpoint!r} does not exist.")
    name, _, revision = checkpoint.partition("@")
    return name, revision or "main"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' warnings of weights that a form leaves out or adds, which is what forms do."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
