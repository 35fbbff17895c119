"""The figures of a training that a step's record keeps, under the names of the results table."""

from collections.abc import Sequence
from typing import Any

from engine.models.tagger import Tagger
from engine.train.loop import TrainingLog


def of_cut(task: str, tagger: Tagger, examples: Sequence[Any], max_tokens: int) -> dict[str, Any]:
    """The share of inputs that lost text, in tasks where that happens: a sentence never does, it is windowed."""
    if task == "ner":
        return {}
    windows = tagger.windows(examples, max_tokens)
    return {"truncated": sum(window.cut for window in windows) / len(windows)}


def of_training(log: TrainingLog) -> dict[str, Any]:
    """Updates, tokens, seconds and peak memory, and the loss at the start and the end (means of up to 20 updates)."""
    ends = log.losses[:20], log.losses[-20:]
    first, last = (sum(losses) / len(losses) for losses in ends)
    return {
        "updates": len(log.losses),
        "tokens": log.tokens,
        "seconds": log.seconds,
        "peak_memory": log.peak_memory_bytes,
        "first_loss": first,
        "last_loss": last,
    }
