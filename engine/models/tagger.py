"""What all forms of tagger share: a model, its tokenizer, its tags, and how they read, are frozen and copied.

How a form reads words and answers is in `engine.models.mt5` (slots), `engine.models.sentinel` and
`engine.models.encoder`; loading in `engine.models.load`, saving in `engine.models.saved`.
"""

from collections.abc import Sequence
from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from engine.data.examples import Pair
from engine.data.sentences import Sentence
from engine.errors import ModelError
from engine.models.vocabulary import CompactEmbedding
from engine.models.windows import Subwords, Window

T5_TYPES = ("mt5", "t5", "umt5")  # the model types of one architecture: encoder-decoders with sentinels
logging.disable_progress_bar()  # one for each of a study's hundred loads and saves


class Tagger(nn.Module):
    """A model that gives each word of a sentence, or a pair of sentences, a distribution over `tags`.

    Forms that write text (`engine.models.text2text`) share all but that.

    `checkpoint`: the folder or hub id that the model is from. Its embeddings become a `CompactEmbedding`, which holds
    the pieces of the sentences that `windows` has read.
    """

    form: ClassVar[str]

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        tags: Sequence[str],
        checkpoint: str,
        reserved: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.tags = tuple(tags)
        self.checkpoint = checkpoint
        self._subwords = Subwords(tokenizer, reserved)
        model.set_input_embeddings(CompactEmbedding(model.get_input_embeddings().weight.detach()))
        self.vocabulary.cover(torch.tensor([0, tokenizer.pad_token_id, *reserved]))  # 0: what pads the slots

    @property
    def vocabulary(self) -> CompactEmbedding:
        """The model's embeddings."""
        return self.model.get_input_embeddings()

    def windows(self, sentences: Sequence[Any], max_tokens: int) -> list[Window]:
        """Return the windows of sentences, pairs or questions, in order, of at most `max_tokens` ids each; add their pieces' rows.

        To be called before the optimizer is made, for the embeddings may grow.
        """
        make = self._pairs if sentences and isinstance(sentences[0], Pair) else self._windows
        windows = make(sentences, max_tokens)
        self.cover(torch.tensor(list(chain.from_iterable(window.input_ids for window in windows))))
        return windows

    def cover(self, ids: Tensor) -> None:
        """Hold the embeddings of some ids. To be done before an optimizer is made."""
        self.vocabulary.cover(ids)

    def _windows(self, sentences: Sequence[Sentence], max_tokens: int) -> list[Window]:
        raise NotImplementedError

    def _pairs(self, pairs: Sequence[Pair], max_tokens: int) -> list[Window]:
        """The windows of pairs, each with one slot, in the forms that serve NLI."""
        raise NotImplementedError

    def forward(self, input_ids: Tensor, attention_mask: Tensor, slots: Tensor) -> Tensor:
        """Return logits (B, W, K) float32 for input ids (B, T), their mask (B, T) and slots (B, W), padded with -1."""
        raise NotImplementedError

    def answer(self, input_ids: Tensor, attention_mask: Tensor, slots: Tensor) -> Tensor:
        """Return the logits for prediction, as `forward`; a form that generates its answer does so here."""
        return self(input_ids, attention_mask, slots)

    def examples(
        self, sentences: Sequence[Any], labels: Sequence[Sequence[int] | np.ndarray], max_tokens: int
    ) -> tuple[Sequence[Window], Sequence[Sequence[int] | np.ndarray]]:
        """Return the windows for training, and for each what its slots ask for.

        `labels`: for each sentence its words' tags, as places in `tags`, or float32 (words, K) probabilities.
        """
        windows = self.windows(sentences, max_tokens)
        targets = [labels[w.sentence][w.start : w.start + len(w.slots)] for w in windows]
        return self.with_answers(windows, targets), targets

    def with_answers(self, windows: Sequence[Window], targets: Sequence[Sequence[int] | np.ndarray]) -> Sequence[Window]:
        """Return the windows for training; a form that generates its answer puts the right one in for teacher forcing."""
        return windows

    def copy(self) -> Self:
        """Return a tagger with weights of its own; the tokenizer and the words it knows are shared."""
        return deepcopy(self, {id(part): part for part in (self.tokenizer, self._subwords)})

    def freeze(self, embeddings: bool, layers: int) -> None:
        """Keep the embeddings as they are, or the encoder's bottom `layers` together with them (Wu et al. 2020).

        Raises ModelError where the encoder has fewer layers.
        """
        freeze_bottom(self.model, embeddings, layers)


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
