"""Prediction: a tagger's probabilities for the words of sentences and the tags they stand for, or what a model writes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from engine.models.tagger import Tagger
from engine.models.text2text import Text2Text, Written
from engine.models.windows import Window
from engine.train.batches import Batch, collate


def probabilities(
    tagger: Tagger, sentences: Sequence[Any], max_tokens: int, batch_size: int, precision: str = "fp32"
) -> list[np.ndarray]:
    """Return for each sentence the probabilities of the tags at its words, float32 (words, K), in the order given.

    A pair counts as one word.

    Batches hold `batch_size` windows of similar length. `precision`: "bf16" computes in autocast, as a training does.
    The tagger is in evaluation mode meanwhile, and as it was afterwards.
    """
    windows = tagger.windows(sentences, max_tokens)
    ends = {window.sentence: window.start + len(window.slots) for window in windows}  # of its last window
    answers = [np.empty((ends[number], len(tagger.tags)), np.float32) for number in range(len(sentences))]
    with _predicting(tagger, precision):
        for chosen, batch in _batches(tagger, windows, batch_size):
            scores = tagger.answer(batch.input_ids, batch.attention_mask, batch.slots).softmax(-1).cpu().numpy()
            for number, rows in zip(chosen, scores, strict=True):
                window = windows[number]
                stop = window.start + len(window.slots)
                answers[window.sentence][window.start : stop] = rows[: len(window.slots)]
    return answers


def write(
    model: Text2Text, sentences: Sequence[Any], max_tokens: int, batch_size: int, precision: str = "fp32"
) -> tuple[list[Window], list[Written]]:
    """Return the windows of the sentences, in order, and what the model writes about each. The rest: `probabilities`."""
    windows = model.windows(sentences, max_tokens)
    written: list[Written] = [[] for _ in windows]
    with _predicting(model, precision):
        for chosen, batch in _batches(model, windows, batch_size):
            limits = [model.limit(windows[number]) for number in chosen]
            for number, ids in zip(chosen, model.generate(batch.input_ids, batch.attention_mask, limits), strict=True):
                written[number] = ids
    return windows, written


@contextmanager
def _predicting(tagger: Tagger, precision: str) -> Iterator[None]:
    device, training = next(tagger.parameters()).device, tagger.training
    tagger.eval()
    try:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        tagger.train(training)


def _batches(tagger: Tagger, windows: Sequence[Window], batch_size: int) -> Iterator[tuple[list[int], Batch]]:
    """Yield batches of windows of similar length, with their numbers, the longest first."""
    by_length = sorted(range(len(windows)), key=lambda number: len(windows[number].input_ids), reverse=True)
    for first in range(0, len(windows), batch_size):
        chosen = by_length[first : first + batch_size]
        batch = collate([windows[number] for number in chosen], None, tagger.tokenizer.pad_token_id)
        yield chosen, batch.to(next(tagger.parameters()).device)


def decode(probabilities: Sequence[np.ndarray], tags: Sequence[str]) -> list[tuple[str, ...]]:
    """Return each sentence's most probable tags; of equally probable ones the first in `tags`."""
    return [tuple(tags[index] for index in rows.argmax(-1)) for rows in probabilities]
