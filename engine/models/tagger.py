"""What both forms of tagger share: a model, its tokenizer, its tags, and how they are frozen and saved.

How a form reads words and answers is in `engine.models.mt5` (slots) and `engine.models.encoder`; loading in
`engine.models.load`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from engine.data.sentences import Sentence
from engine.errors import ModelError
from engine.models.windows import Window

SETTINGS = "tagger.json"  # beside the model's own files: the tagger's form and tags
T5_TYPES = ("mt5", "t5", "umt5")  # the model types of one architecture: encoder-decoders with sentinels
logging.disable_progress_bar()  # one for each of a study's hundred loads and saves


class Tagger(nn.Module):
    """A model that gives each word of a sentence a distribution over `tags`."""

    form: ClassVar[str]

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tags: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.tags = tuple(tags)

    def windows(self, sentences: Sequence[Sentence], max_tokens: int) -> list[Window]:
        """Return the windows of the sentences, in order, of at most `max_tokens` input ids each."""
        raise NotImplementedError

    def forward(self, input_ids: Tensor, attention_mask: Tensor, slots: Tensor) -> Tensor:
        """Return logits (B, W, K) float32 for input ids (B, T), their mask (B, T) and slots (B, W), padded with -1."""
        raise NotImplementedError

    def freeze(self, embeddings: bool, layers: int) -> None:
        """Keep the embeddings as they are, or the encoder's bottom `layers` together with them (Wu et al. 2020).

        Raises ModelError where the encoder has fewer layers.
        """
        freeze_bottom(self.model, embeddings, layers)

    def save(self, folder: Path) -> None:
        """Write weights and vocabulary in Hugging Face format, and form and tags in `tagger.json`."""
        save_model(self.model, self.tokenizer, folder)
        (folder / SETTINGS).write_text(json.dumps({"form": self.form, "tags": self.tags}, indent=2), "utf-8")


def freeze_bottom(model: PreTrainedModel, embeddings: bool, layers: int) -> None:
    """Take the gradient from the embeddings, or from the encoder's bottom `layers` with them. See `Tagger.freeze`."""
    depth = model.config.num_hidden_layers
    if layers > depth:
        raise ModelError(f"freeze_layers={layers}: the encoder of {model.name_or_path!r} has {depth} layers.")
    # The encoder's layers, whatever the architecture calls them; it stands before a decoder.
    stack = next(part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == depth)
    frozen: list[nn.Module] = list(stack[:layers])
    if embeddings or layers:
        frozen.append(getattr(model.base_model, "embeddings", None) or model.get_input_embeddings())
    for module in frozen:
        module.requires_grad_(False)


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a model and its vocabulary to `folder` in Hugging Face format."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
