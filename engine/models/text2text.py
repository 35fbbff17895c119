"""mT5 as it was meant: text in, text out. Trained with teacher forcing, answering by greedy generation with a cache.

What the texts are is in the forms: `engine.models.spans` (tagging), `engine.models.answer` (questions). The output head
is evaluated at the pieces that the model has read and nowhere else, some thousands of mT5's 250,112, of which the full
head would be three quarters of the work.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel, PreTrainedTokenizerBase

from engine.models.mt5 import encode, head_scale, slot_states
from engine.models.speller import Speller, sentinel_ids
from engine.models.tagger import Tagger
from engine.models.vocabulary import CompactEmbedding
from engine.models.windows import Window

Written = list[int]  # the ids of an answer; the last is the end token, unless the answer was cut off


class Text2Text(Tagger):
    """An encoder-decoder of the T5 family that writes. `marks`: what its form writes around the data's own words.

    `outputs`: the ids that an answer may hold besides those of its own input, so that it depends on no other sentence
    answered with it: those that training has read. None while it is being trained: all that were read.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        tags: Sequence[str],
        checkpoint: str,
        marks: Sequence[str],
    ) -> None:
        self._scale = head_scale(model)
        tied = model.lm_head.weight is model.shared.weight
        head = model.lm_head.weight.detach()
        super().__init__(model, tokenizer, tags, checkpoint, sentinel_ids(tokenizer))
        self.head = None if tied else CompactEmbedding(head)
        model.lm_head = None
        self.speller = Speller(tokenizer, self._subwords, marks)
        self.outputs: Tensor | None = None
        self.end: int = tokenizer.eos_token_id
        self.cover(torch.tensor([self.end, *(i for ids in self.speller.ids.values() for i in ids)]))

    def cover(self, ids: Tensor) -> None:
        """Hold the rows of some ids, of the embeddings and of the head. To be done before an optimizer is made."""
        super().cover(ids)
        if self.head is not None:
            self.head.cover(self.vocabulary.ids)

    def teach(self, windows: Sequence[Window], answers: Sequence[Sequence[int]]) -> tuple[list[Window], list[list[int]]]:
        """Return windows whose slots are the decoder's input, the answer behind a start token (the padding, as in T5), and
        what is asked for at each: the answer and its end, as places among the rows held.
        """
        self.cover(torch.tensor([i for ids in answers for i in ids], dtype=torch.int64))
        start, places = self.tokenizer.pad_token_id, self.vocabulary.place.tolist()
        examples = [replace(window, slots=[start, *ids]) for window, ids in zip(windows, answers, strict=True)]
        return examples, [[places[i] for i in (*ids, self.end)] for ids in answers]

    def forward(self, input_ids: Tensor, attention_mask: Tensor, slots: Tensor) -> Tensor:
        """Return logits (B, W, n) float32 over the n rows held, for input ids (B, T), their mask (B, T), answers (B, W)."""
        return self.logits(slot_states(self.model, input_ids, attention_mask, slots), self.rows())

    def rows(self) -> Tensor:
        """Return the output's rows (n, d): of the pieces held, in the order of `vocabulary.ids`."""
        head = self.vocabulary if self.head is None else self.head
        return head(self.vocabulary.ids)  # called, and not its weight taken, which ZeRO 3 may hold in parts

    def logits(self, states: Tensor, rows: Tensor) -> Tensor:
        """Return logits (..., n) float32 for the decoder's last states (..., d) and `rows()`, which costs mT5 a copy."""
        return F.linear(states * self._scale, rows).float()

    def generate(self, input_ids: Tensor, attention_mask: Tensor, limits: Sequence[int]) -> list[Written]:
        """Return each row's answer, greedily, of at most as many ids as its limit. Rows that have ended leave the batch."""
        encoded, mask = encode(self.model, input_ids, attention_mask), attention_mask
        forbidden, outputs = self._forbidden(input_ids), self.rows()
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        answers: list[Written] = [[] for _ in limits]
        rows = list(range(len(limits)))
        last = input_ids.new_full((len(rows), 1), self.tokenizer.pad_token_id)
        while rows:
            states = self.model.decoder(
                input_ids=last, encoder_hidden_states=encoded, encoder_attention_mask=mask, past_key_values=cache,
                use_cache=True,
            ).last_hidden_state  # fmt: skip
            last = self.vocabulary.ids[self.logits(states, outputs).masked_fill(forbidden[:, None], -torch.inf).argmax(-1)]
            for row, i in zip(rows, last[:, 0].tolist(), strict=True):
                answers[row].append(i)
            left = [n for n, row in enumerate(rows) if answers[row][-1] != self.end and len(answers[row]) < limits[row]]
            if len(left) < len(rows):
                rows = [rows[n] for n in left]
                kept = torch.tensor(left, device=last.device, dtype=torch.int64)
                last, encoded, mask, forbidden = last[kept], encoded[kept], mask[kept], forbidden[kept]
                cache.batch_select_indices(kept)
        return answers

    def limit(self, window: Window) -> int:
        """The most ids of its answer."""
        raise NotImplementedError

    def _forbidden(self, input_ids: Tensor) -> Tensor:
        """(B, n): the rows held that are neither in `outputs` nor in the row's own input; the padding in any case."""
        forbidden = torch.zeros(len(input_ids), len(self.vocabulary.ids), dtype=torch.bool, device=input_ids.device)
        if self.outputs is not None:
            forbidden[:] = True
            forbidden[:, self.vocabulary.place[self.outputs.to(input_ids.device)]] = False
            forbidden.scatter_(1, self.vocabulary.place[input_ids], False)
        forbidden[:, self.vocabulary.place[self.tokenizer.pad_token_id]] = True
        return forbidden
