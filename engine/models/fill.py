"""How well a pretrained checkpoint, before any fine-tuning, fills in what is masked in a text: LML and LMEM of Muller et al. 2022.

By the checkpoint's own objective (`engine.models.pretraining`). A span is, in span corruption, what one sentinel stands for;
in masked language modeling one subword, of which here each is hidden and none is changed at random or left; in "denoise" one
word, of which its first subword is asked for.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.data.sentences import Sentence
from engine.errors import ModelError
from engine.models.mt5 import sentinel_ids
from engine.models.pretraining import Pretrainer, pretrainer
from engine.models.windows import Window
from engine.train.batches import collate

BATCH = 8  # windows of a forward pass, for mT5's answer to each slot has 250,112 numbers


def trained(checkpoint: str, objective: str) -> Pretrainer:
    """Return a checkpoint for its own objective. Raises ModelError where it has no head for it, as sentence encoders lack one."""
    model = pretrainer(checkpoint, objective, seed=0)
    if objective == "masked-lm":
        drawn = pretrainer(checkpoint, objective, seed=1).state_dict()  # what the checkpoint lacks, a seed draws
        if new := sorted(name for name, value in model.state_dict().items() if not torch.equal(value, drawn[name])):
            raise ModelError(
                f"model {checkpoint!r} has no trained masked language model ({', '.join(new)} would be drawn at random), so that its "
                "loss on masked words says nothing. Leave 'lm' out of the study's measures."
            )
    return model


@torch.inference_mode()
def fill(
    model: Pretrainer, sentences: Sequence[Sentence], masked: float, max_tokens: int, seed: int, precision: str, device: torch.device
) -> dict[str, float]:
    """Return "lml", "lmem" and the number of "spans" and "subwords" that they are means of, drawn from `seed`.

    `lml`: negative log-likelihood, in nats, of a masked subword; sentinels and the end are not counted. `lmem`: share of spans
    whose subwords are each the most probable one, given those before it. In span corruption these are the right ones: a span
    is right where greedy decoding is, spans before it being right.
    """
    windows, targets = model.examples(sentences, masked, max_tokens, seed)
    if model.objective == "masked-lm":
        windows = [_all_hidden(model, window) for window in windows]
    spans = [_spans(model, window, asked) for window, asked in zip(windows, targets, strict=True)]
    order = sorted(range(len(windows)), key=lambda i: len(windows[i].input_ids))
    model.to(device).eval()
    loss, right, subwords, number = 0.0, 0, 0, 0
    for first in range(0, len(order), BATCH):
        chosen = order[first : first + BATCH]
        batch = collate([windows[i] for i in chosen], None, model.tokenizer.pad_token_id).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = model(batch.input_ids, batch.attention_mask, batch.slots)
        for row, i in zip(logits, chosen, strict=True):
            losses, best = _answer(row, torch.tensor(targets[i], device=device))
            for span in spans[i]:
                loss += sum(losses[place] for place in span)
                right += all(best[place] for place in span)
                subwords += len(span)
            number += len(spans[i])
    return {"lml": loss / subwords, "lmem": right / number, "spans": number, "subwords": subwords}


def _answer(logits: Tensor, targets: Tensor) -> tuple[list[float], list[bool]]:
    """Of each slot the loss, and whether the most probable id is the right one."""
    logits = logits[: len(targets)].float()
    return F.cross_entropy(logits, targets, reduction="none").tolist(), (logits.argmax(-1) == targets).tolist()


def _all_hidden(model: Pretrainer, window: Window) -> Window:
    """The window with each chosen subword hidden."""
    tokenizer = model.tokenizer
    mask = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else sentinel_ids(tokenizer)[0]
    for place in window.slots:
        window.input_ids[place] = mask
    return window


def _spans(model: Pretrainer, window: Window, targets: Sequence[int]) -> list[list[int]]:
    """The slots of each span left out."""
    if model.objective == "masked-lm":
        return [[place] for place in range(len(targets))]
    marks = {*sentinel_ids(model.tokenizer)}
    if model.objective == "denoise":
        ids, ends = window.input_ids, {*marks, model.tokenizer.eos_token_id}
        before = [place for place, i in enumerate(ids) if i in marks]
        return [[word] for word, place in enumerate(before) if ids[place + 1] in ends]
    found: list[list[int]] = []
    for place, i in enumerate(targets[:-1]):  # the last is the end
        if i in marks:
            found.append([])
        else:
            found[-1].append(place)
    return found
