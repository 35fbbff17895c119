"""Encoders as taggers: a linear head on each word's first subword, for BERT, XLM-R, mT5's encoder and their kin."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.data.examples import Pair
from engine.data.sentences import Sentence
from engine.models.tagger import Tagger
from engine.models.two_texts import joined, pair_marks
from engine.models.windows import Window, make_windows, special_ids


class EncoderTagger(Tagger):
    """An encoder with a linear head (Devlin et al. 2019). `model`: made by AutoModelForTokenClassification."""

    form = "encoder"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tags: Sequence[str], checkpoint: str
    ) -> None:
        super().__init__(model, tokenizer, tags, checkpoint)
        self._before, self._after = special_ids(tokenizer)

    def _windows(self, sentences: Sequence[Sentence], max_tokens: int) -> list[Window]:
        return make_windows(sentences, self._subwords, max_tokens, self._before, self._after)

    def _pairs(self, pairs: Sequence[Pair], max_tokens: int) -> list[Window]:
        """The slot is the first special token, as in Devlin et al. 2019, or the last, where there is none before a text."""
        marks = pair_marks(self.tokenizer)
        windows = joined([(pair.premise, pair.hypothesis) for pair in pairs], self._subwords, max_tokens, marks, 0)
        return windows if marks[0] else [replace(w, slots=[len(w.input_ids) - 1]) for w in windows]

    def forward(self, input_ids: Tensor, attention_mask: Tensor, slots: Tensor) -> Tensor:
        """Return logits (B, W, K) float32 for input ids (B, T), their mask (B, T) and positions (B, W), -1 padded."""
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return at(logits, slots).float()


def at(values: Tensor, positions: Tensor) -> Tensor:
    """Pick (B, W, D) from `values` (B, T, D) at `positions` (B, W); a padded position, -1, gets the first."""
    index = positions.clamp(min=0)[..., None].expand(-1, -1, values.shape[-1])
    return values.gather(1, index)
