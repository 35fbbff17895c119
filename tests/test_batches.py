"""The order of examples, the shares of workers, padding."""

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DataError, StudyError
from engine.spec import Training
from engine.train.batches import POOL, Batch, collate, order, share, updates, words_per_update

properties = settings(deadline=None, max_examples=50, derandomize=True)


@dataclass(frozen=True)
class Words:
    input_ids: list[int]
    slots: list[int]


EXAMPLES = [Words([7, 8, 9], [0, 2]), Words([5], [0])]


@properties
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=80),
    batch_size=st.integers(1, 30),
    steps=st.integers(1, 40),
    seed=st.integers(0, 9),
)
def test_each_epoch_uses_each_example_exactly_once(lengths, batch_size, steps, seed):
    batches = list(order(lengths, batch_size, steps, seed))
    assert [len(batch) for batch in batches] == [batch_size] * steps
    uses = Counter(chain.from_iterable(batches))
    epochs = steps * batch_size // len(lengths)
    assert all(uses[index] in (epochs, epochs + 1) for index in range(len(lengths)))
    assert set(uses) <= set(range(len(lengths)))
    assert batches == list(order(lengths, batch_size, steps, seed))


def test_no_example_twice_in_a_batch_of_one_epoch():
    for batch in order([3] * 64, batch_size=16, steps=12, seed=0):
        assert len(set(batch)) == 16


def test_epochs_and_seeds_differ():
    first, second = order(list(range(64)), batch_size=64, steps=2, seed=0), order(list(range(64)), 16, 4, seed=1)
    assert set(next(first)) == set(next(first))
    assert list(order([5] * 64, 16, 8, seed=0))[:4] != list(order([5] * 64, 16, 8, seed=0))[4:]
    assert list(second) != list(order(list(range(64)), 16, 4, seed=2))


@properties
@given(size=st.integers(1, 70), world=st.integers(1, 9), micro_batch=st.integers(0, 20), seed=st.integers(0, 9))
def test_the_workers_shares_partition_the_batch(size, world, micro_batch, seed):
    batch = Random(seed).sample(range(1000), size)
    if size < world:
        with pytest.raises(StudyError, match=f"workers={world}"):
            share(batch, 0, world, micro_batch)
        return
    shares = [share(batch, rank, world, micro_batch) for rank in range(world)]
    assert sorted(chain.from_iterable(chain.from_iterable(shares))) == sorted(batch)
    assert len({len(parts) for parts in shares}) == 1
    parts = list(chain.from_iterable(shares))
    assert all(parts)
    assert max(map(len, parts)) <= (max(micro_batch, 2) if micro_batch else -(-size // world))


@properties
@given(world=st.integers(1, 4), micro_batch=st.integers(0, 3), seed=st.integers(0, 9))
def test_any_world_and_micro_batch_sees_the_same_global_batches(world, micro_batch, seed):
    random = Random(seed)
    examples = [Words([index + 1] * random.randint(1, 9), [0]) for index in range(30)]
    targets = [[index] for index in range(30)]
    training = Training(steps=6, batch_size=7)
    alone = [sorted(batch.targets.flatten().tolist()) for (batch,) in updates(examples, targets, 0, training, seed)]
    workers = [updates(examples, targets, 0, training, seed, rank, world, micro_batch) for rank in range(world)]
    for whole, parts in zip(alone, zip(*workers, strict=True), strict=True):
        seen = [batch.targets.flatten().tolist() for worker in parts for batch in worker]
        assert sorted(chain.from_iterable(seen)) == whole


def test_similar_lengths_share_a_batch_and_pools_keep_the_order_random():
    random = Random(0)
    lengths = [min(200, int(random.lognormvariate(3, 0.8)) + 1) for _ in range(4_000)]

    def padding(batches: list[list[int]]) -> float:
        padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)
        return padded / sum(lengths[index] for batch in batches for index in batch)

    pooled = list(order(lengths, batch_size=32, steps=125, seed=0))
    shuffled = random.sample(range(4_000), 4_000)
    assert padding(pooled) < 1.3
    assert padding([shuffled[start : start + 32] for start in range(0, 4_000, 32)]) > 2
    means = [np.mean([lengths[index] for index in batch]) for batch in pooled]
    assert means[:POOL] != sorted(means[:POOL])
    assert abs(np.mean(means[:POOL]) - np.mean(lengths)) < 5


def test_collate_pads_and_marks_words():
    batch = collate(EXAMPLES, [[1, 2], [3]], pad_id=99)
    assert batch.input_ids.tolist() == [[7, 8, 9], [5, 99, 99]]
    assert batch.attention_mask.tolist() == [[True] * 3, [True, False, False]]
    assert batch.slots.tolist() == [[0, 2], [0, -1]]
    assert batch.targets.tolist() == [[1, 2], [3, -100]]
    assert batch.mask.tolist() == [[True, True], [True, False]]
    assert batch.tokens == 4
    assert batch.input_ids.dtype == batch.targets.dtype == batch.slots.dtype == torch.int64


def test_collate_takes_probabilities_or_no_targets():
    soft = [np.full((2, 3), 1 / 3, np.float32), np.array([[1, 0, 0]], np.float32)]
    batch = collate(EXAMPLES, soft, pad_id=0)
    assert batch.targets.shape == (2, 2, 3) and batch.targets.dtype == torch.float32
    assert batch.targets[1].tolist() == [[1, 0, 0], [0, 0, 0]]
    moved = collate(EXAMPLES, None, pad_id=0).to("cpu")
    assert isinstance(moved, Batch) and moved.targets is None


def test_errors_name_the_cause():
    with pytest.raises(DataError, match="2 words has 1 targets"):
        collate(EXAMPLES, [[1], [3]], pad_id=0)
    with pytest.raises(DataError, match="no example"):
        next(order([], 4, 1, 0))
    with pytest.raises(DataError, match="no example"):
        words_per_update([], 4)


def test_words_per_update():
    assert words_per_update(EXAMPLES, batch_size=32) == 48
