"""Prediction: a tagger's probabilities for the words of sentences and the tags they stand for, or what a model writes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from engine.errors import OutOfMemoryError
from engine.models.tagger import Tagger
from engine.models.text2text import Text2Text, Written
from engine.models.windows import Window
from engine.train.batches import Batch, collate


def probabilities(
    tagger: Tagger, sentences: Sequence[Any], max_tokens: int, batch_size: int, precision: str = "fp32"
) -> list[np.ndarray]:
    """Return for each sentence the probabilities of the tags at its words, float32 (words, K), in the order given.

    A pair counts as one word.

    Batches hold `batch_size` windows of similar length; one that the device has no room for is cut in halves. `precision`:
    "bf16" computes in autocast, as a training does. The tagger is in evaluation mode meanwhile, and as it was afterwards.
    Raises OutOfMemoryError where there is no room for one window.
    """
    windows = tagger.windows(sentences, max_tokens)
    ends = {window.sentence: window.start + len(window.slots) for window in windows}  # of its last window
    answers = [np.empty((ends[number], len(tagger.tags)), np.float32) for number in range(len(sentences))]

    def scores(chosen: list[int], batch: Batch) -> np.ndarray:
        return tagger.answer(batch.input_ids, batch.attention_mask, batch.slots).softmax(-1).cpu().numpy()

    with _predicting(tagger, precision):
        for number, rows in _answered(tagger, windows, batch_size, scores):
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

    def ids(chosen: list[int], batch: Batch) -> Sequence[Any]:
        return model.generate(batch.input_ids, batch.attention_mask, [model.limit(windows[number]) for number in chosen])

    with _predicting(model, precision):
        for number, found in _answered(model, windows, batch_size, ids):
            written[number] = found
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


def _answered(
    tagger: Tagger, windows: Sequence[Window], batch_size: int, answer: Callable[[list[int], Batch], Sequence[Any]]
) -> Iterator[tuple[int, Any]]:
    """Yield each window's number and answer: from batches of windows of similar length, the longest first."""
    by_length = sorted(range(len(windows)), key=lambda number: len(windows[number].input_ids), reverse=True)
    waiting = [by_length[first : first + batch_size] for first in range(0, len(windows), batch_size)][::-1]
    while waiting:
        chosen = waiting.pop()
        batch = collate([windows[number] for number in chosen], None, tagger.tokenizer.pad_token_id)
        try:
            answers = answer(chosen, batch.to(next(tagger.parameters()).device))
        except torch.OutOfMemoryError as error:
            if len(chosen) == 1:
                raise OutOfMemoryError(
                    f"the device's memory is too small for a single window of {batch.input_ids.shape[1]} subwords: "
                    f"{str(error).partition('. ')[0]}. Set whole gpus in the study's resources, or fewer max_tokens in its recipe."
                ) from error
            waiting += [chosen[len(chosen) // 2 :], chosen[: len(chosen) // 2]]
            continue
        yield from zip(chosen, answers, strict=True)


def decode(probabilities: Sequence[np.ndarray], tags: Sequence[str]) -> list[tuple[str, ...]]:
    """Return each sentence's most probable tags; of equally probable ones the first in `tags`."""
    return [tuple(tags[index] for index in rows.argmax(-1)) for rows in probabilities]
