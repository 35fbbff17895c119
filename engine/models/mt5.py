"""mT5 as a tagger that fills slots: one sentinel a word, one forward pass, one distribution over the tags a word.

The encoder reads `<x0> Ada <x1> Lovelace ... </s>`, the decoder `<x0> <x1> ...` alone, with no start token and no
generation; at each sentinel the output head is evaluated at the tags' own pieces and nowhere else (the full head,
250,112 rows, would be three quarters of the work). The format is that of Raman et al. 2022, who generate the answer.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.data.examples import Pair
from engine.data.sentences import Sentence
from engine.errors import ModelError
from engine.models.speller import Speller, sentinel_ids
from engine.models.tagger import Tagger
from engine.models.two_texts import joined
from engine.models.windows import Window, make_windows
from engine.tasks import nli

PREMISE, HYPOTHESIS = "xnli: premise:", "hypothesis:"  # as in engine.tasks.nli.text

# What stands for a tag where the vocabulary has no piece of the tag's own, such as "<B-PER>". All are single pieces of
# mT5's vocabulary; the capital marks the beginning of a name.
WORDS = {
    "O": "▁O",
    "B-PER": "▁Person",
    "I-PER": "▁person",
    "B-LOC": "▁Location",
    "I-LOC": "▁location",
    "B-ORG": "▁Organization",
    "I-ORG": "▁organization",
} | {label: f"▁{word}" for label, word in nli.WORDS.items()}


class SlotTagger(Tagger):
    """An encoder-decoder of the T5 family that answers with one tag a slot.

    Where the model's output head is tied to its embeddings (the tiny model), the tags' rows of the embeddings are
    used, scaled by d_model**-0.5 as in T5. Where it is not (mT5's checkpoints), those rows become a small weight of
    their own: the other 250,000 are never used, and need neither a gradient nor an optimizer's state.

    Raises ModelError where the vocabulary has no sentinels or too few pieces for the tags.
    """

    form = "slots"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tags: Sequence[str], checkpoint: str
    ) -> None:
        self.sentinels = sentinel_ids(tokenizer)
        self.tag_ids = tag_piece_ids(tokenizer, tags)
        self._scale = head_scale(model)
        head, tied = model.lm_head.weight, model.lm_head.weight is model.shared.weight
        super().__init__(model, tokenizer, tags, checkpoint, self.sentinels)
        self.head = None if tied else nn.Parameter(head.detach()[self.tag_ids].clone())
        self.vocabulary.cover(torch.tensor(self.tag_ids))
        model.lm_head = None

    def _windows(self, sentences: Sequence[Sentence], max_tokens: int) -> list[Window]:
        after = [self.tokenizer.eos_token_id]
        return make_windows(sentences, self._subwords, max_tokens, after=after, sentinels=self.sentinels)

    def _pairs(self, pairs: Sequence[Pair], max_tokens: int) -> list[Window]:
        """The slot is the decoder's start token: the answer's first piece is all that is looked at, and it is a label."""
        marks = Speller(self.tokenizer, self._subwords, (PREMISE, HYPOTHESIS)).ids
        texts = [(pair.premise, pair.hypothesis) for pair in pairs]
        around = marks[PREMISE], marks[HYPOTHESIS], [self.tokenizer.eos_token_id]
        return joined(texts, self._subwords, max_tokens, around, self.tokenizer.pad_token_id)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, slots: Tensor) -> Tensor:
        """Return logits (B, W, K) float32 for input ids (B, T), their mask (B, T) and sentinels (B, W), -1 padded."""
        return self.logits(slot_states(self.model, input_ids, attention_mask, slots))

    def logits(self, states: Tensor) -> Tensor:
        """Return the tags' logits (..., K) float32 for the decoder's last states (..., d)."""
        rows = self.vocabulary(torch.tensor(self.tag_ids, device=states.device)) if self.head is None else self.head
        return F.linear(states * self._scale, rows).float()


def slot_states(model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, slots: Tensor) -> Tensor:
    """Return the decoder's last states (B, W, d) for the ids `slots` (B, W), -1 padded.

    The padding stands at the end and the decoder looks back only, so it needs no mask. Raises ModelError for float16
    weights.
    """
    return model.decoder(
        input_ids=slots.clamp(min=0),
        encoder_hidden_states=encode(model, input_ids, attention_mask),
        encoder_attention_mask=attention_mask,
        use_cache=False,
    ).last_hidden_state


def encode(model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Return the encoder's last states (B, T, d). Raises ModelError for float16 weights."""
    if model.dtype == torch.float16:
        raise ModelError("mT5 overflows to NaN in float16. Use float32, or bfloat16 on a GPU.")
    return model.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def head_scale(model: PreTrainedModel) -> float:
    """What T5 multiplies the decoder's states with before a head that is tied to the embeddings.

    The configuration cannot be asked whether it is: transformers 5 says so of every mT5.
    """
    return model.config.d_model**-0.5 if model.lm_head.weight is model.shared.weight else 1.0


def tag_piece_ids(tokenizer: PreTrainedTokenizerBase, tags: Sequence[str]) -> list[int]:
    """Return one vocabulary id a tag, all different: the piece that stands for it.

    That is the tag's own piece ("<B-PER>"), else its word in `WORDS`, else its type as a word ("▁Misc" for B-MISC,
    "▁misc" for I-MISC), else the first one-letter piece, from "▁A" to "▁z", that no tag has. Raises ModelError where
    there are none left.
    """
    vocabulary = tokenizer.get_vocab()
    letters = [f"▁{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"]
    taken: list[int] = []
    for tag in tags:
        mark, _, kind = tag.partition("-")
        word = f"▁{kind.capitalize() if mark == 'B' else kind.lower()}"
        for piece in (f"<{tag}>", WORDS.get(tag, word), *letters):
            if vocabulary.get(piece, tokenizer.unk_token_id) not in (tokenizer.unk_token_id, *taken):
                taken.append(vocabulary[piece])
                break
        else:
            raise ModelError(f"the vocabulary of {tokenizer.name_or_path!r} has no piece left for the tag {tag!r}.")
    return taken
