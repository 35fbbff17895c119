"""From examples to the batches of each update: order, each worker's share, padding. Reads no data, trains nothing.

The order depends on the seed and the lengths alone, so that any number of workers sees the same global batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from engine.errors import DataError, StudyError
from engine.spec import Training

# What a forward and backward pass costs besides its arithmetic, in operations: some 10 ms on a core, 30 ms on a GPU.
PASS_OPERATIONS = {"cpu": 5e8, "cuda": 3e12}
SMALLEST_PASS = 32  # subwords: arithmetic on fewer is slow, too
IGNORED = -100  # the target of a position that is no word; torch's own default for cross-entropy
NOTHING = "there is no example to train on. Check the split's size and the study's volumes."


class Example(Protocol):
    """What a batch is made of: `engine.models.windows.Window`, or anything with these two."""

    @property
    def input_ids(self) -> Sequence[int]: ...

    @property
    def slots(self) -> Sequence[int]: ...


@dataclass(frozen=True)
class Batch:
    """Padded examples.

    `input_ids`: (B, T) int64. `attention_mask`: (B, T) bool, true at real subwords. `slots`: (B, W) int64, one a word,
    -1 where there is none. `targets`: (B, W) int64 tags with -100 where there is no word, or (B, W, K) float32
    probabilities with 0 there, or None for prediction. `mask`: (B, W) bool, true at real words.
    """

    input_ids: Tensor
    attention_mask: Tensor
    slots: Tensor
    targets: Tensor | None
    mask: Tensor

    @property
    def tokens(self) -> int:
        """Real subwords, without the padding."""
        return int(self.attention_mask.sum())

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with all tensors on `device`."""
        moved: dict[str, Any] = {
            name: None if value is None else value.to(device, non_blocking=True) for name, value in vars(self).items()
        }
        return Batch(**moved)


def order(lengths: Sequence[int], batch_size: int, steps: int, seed: int, together: int = 1) -> Iterator[list[int]]:
    """Yield the indices of each update's global batch: always `batch_size` of them, `steps` times.

    Examples are drawn in shuffled epochs, one after the other; what an epoch leaves after its last whole batch goes
    into the next one's first. `together`: that many batches are drawn at once, sorted by length, cut and shuffled.
    They end with their epoch, else copies of one short sentence would meet in a batch. Raises DataError where there
    is no example.
    """
    if not lengths:
        raise DataError(NOTHING)
    random = Random(seed)
    waiting: list[int] = []
    while steps:
        epoch = list(range(len(lengths)))
        random.shuffle(epoch)
        waiting += epoch
        while steps and len(waiting) >= batch_size:
            size = min(together, steps, len(waiting) // batch_size) * batch_size
            drawn, waiting = sorted(waiting[:size], key=lengths.__getitem__), waiting[size:]
            batches = [drawn[start : start + batch_size] for start in range(0, size, batch_size)]
            random.shuffle(batches)
            steps -= len(batches)
            yield from batches


def share(lengths: Sequence[int], rank: int, world: int, micro_batch: int, pass_cost: int) -> list[list[int]]:
    """This worker's micro-batches of a global batch of these lengths, as positions in it; all workers' hold each once.

    A micro-batch is of similar length, so that little is padded. `micro_batch`: the most examples of one, 0 for no
    limit. `pass_cost`: what one more pass costs, in subwords: short examples are not parted for less.

    Every worker gets the same number of micro-batches, none empty, for with DeepSpeed all workers must pass forward
    equally often. So with micro_batch=1 one may hold 2, where the batch does not divide evenly. Raises StudyError for
    fewer examples than workers.
    """
    if len(lengths) < world:
        raise StudyError(
            f"batch_size={len(lengths)} with workers={world}: every worker needs at least one sentence per update. "
            "Use fewer workers or a larger batch."
        )
    longest_first = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    smallest = longest_first[world - 1 :: world]  # the share that all others have, but for one example more
    ends = _cut([lengths[position] for position in smallest], micro_batch or len(smallest), pass_cost)
    own = longest_first[rank::world]
    return [own[start:end] for start, end in zip([0, *ends], [*ends[:-1], len(own)], strict=False)]


def _cut(lengths: Sequence[int], most: int, pass_cost: int) -> list[int]:
    """Cut a falling list where the padded subwords and `pass_cost` a part are fewest; return the parts' ends."""
    cost, start = [0.0], [0]
    for end in range(1, len(lengths) + 1):
        options = ((cost[s] + (end - s) * lengths[s] + pass_cost, s) for s in range(max(0, end - most), end))
        least, first = min(options)
        cost.append(least)
        start.append(first)
    ends = [len(lengths)]
    while start[ends[-1]]:
        ends.append(start[ends[-1]])
    return ends[::-1]


def collate(examples: Sequence[Example], targets: Sequence[Sequence[int] | np.ndarray] | None, pad_id: int) -> Batch:
    """Pad examples to a batch. `targets`: for each example its words' tag ids, or float32 (words, K) probabilities.

    Raises DataError where an example has another number of targets than of slots.
    """
    input_ids = _padded([example.input_ids for example in examples], pad_id)
    slots = _padded([example.slots for example in examples], -1)
    return Batch(
        input_ids=input_ids,
        attention_mask=_padded([[True] * len(example.input_ids) for example in examples], False),
        slots=slots,
        targets=None if targets is None else _targets(examples, targets),
        mask=slots >= 0,
    )


def micro_batches(
    lengths: Sequence[int],
    training: Training,
    seed: int,
    rank: int = 0,
    world: int = 1,
    micro_batch: int = 0,
    pass_cost: int = SMALLEST_PASS,
) -> Iterator[list[list[int]]]:
    """Yield this worker's micro-batches of each update, as indices of examples: `order` and `share` in one."""
    for chosen in order(lengths, training.batch_size, training.steps, seed, training.similar_lengths):
        parts = share([lengths[index] for index in chosen], rank, world, micro_batch, pass_cost)
        yield [[chosen[position] for position in part] for part in parts]


def updates(
    examples: Sequence[Example],
    targets: Sequence[Sequence[int] | np.ndarray],
    pad_id: int,
    training: Training,
    seed: int,
    rank: int = 0,
    world: int = 1,
    micro_batch: int = 0,
    pass_cost: int = SMALLEST_PASS,
) -> Iterator[list[Batch]]:
    """Yield this worker's micro-batches of each update, collated, for `loop.train`."""
    lengths = [len(example.input_ids) for example in examples]
    for parts in micro_batches(lengths, training, seed, rank, world, micro_batch, pass_cost):
        yield [collate([examples[i] for i in part], [targets[i] for i in part], pad_id) for part in parts]


def pass_cost(model: nn.Module, device: torch.device) -> int:
    """What one more forward and backward pass costs, in subwords: few for a large model, many for a small one.

    A subword takes 6 operations a weight that is trained (Kaplan et al. 2020, section 2.1).
    """
    linear = (part.weight for part in model.modules() if isinstance(part, nn.Linear))
    weights = sum(weight.numel() for weight in linear if weight.requires_grad)
    return max(SMALLEST_PASS, int(PASS_OPERATIONS[device.type] / (6 * max(1, weights))))


def words_per_update(examples: Sequence[Example], batch_size: int) -> float:
    """Words in an average global batch: the constant by which the losses are divided.

    A constant, and not each batch's own count, so that a word weighs the same in a batch of short sentences as in one
    of long ones, and in any split over micro-batches and workers. Raises DataError where there is no example.
    """
    if not examples:
        raise DataError(NOTHING)
    return batch_size * sum(len(example.slots) for example in examples) / len(examples)


def _padded(rows: Sequence[Sequence[int] | np.ndarray], value: int) -> Tensor:
    """Rows of numbers (T,), or of arrays (T, K), as one tensor. numpy takes a list in a tenth of torch's time."""
    first = np.asarray(rows[0])
    padded = np.full((len(rows), max(map(len, rows)), *first.shape[1:]), value, first.dtype)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return torch.from_numpy(padded)


def _targets(examples: Sequence[Example], targets: Sequence[Sequence[int] | np.ndarray]) -> Tensor:
    for example, target in zip(examples, targets, strict=True):
        if len(example.slots) != len(target):
            raise DataError(f"an example of {len(example.slots)} words has {len(target)} targets: give one a word.")
    soft = isinstance(targets[0], np.ndarray) and targets[0].ndim == 2
    return _padded(targets, 0).float() if soft else _padded(targets, IGNORED).long()
