"""The order of examples, the shares of workers, padding."""

from collections import Counter
from dataclasses import dataclass
from itertools import chain, combinations, pairwise
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from engine.errors import DataError, StudyError
from engine.spec import Training
from engine.train.batches import Batch, collate, order, pass_cost, share, updates, words_per_update

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
    together=st.integers(1, 20),
)
def test_each_epoch_uses_each_example_exactly_once(lengths, batch_size, steps, seed, together):
    batches = list(order(lengths, batch_size, steps, seed, together))
    assert [len(batch) for batch in batches] == [batch_size] * steps
    uses = Counter(chain.from_iterable(batches))
    epochs = steps * batch_size // len(lengths)
    assert all(uses[index] in (epochs, epochs + 1) for index in range(len(lengths)))
    assert set(uses) <= set(range(len(lengths)))
    assert batches == list(order(lengths, batch_size, steps, seed, together))


def test_no_example_twice_in_a_batch_of_one_epoch():
    for batch in order([3] * 64, batch_size=16, steps=12, seed=0, together=16):
        assert len(set(batch)) == 16


def test_epochs_and_seeds_differ():
    batches = list(order([5] * 64, batch_size=16, steps=8, seed=0))
    assert batches[:4] != batches[4:]
    assert batches != list(order([5] * 64, batch_size=16, steps=8, seed=1))


@properties
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=70),
    world=st.integers(1, 9),
    micro_batch=st.integers(0, 20),
    pass_cost=st.integers(0, 200),
)
def test_the_workers_shares_partition_the_batch(lengths, world, micro_batch, pass_cost):
    size = len(lengths)
    if size < world:
        with pytest.raises(StudyError, match=f"workers={world}"):
            share(lengths, 0, world, micro_batch, pass_cost)
        return
    shares = [share(lengths, rank, world, micro_batch, pass_cost) for rank in range(world)]
    assert sorted(chain.from_iterable(chain.from_iterable(shares))) == list(range(size))
    assert len({len(parts) for parts in shares}) == 1
    parts = list(chain.from_iterable(shares))
    assert all(parts)
    assert max(map(len, parts)) <= (micro_batch + 1 if micro_batch else -(-size // world))


@properties
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8), pass_cost=st.integers(0, 60))
def test_micro_batches_cost_the_least(lengths, pass_cost):
    def cost(parts: list[list[int]]) -> int:
        return sum(len(part) * max(part) + pass_cost for part in parts)

    falling = sorted(lengths, reverse=True)
    cuts = chain.from_iterable(combinations(range(1, len(lengths)), count) for count in range(len(lengths)))
    every = [[falling[a:b] for a, b in pairwise((0, *cut, len(lengths)))] for cut in cuts]
    chosen = share(lengths, 0, 1, 0, pass_cost)
    assert cost([[lengths[position] for position in part] for part in chosen]) == min(map(cost, every))


@properties
@given(world=st.integers(1, 4), micro_batch=st.integers(0, 3), seed=st.integers(0, 9))
def test_any_world_and_micro_batch_sees_the_same_global_batches(world, micro_batch, seed):
    random = Random(seed)
    examples = [Words([index + 1] * random.randint(1, 9), [0]) for index in range(30)]
    targets = [[index] for index in range(30)]
    training = Training(steps=6, batch_size=7)
    alone = [
        sorted(chain.from_iterable(batch.targets.flatten().tolist() for batch in parts))
        for parts in updates(examples, targets, 0, training, seed)
    ]
    workers = [updates(examples, targets, 0, training, seed, rank, world, micro_batch) for rank in range(world)]
    for whole, parts in zip(alone, zip(*workers, strict=True), strict=True):
        seen = [batch.targets.flatten().tolist() for worker in parts for batch in worker]
        assert sorted(chain.from_iterable(seen)) == whole


LENGTHS = [min(200, int(length) + 1) for length in np.random.default_rng(0).lognormal(3.6, 0.6, 4_000)]


def padding(batches: list[list[int]]) -> float:
    padded = sum(len(batch) * max(LENGTHS[index] for index in batch) for batch in batches)
    return padded / sum(LENGTHS[index] for batch in batches for index in batch)


def test_little_is_padded_although_batches_are_random():
    batches = list(order(LENGTHS, batch_size=32, steps=125, seed=0))
    parts = [[batch[i] for i in part] for batch in batches for part in share([LENGTHS[i] for i in batch], 0, 1, 0, 64)]
    assert padding(parts) < 1.2
    assert padding(batches) > 2


def test_batches_drawn_together_are_of_similar_length_and_in_random_order():
    batches = list(order(LENGTHS, batch_size=32, steps=125, seed=0, together=16))
    assert padding(batches) < 1.2
    means = [np.mean([LENGTHS[index] for index in batch]) for batch in batches[:16]]
    assert means != sorted(means)
    assert abs(np.mean(means) - np.mean(LENGTHS)) < 5


def test_a_large_model_passes_forward_more_often():
    small, large = nn.Linear(10, 10), nn.Linear(3_000, 3_000)
    cpu = torch.device("cpu")
    assert pass_cost(small, cpu) > 10_000 > pass_cost(large, cpu) == 32
    assert pass_cost(nn.Sequential(large, large.requires_grad_(False), small), cpu) > 10_000


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
