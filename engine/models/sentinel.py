"""mT5 as a tagger that writes its answer: the published, autoregressive form (Sentinel+Tag, Raman et al. 2022).

The encoder reads what it reads in `engine.models.mt5`, `<x0> Ada <x1> Lovelace ... </s>`. The decoder writes
`<x0> TAG <x1> TAG ...` from left to right behind a start token (the padding, as in T5), so that a tag sees those before
it. The sentinels are forced and a tag is one of the K tags' pieces, so a step of the decoder is two ids, the last tag
and the next sentinel, and yields one tag.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from engine.models.mt5 import SlotTagger, encode, slot_states
from engine.models.windows import Window


class SentinelTagger(SlotTagger):
    """An encoder-decoder of the T5 family that generates one tag a word. Head, vocabulary and errors: `SlotTagger`."""

    form = "sentinel"

    def with_answers(self, windows: Sequence[Window], targets: Sequence[Sequence[int] | np.ndarray]) -> list[Window]:
        """Return the windows for teacher forcing: each slot holds the id that the decoder reads before the sentinel.

        That is the start token, then the tag of the word before: of soft labels (words, K) the most probable one, as
        the teacher would have written it.
        """
        return [replace(w, slots=self._before(answer)) for w, answer in zip(windows, targets, strict=True)]

    def forward(self, input_ids: Tensor, attention_mask: Tensor, slots: Tensor) -> Tensor:
        """Return logits (B, W, K) float32 for input ids (B, T), their mask (B, T) and, from `with_answers`, slots (B, W).

        One pass of the decoder over all tags but the last.
        """
        sentinels = slots.new_tensor(self.sentinels[: slots.shape[1]]).expand_as(slots)
        answer = torch.stack([slots, sentinels], dim=-1).flatten(1)
        return self.logits(slot_states(self.model, input_ids, attention_mask, answer)[:, 1::2])

    def answer(self, input_ids: Tensor, attention_mask: Tensor, slots: Tensor) -> Tensor:
        """Return logits (B, W, K) float32 along the greedy path, 0 at padding; `slots` (B, W) is -1 there.

        Longest answers first, so that rows that have ended stand last and leave the batch.
        """
        order = (slots >= 0).sum(1).argsort(descending=True, stable=True)
        rows_left = (slots >= 0).sum(0).tolist()
        sentinels, tags = slots.new_tensor(self.sentinels), slots.new_tensor(self.tag_ids)
        encoded, mask = encode(self.model, input_ids[order], attention_mask[order]), attention_mask[order]
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        last = slots.new_full((len(slots),), self.tokenizer.pad_token_id)
        answers = torch.zeros(*slots.shape, len(self.tags), device=slots.device)
        for word, rows in enumerate(rows_left):
            if rows < len(last):
                last, encoded, mask = last[:rows], encoded[:rows], mask[:rows]
                cache.batch_select_indices(slice(rows))
            states = self.model.decoder(
                input_ids=torch.stack([last, sentinels[word].expand(rows)], dim=1),
                encoder_hidden_states=encoded,
                encoder_attention_mask=mask,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            answers[:rows, word] = self.logits(states[:, 1])
            last = tags[answers[:rows, word].argmax(-1)]
        return answers[order.argsort()]

    def _before(self, answer: Sequence[int] | np.ndarray) -> list[int]:
        tags = answer.argmax(-1).tolist() if isinstance(answer, np.ndarray) else answer
        return [self.tokenizer.pad_token_id, *(self.tag_ids[tag] for tag in tags)][:-1]
