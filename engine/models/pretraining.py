"""Pretraining objectives: examples of unlabeled text and a model that answers them, for `engine.train.loop`.

An example is a window whose slots ask for vocabulary ids, so batches and cross-entropy are those of tagging. The
three objectives differ in what a slot is:

* "span-corruption" is what T5 and mT5 were pretrained with (Raffel et al. 2020, section 3.1.4).
* "masked-lm" is BERT's (Devlin et al. 2019); on an mT5 it trains the encoder and the embeddings alone.
* "denoise" is ours: a sentinel before every word, some words left out, and slot i asks for word i. It teaches a model
  from scratch to read slots. Neither it nor "masked-lm" is T5's pretraining, and no result may call it so.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM, AutoModelForSeq2SeqLM, PreTrainedModel, PreTrainedTokenizerBase

from engine.data.sentences import Sentence
from engine.errors import ModelError
from engine.models.encoder import at
from engine.models.load import load_model, model_type
from engine.models.mt5 import head_scale, slot_states
from engine.models.speller import sentinel_ids
from engine.models.tagger import T5_TYPES, freeze_bottom, save_model
from engine.models.windows import Subwords, Window, make_windows, special_ids

SPAN = 3  # mean length of a span left out in span corruption
Examples = tuple[list[Window], list[list[int]]]  # windows, and for each the vocabulary ids that its slots ask for


class Pretrainer(nn.Module):
    """A checkpoint with an output over its whole vocabulary, to be trained with one objective."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, objective: str) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.objective = objective
        self._scale = head_scale(model) if model.config.model_type in T5_TYPES else 1.0

    def examples(self, sentences: Sequence[Sentence], masked: float, max_tokens: int, seed: int) -> Examples:
        """Return the sentences' examples, with a share of about `masked` left out, drawn from `seed`.

        A sentence that comes again in a later epoch comes with the same mask.
        """
        random = Random(seed)
        if self.objective == "denoise":
            return _denoise(self.tokenizer, sentences, masked, max_tokens, random)
        before, after = special_ids(self.tokenizer)
        windows = make_windows(sentences, Subwords(self.tokenizer), max_tokens, before, after)
        make = _mask if self.objective == "masked-lm" else _corrupt_spans
        return make(self.tokenizer, windows, masked, random)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, slots: Tensor) -> Tensor:
        """Return logits (B, W, V) over the vocabulary for input ids (B, T), their mask (B, T) and slots (B, W)."""
        model = self.model
        if model.config.model_type not in T5_TYPES:
            states = model.base_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return _masked_lm_head(model)(at(states, slots))
        if self.objective == "masked-lm":
            states = at(model.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state, slots)
            return F.linear(states * model.config.d_model**-0.5, model.shared.weight)
        return F.linear(slot_states(model, input_ids, attention_mask, slots) * self._scale, model.lm_head.weight)

    def freeze(self, embeddings: bool, layers: int) -> None:
        """As `Tagger.freeze`."""
        freeze_bottom(self.model, embeddings, layers)

    def save(self, folder: Path) -> None:
        """Write a checkpoint from which `new_tagger` can start."""
        save_model(self.model, self.tokenizer, folder)


def pretrainer(checkpoint: str, objective: str, seed: int) -> Pretrainer:
    """Return a checkpoint (a folder or hub id) ready for an objective; what is new in it is drawn from `seed`.

    Raises ModelError where it cannot be had, or is an encoder and the objective needs a decoder.
    """
    kind = model_type(checkpoint)
    if kind not in T5_TYPES and objective != "masked-lm":
        raise ModelError(
            f"model {checkpoint!r} ({kind}) cannot be trained with {objective!r}, which needs the decoder of an mT5. "
            "Use the objective 'masked-lm'."
        )
    auto_class = AutoModelForSeq2SeqLM if kind in T5_TYPES else AutoModelForMaskedLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # an encoder may come without a masked language model's head
        return Pretrainer(*load_model(checkpoint, auto_class), objective)


def _denoise(
    tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sentence], masked: float, max_tokens: int, random: Random
) -> Examples:
    """Leave out all subwords of some words; every word's slot asks for its first subword."""
    sentinels = sentinel_ids(tokenizer)
    subwords = Subwords(tokenizer, reserved=sentinels)
    windows = make_windows(sentences, subwords, max_tokens, after=[tokenizer.eos_token_id], sentinels=sentinels)
    marks = set(sentinels)
    examples, targets = [], []
    for window in windows:
        *ids, end = window.input_ids
        starts = [position for position, i in enumerate(ids) if i in marks]
        input_ids = []
        for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True):
            input_ids += ids[start : start + 1 if random.random() < masked else stop]
        examples.append(replace(window, input_ids=[*input_ids, end]))
        targets.append([ids[start + 1] for start in starts])
    return examples, targets


def _mask(tokenizer: PreTrainedTokenizerBase, windows: Sequence[Window], masked: float, random: Random) -> Examples:
    """Devlin et al. 2019, section 3.1: of the subwords chosen 80% are masked, 10% changed at random, 10% left.

    A vocabulary without a mask, as mT5's, lends its first sentinel. At least one subword is chosen.
    """
    mask = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else sentinel_ids(tokenizer)[0]
    special = set(tokenizer.all_special_ids)
    examples, targets = [], []
    for window in windows:
        ids = list(window.input_ids)
        open_positions = [position for position, i in enumerate(ids) if i not in special]
        if not open_positions:
            continue
        chosen = sorted(random.sample(open_positions, max(1, round(masked * len(open_positions)))))
        targets.append([ids[position] for position in chosen])
        for position in chosen:
            fate = random.random()
            ids[position] = mask if fate < 0.8 else random.randrange(len(tokenizer)) if fate < 0.9 else ids[position]
        examples.append(replace(window, input_ids=ids, slots=chosen))
    return examples, targets


def _corrupt_spans(
    tokenizer: PreTrainedTokenizerBase, windows: Sequence[Window], masked: float, random: Random
) -> Examples:
    """Raffel et al. 2020: each span left out becomes a sentinel; the answer is each sentinel followed by its span.

    The slots are the decoder's input: the answer behind a start token (the padding, as in T5).
    """
    sentinels = sentinel_ids(tokenizer)
    start, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    examples, targets = [], []
    for window in windows:
        *ids, _ = window.input_ids
        input_ids, answer, position = [], [], 0
        for sentinel, (kept, left_out) in zip(sentinels, _span_lengths(len(ids), masked, random), strict=False):
            middle = position + kept
            input_ids += [*ids[position:middle], sentinel]
            answer += [sentinel, *ids[middle : middle + left_out]]
            position = middle + left_out
        examples.append(replace(window, input_ids=[*input_ids, *ids[position:], end], slots=[start, *answer]))
        targets.append([*answer, end])
    return examples, targets


def _span_lengths(length: int, masked: float, random: Random) -> list[tuple[int, int]]:
    """Cut `length` ids into pairs of a stretch that is kept and a span that is left out, together `masked` of them.

    As T5 does, no part is empty, so that no sentinel stands first or beside another; a single id is left out alone.
    """
    if length == 1:
        return [(0, 1)]
    out = min(max(1, round(length * masked)), length - 1)
    spans = min(max(1, round(out / SPAN)), length - out)
    return list(zip(_parts(length - out, spans, random), _parts(out, spans, random), strict=True))


def _parts(total: int, parts: int, random: Random) -> list[int]:
    """Cut `total` into so many parts of at least 1, each way to do it as likely as any other."""
    cuts = sorted(random.sample(range(1, total), parts - 1))
    return [high - low for low, high in zip([0, *cuts], [*cuts, total], strict=True)]


def _masked_lm_head(model: PreTrainedModel) -> nn.Module:
    """The part of a masked language model after its encoder ("cls" in BERT, "lm_head" in XLM-R)."""
    parts = [part for name, part in model.named_children() if name != model.base_model_prefix]
    if len(parts) != 1:
        raise ModelError(f"{model.config.model_type}: its masked-LM head is not one module, so it cannot be pretrained here.")
    return parts[0]
