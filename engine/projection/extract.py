"""Word alignments from similarities: `argmax`, `itermax` and `match` of SimAlign (Jalili Sabet et al. 2020, section 2), and
`softmax` of awesome-align (Dou & Neubig 2021, section 2). Each takes similarities float (n, m), both above 0, and returns (n, m)
of bool.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax as normalized


def argmax(similarity: np.ndarray) -> np.ndarray:
    """Pairs in which each is the other's most similar."""
    mutual = np.zeros(similarity.shape, bool)
    forward, backward = similarity.argmax(1), similarity.argmax(0)
    rows = np.arange(len(similarity))
    mutual[rows, forward] = backward[forward] == rows
    return mutual


def itermax(similarity: np.ndarray, discount: float = 0.9) -> np.ndarray:
    """`argmax`, and once more among what it left: pairs of two unaligned, or of one whose similarity is discounted.

    `similarity`: not negative. Theirs, with their two rounds; sentences of one or two have `argmax` alone, as in their code.
    """
    found = argmax(similarity)
    free_rows, free_columns = ~found.any(1), ~found.any(0)
    if min(similarity.shape) <= 2 or not free_rows.any() or not free_columns.any():
        return found
    free = free_rows[:, None].astype(float) + free_columns
    left = similarity * np.minimum(discount * free, 1.0)
    return found | (argmax(left) & (free > 0))


def match(similarity: np.ndarray) -> np.ndarray:
    """As many pairs as the shorter sentence has, none with one in common, whose similarities have the largest sum."""
    pairs = np.zeros(similarity.shape, bool)
    pairs[linear_sum_assignment(similarity, maximize=True)] = True
    return pairs


def both_ways(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the softmax of dot products over the target, and over the source, each float (n, m)."""
    return normalized(products, 1), normalized(products, 0)
