"""How well scores rank the sources of one target: NDCG as LangRank counts it, regret, and rank correlation.

Each function takes (n,) arrays of one target's sources: `truth`, the outcome with each, and `score`, higher for the source
that is thought better. Sources with equal scores share their places: what is returned is then the mean over their orders.
"""

import numpy as np
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import ndcg_score

TOP = 10  # LangRank's gamma_max


def relevance(truth: np.ndarray, top: int = TOP) -> np.ndarray:
    """`top` for the best source, one less for each place after it, and 0 from place `top` + 1 on (Lin et al. 2019)."""
    return np.clip(top + 1 - rankdata(-truth), 0, None)


def ndcg(truth: np.ndarray, score: np.ndarray, k: int = 3, top: int = TOP) -> float:
    """NDCG@k with the gain 2**relevance - 1 and the discount 1 / log2(place + 1): LangRank's (Lin et al. 2019)."""
    return float(ndcg_score([2 ** relevance(truth, top) - 1], [score], k=k))


def regret(truth: np.ndarray, score: np.ndarray) -> float:
    """What is lost, in the outcome's units, by taking the source that is ranked first."""
    return float(truth.max() - truth[score == score.max()].mean())


def rank_correlation(truth: np.ndarray, score: np.ndarray) -> float:
    """Spearman's; NaN where all scores, or all outcomes, are equal."""
    if np.ptp(truth) == 0 or np.ptp(score) == 0:
        return float("nan")
    return float(spearmanr(truth, score).statistic)
