"""Prediction: a tagger's probabilities for the words of sentences, and the tags they stand for."""

from collections.abc import Sequence

import numpy as np
import torch

from engine.data.sentences import Sentence
from engine.models.tagger import Tagger
from engine.train.batches import collate


def probabilities(
    tagger: Tagger, sentences: Sequence[Sentence], max_tokens: int, batch_size: int, precision: str = "fp32"
) -> list[np.ndarray]:
    """Return for each sentence the probabilities of the tags at its words, float32 (words, K), in the order given.

    Batches hold `batch_size` windows of similar length. `precision`: "bf16" computes in autocast, as a training does.
    The tagger is in evaluation mode meanwhile, and as it was afterwards.
    """
    windows = tagger.windows(sentences, max_tokens)
    answers = [np.empty((len(sentence.words), len(tagger.tags)), np.float32) for sentence in sentences]
    by_length = sorted(windows, key=lambda window: len(window.input_ids), reverse=True)
    device = next(tagger.parameters()).device
    training = tagger.training
    tagger.eval()
    try:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            for first in range(0, len(by_length), batch_size):
                chosen = by_length[first : first + batch_size]
                batch = collate(chosen, None, tagger.tokenizer.pad_token_id).to(device)
                scores = tagger.answer(batch.input_ids, batch.attention_mask, batch.slots).softmax(-1).cpu().numpy()
                for window, rows in zip(chosen, scores, strict=True):
                    stop = window.start + len(window.slots)
                    answers[window.sentence][window.start : stop] = rows[: len(window.slots)]
    finally:
        tagger.train(training)
    return answers


def decode(probabilities: Sequence[np.ndarray], tags: Sequence[str]) -> list[tuple[str, ...]]:
    """Return each sentence's most probable tags; of equally probable ones the first in `tags`."""
    return [tuple(tags[index] for index in rows.argmax(-1)) for rows in probabilities]
