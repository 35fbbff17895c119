"""The supervised losses of tagging. Each is a sum over words divided by a constant, as `loop.train` asks.

All take logits (B, W, K) float32, `mask` (B, W) bool with true at real words, and `normaliser`, the words of an average
update (`batches.words_per_update`); all return a scalar.
"""

from torch import Tensor
from torch.nn import functional as F

from engine.errors import DataError
from engine.train.batches import IGNORED


def cross_entropy(logits: Tensor, targets: Tensor, mask: Tensor, normaliser: float) -> Tensor:
    """Cross-entropy with hard labels. `targets`: (B, W) int64, -100 where a word counts for nothing."""
    wanted = targets.masked_fill(~mask, IGNORED)
    return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="sum") / normaliser


def mse(logits: Tensor, targets: Tensor, mask: Tensor, normaliser: float) -> Tensor:
    """Squared error between probabilities, averaged over words and tags (Wu et al. 2020, eq. 2).

    `targets`: (B, W, K) float32, the teacher's probabilities.
    """
    _same_tags(logits, targets)
    errors = (logits.softmax(-1) - targets).square().mean(-1)
    return errors[mask].sum() / normaliser


def kl(logits: Tensor, targets: Tensor, mask: Tensor, normaliser: float) -> Tensor:
    """Kullback-Leibler divergence from teacher to student (Hinton et al. 2015, at temperature 1).

    `targets`: (B, W, K) float32, the teacher's probabilities.
    """
    _same_tags(logits, targets)
    divergences = F.kl_div(logits.log_softmax(-1), targets, reduction="none").sum(-1)
    return divergences[mask].sum() / normaliser


def _same_tags(logits: Tensor, targets: Tensor) -> None:
    """Without this, torch would broadcast."""
    if logits.shape != targets.shape:
        raise DataError(f"the student has {logits.shape[-1]} tags and its labels {targets.shape[-1]}: they must be the same.")
