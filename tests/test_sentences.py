"""The bootstrap over sentences, and that a row of the results finds the sentences it was counted from."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from analysis.sentences import bootstrap, compare, counts
from engine.errors import DataError, StoreError
from engine.store import Store


def scored(rng: np.random.Generator, hits: float, entities: np.ndarray) -> np.ndarray:
    found = rng.binomial(entities, hits)
    return np.stack([found, rng.binomial(2, 1 - hits, len(entities)), entities - found], axis=1)


def test_the_estimate_is_the_difference_of_the_two_f1() -> None:
    rng = np.random.default_rng(1)
    entities = rng.poisson(1.5, 500)
    first, second = scored(rng, 0.6, entities), scored(rng, 0.75, entities)
    found = bootstrap(first, second, draws=2_000)

    def f1(table: np.ndarray) -> float:
        tp, fp, fn = table.sum(axis=0)
        return 2 * tp / (2 * tp + fp + fn)

    assert found["estimate"] == pytest.approx(f1(second) - f1(first))
    assert 0 < found["low"] < found["estimate"] < found["high"] and found["p"] < 0.01
    back = bootstrap(second, first, draws=2_000)
    assert (back["estimate"], back["low"]) == pytest.approx((-found["estimate"], -found["high"]))
    same = bootstrap(first, first, draws=200)
    assert (same["estimate"], same["low"], same["high"], same["p"]) == (0.0, 0.0, 0.0, 1.0)


def test_it_is_paired() -> None:
    rng = np.random.default_rng(2)
    entities = rng.poisson(1.5, 800)
    first = scored(rng, 0.6, entities)
    second = first.copy()
    better = (first[:, 2] > 0) & (rng.random(800) < 0.1)  # one miss less in a few sentences
    second[better] += [1, 0, -1]
    assert bootstrap(first, second, draws=2_000)["low"] > 0
    shuffled = scored(rng, 0.6 + 0.1 * better.mean(), entities)
    apart = bootstrap(first, shuffled, draws=2_000)
    assert apart["high"] - apart["low"] > 2 * np.subtract(*[bootstrap(first, second, draws=2_000)[end] for end in ("high", "low")])


def test_it_covers_the_truth_and_seldom_alarms() -> None:
    rng, alarms = np.random.default_rng(3), []
    for number in range(150):
        entities = rng.poisson(1.5, 300)
        found = bootstrap(scored(rng, 0.6, entities), scored(rng, 0.6, entities), draws=400, random_state=number)
        alarms.append(not found["low"] <= 0 <= found["high"])
    assert np.mean(alarms) <= 0.1


def test_questions_of_several_seeds_are_compared_though_their_shares_are_rounded() -> None:
    rng = np.random.default_rng(4)

    def questions(seeds: int) -> np.ndarray:
        found = [2 * np.minimum(rng.integers(0, 8, 400), 5) / (rng.integers(5, 9, 400) + 5) for _ in range(seeds)]
        return sum(np.column_stack([f1, 1 - f1, 1 - f1]) for f1 in found)

    first, second = questions(3), questions(3)
    assert (first[:, 0] + first[:, 2] != second[:, 0] + second[:, 2]).any()  # though all are 3
    assert bootstrap(first, second, draws=100)["estimate"] == pytest.approx((second - first)[:, 0].mean() / 3)
    second[7] += [0, 0, 1]
    with pytest.raises(DataError, match="sentence 7 has 3 entities"):
        bootstrap(first, second)


def test_other_sentences_are_refused() -> None:
    table = np.array([[1, 0, 1], [0, 1, 2]])
    with pytest.raises(DataError, match="sentence 1 has 2 entities"):
        bootstrap(table, np.array([[1, 0, 1], [0, 1, 3]]))
    with pytest.raises(DataError, match="for the same sentences"):
        bootstrap(table, table[:1])


def publish(store: Store, name: str, sentences: list[tuple[int, int, int]]) -> str:
    with store.scratch(name) as folder:
        rows = [(number, *row) for number, row in enumerate(sentences)]
        pl.DataFrame(rows, schema=["sentence", "tp", "fp", "fn"], orient="row").write_parquet(folder / "sentences.parquet")
        store.publish(name, folder, {})
    return name


def test_two_evaluations_are_compared_by_name(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.probe()
    teacher = publish(store, "evaluate-m-03", [(1, 0, 1), (2, 1, 0), (0, 0, 3)])
    student = publish(store, "evaluate-m-04", [(2, 0, 0), (2, 1, 0), (1, 0, 2)])
    assert counts(store, student).sum(axis=0).tolist() == [5, 1, 2]
    assert compare(store, teacher, student, draws=100)["estimate"] == pytest.approx(10 / 13 - 6 / 11)
    with pytest.raises(StoreError, match="evaluate-m-05"):
        compare(store, teacher, "evaluate-m-05")
