"""One model against another on the same sentences: a paired bootstrap from the counts that evaluations keep."""

import numpy as np
import polars as pl

from engine.errors import DataError, StoreError
from engine.store import Store

COUNTS = ["tp", "fp", "fn"]
CHUNK = 2_000_000


def bootstrap(
    first: np.ndarray, second: np.ndarray, draws: int = 10_000, random_state: int = 0
) -> dict[str, float]:
    """F1 of the second minus F1 of the first on n sentences, from (n, 3) counts of true and false positives and misses.
    Of questions they are F1, 1 - F1 and 1 - F1, as their evaluations have them; of several seeds, the sums.

    Returns estimate, low, high (95% percentiles), p (two-sided: twice the share of draws on the other side of zero;
    Koehn 2004). A draw gives each sentence an exponential weight, the same for both, so what is hard for both does not
    count. It speaks of these two models on more sentences like these: not of other seeds, and not of other languages.

    Raises DataError for counts of other shapes or numbers of entities: then the sentences are not the same.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.shape != second.shape or first.shape[1:] != (3,) or not len(first):
        raise DataError(f"counts of shape {first.shape} and {second.shape}: give (sentences, 3), for the same sentences.")
    # Not equal to the last bit: of a question the counts are shares, F1 and 1 - F1, and sums of these are rounded.
    other = np.flatnonzero(~np.isclose(first[:, 0] + first[:, 2], second[:, 0] + second[:, 2]))
    if len(other):
        raise DataError(
            f"sentence {other[0]} has {first[other[0], [0, 2]].sum():.0f} entities for one model and "
            f"{second[other[0], [0, 2]].sum():.0f} for the other: they were not scored on the same test split."
        )
    rng, drawn = np.random.default_rng(random_state), []
    while sum(map(len, drawn)) < draws:
        size = min(max(1, CHUNK // len(first)), draws - sum(map(len, drawn)))
        weights = rng.standard_exponential((size, len(first)))
        drawn.append(_f1(weights @ second) - _f1(weights @ first))
    differences = np.concatenate(drawn)
    low, high = np.quantile(differences, [0.025, 0.975])
    estimate = float(_f1(second.sum(axis=0)) - _f1(first.sum(axis=0)))
    beyond = min((differences <= 0).mean(), (differences >= 0).mean())
    p = min(1.0, 2 * max(float(beyond), 1 / draws))
    return {"estimate": estimate, "low": float(low), "high": float(high), "p": p}


def counts(store: Store, artifact: str) -> np.ndarray:
    """The (sentences, 3) counts of an evaluation, in the test split's order."""
    with store.fetch(artifact) as folder:
        table = pl.read_parquet(folder / "sentences.parquet", columns=["sentence", *COUNTS])
    return table.sort("sentence").select(COUNTS).to_numpy()


def compare(store: Store, first: str, second: str, draws: int = 10_000, random_state: int = 0) -> dict[str, float]:
    """`bootstrap` of two cells, given the evaluations that their rows name in the column "scored".

    Raises StoreError where the store has one of them no more.
    """
    for artifact in (first, second):
        if not store.has(artifact):
            raise StoreError(f"{store.address} has no evaluation {artifact!r}. Name what a row of this store has in `scored`.")
    return bootstrap(counts(store, first), counts(store, second), draws, random_state)


def _f1(totals: np.ndarray) -> np.ndarray:
    """F1 from sums of counts in the last axis; 0 where there is nothing to find and nothing found."""
    tp, fp, fn = np.moveaxis(totals, -1, 0)
    return np.divide(2 * tp, 2 * tp + fp + fn, out=np.zeros_like(tp), where=tp + fp + fn > 0)
