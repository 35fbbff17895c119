"""Memory of a training step, by arithmetic: what a worker must hold, and the cheapest settings under which it fits.

No torch here. The arithmetic of weights, gradients and optimizer state is that of Rajbhandari et al. 2020 (ZeRO,
sections 3 and 5), with fp32 in place of fp16; that of activations goes the way of Korthikanti et al. 2022, with what
these models' layers were counted to keep. docs/memory.md has the rule in words, `python -m benchmarks memory` the
predictions beside measured peaks, and `python -m engine.train.memory` prints what the large models need.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from engine.models.sizes import KNOWN, Size
from engine.spec import Resources

WEIGHTS, GRADIENTS, MOMENTS = 4, 4, 8  # bytes a parameter: all fp32, of which autocast makes bf16 copies in passing
FIT = 0.9  # share of the device's memory that is planned with: the allocator fragments, and libraries take their part
CONTEXT = 600 << 20  # bytes that CUDA takes for each process, whatever it computes
SPREAD = 1.2  # how much more another cell of a kind may take than the largest seen: its sentences may be longer
REDUCE_BUCKET = 50_000_000  # elements that ZeRO reduces at once; its own default takes 2 GB per worker in fp32
LIVE = 200_000_000  # elements of parameters that ZeRO 3 holds whole at once: about a layer of mT5-xxl


class Kept(NamedTuple):
    """Bytes kept for the backward pass by a layer, for each token and unit of what the field names."""

    width: int
    feed_forward: int
    inner: int
    scores: int  # heads x keys


# Counted with torch.autograd.graph.saved_tensors_hooks on random models with dropout (transformers 5.23, attention
# "eager" for mT5 and "sdpa" without a fused kernel for encoders: a fused one keeps no scores).
ENCODER_LAYER = {
    ("mt5", "fp32"): Kept(32, 20, 16, 12), ("mt5", "bf16"): Kept(30, 10, 8, 10),
    ("encoder", "fp32"): Kept(40, 8, 0, 12), ("encoder", "bf16"): Kept(34, 4, 0, 12),
}  # fmt: skip
DECODER_LAYER = {"fp32": Kept(48, 20, 24, 12), "bf16": Kept(42, 10, 12, 10)}  # a slot's; its keys: slots and subwords
CROSS_ATTENTION = {"fp32": Kept(0, 0, 8, 0), "bf16": Kept(4, 0, 4, 0)}  # a subword's, in each layer of the decoder
LOGITS = {"fp32": 12, "bf16": 16}  # bytes for each slot and output
PASSING = {"fp32": 4, "bf16": 8}  # bytes a score: gradients that the backward pass of one layer's attention holds for a while
STREAM = 4  # bytes of a token's state for each unit of width: fp32 between the layers


@dataclass(frozen=True)
class Activations:
    """Bytes kept between a forward and a backward pass: of all layers, or with gradient checkpointing."""

    whole: int = 0
    checkpointed: int = 0


UNKNOWN = Activations()


@dataclass(frozen=True)
class Settings:
    """How a training is made to fit: ZeRO's stage, optimizer state on the host, activations computed again."""

    zero_stage: int
    offload: bool
    checkpointing: bool


def activations(
    size: Size, form: str, precision: str, sentences: int, tokens: int, slots: int, outputs: int = 0
) -> Activations:
    """Return the activations of one micro-batch.

    `tokens`, `slots`: those of each of its sentences, padding included. `outputs`: rows of the output head, which count
    in pretraining only.
    """
    copies = 2 if precision == "bf16" else 0  # bytes a weight: autocast's copy is kept for the backward pass
    family = "encoder" if size.family == "encoder" else "mt5"
    encoder = sentences * tokens * _kept(ENCODER_LAYER[family, precision], size, tokens)
    encoder += copies * (size.attention + size.dense)
    layers, inputs = [encoder] * size.layers, size.layers * sentences * tokens
    if form == "slots":
        decoder = sentences * slots * _kept(DECODER_LAYER[precision], size, slots + tokens)
        decoder += sentences * tokens * _kept(CROSS_ATTENTION[precision], size, 0)
        decoder += copies * (2 * size.attention + size.dense)
        layers += [decoder] * size.decoder_layers
        inputs += size.decoder_layers * sentences * slots
    head = sentences * slots * outputs * LOGITS[precision]
    besides = head + PASSING[precision] * sentences * tokens * size.heads * tokens
    return Activations(sum(layers) + besides, STREAM * size.width * inputs + max(layers) + besides)


def device_bytes(trained: int, frozen: int, kept: Activations, workers: int, settings: Settings) -> int:
    """Return the bytes that a worker's device must hold, for so many parameters `trained` and `frozen`."""
    state = _state(trained, workers, settings)
    whole = frozen if settings.zero_stage < 3 else -(-frozen // workers) + min(LIVE, trained + frozen)
    buckets = 2 * GRADIENTS * min(REDUCE_BUCKET, trained) if workers > 1 else 0
    running = state.device + WEIGHTS * whole + buckets + (kept.checkpointed if settings.checkpointing else kept.whole)
    return max(running, WEIGHTS * (trained + frozen))  # the weights come whole, before ZeRO 3 parts them


def host_bytes(trained: int, workers: int, settings: Settings) -> int:
    """Return the bytes of optimizer state that a worker keeps in the host's memory."""
    return _state(trained, workers, settings).host


def choose(trained: int, frozen: int, kept: Activations, workers: int, memory: int, resources: Resources) -> Settings:
    """Return the first settings that fit `memory` bytes, from the cheapest on; where none does, the smallest.

    What `resources` names is taken as it is.
    """
    room = FIT * memory
    allowed = list(_candidates(workers, resources))
    need = {settings: device_bytes(trained, frozen, kept, workers, settings) for settings in allowed}
    return next((settings for settings in allowed if need[settings] <= room), min(allowed, key=need.__getitem__))


def cells_per_device(peak: int, memory: int) -> int:
    """Return how many processes with such a peak, in bytes, share a GPU of so much memory: at least 1."""
    return max(1, int(FIT * memory // (SPREAD * peak + CONTEXT)))


def _kept(layer: Kept, size: Size, keys: int) -> int:
    """Bytes of a layer for one token that attends to so many keys."""
    return (
        layer.width * size.width
        + layer.feed_forward * size.feed_forward
        + layer.inner * size.inner
        + layer.scores * size.heads * keys
    )


class _State(NamedTuple):
    device: int
    host: int


def _state(trained: int, workers: int, settings: Settings) -> _State:
    """Bytes of weights, gradients and optimizer state of the parameters that are trained."""
    part = -(-trained // workers)
    moments, gradients, weights = MOMENTS * part, GRADIENTS * part, WEIGHTS * part
    stage = settings.zero_stage
    if stage == 0:
        return _State((WEIGHTS + GRADIENTS + MOMENTS) * trained, 0)
    if settings.offload:  # of the gradients the host has a worker's part, and a copy of the weights that it steps
        device = weights if stage == 3 else WEIGHTS * trained + (GRADIENTS * trained if stage == 1 else 0)
        return _State(device, weights + gradients + moments)
    if stage == 3:
        return _State(weights + gradients + moments, 0)
    # DeepSpeed steps a copy of the worker's part of the weights, in fp32 even where they are fp32 themselves.
    return _State(WEIGHTS * trained + (GRADIENTS * trained if stage == 1 else gradients) + weights + moments, 0)


def _candidates(workers: int, resources: Resources) -> Iterator[Settings]:
    """Settings in order of their cost in time.

    ZeRO 1 and 2 send as much as plain training does, ZeRO 3 half as much again (Rajbhandari et al. 2020, section 7);
    checkpointing computes a third more; offloading moves the gradients and the weights over the bus at each update.
    """
    alone = workers == 1 and resources.offload is not True  # one process without DeepSpeed
    stages = (0,) if alone else (0, 1, 2, 3) if resources.zero_stage == "auto" else (resources.zero_stage,)
    either = (False, True)
    offloads = either if resources.offload == "auto" else (resources.offload,)
    checkpointings = either if resources.gradient_checkpointing == "auto" else (resources.gradient_checkpointing,)
    for offload, checkpointing, stage in product(offloads, checkpointings, stages):
        if stage or not offload:
            yield Settings(stage, offload, checkpointing)


def main() -> None:
    """Print, as a table in Markdown, what mT5's sizes need of each worker, by the number of workers.

    `python -m engine.train.memory [GB]`: GB of a worker's device, 80 if not given.
    """
    memory = int(sys.argv[1] if len(sys.argv) > 1 else 80) * 10**9
    workers, rows, micro_batch = (1, 2, 4, 8), 20_000, (16, 128, 40)
    print(f"| on {memory // 10**9} GB, bf16 | whole, plain | 1 worker |" + "".join(f" {n} workers |" for n in workers[1:]))
    print("| --- " * (2 + len(workers)) + "|")
    for name in ("small", "base", "large", "xl", "xxl"):
        size = KNOWN[f"google/mt5-{name}"]
        whole = size.body + 2 * size.vocabulary * size.width
        everything = activations(size, "slots", "bf16", *micro_batch, outputs=size.vocabulary)
        plain = device_bytes(whole, 0, everything, 1, Settings(0, False, False))
        trained, kept = size.body + rows * size.width, activations(size, "slots", "bf16", *micro_batch)
        cells = [f"{plain / 1e9:.0f} GB", *(_cell(trained, kept, number, memory) for number in workers)]
        print(f"| {name}, {trained / 1e6:,.0f}M of {whole / 1e6:,.0f}M trained | {' | '.join(cells)} |")


def _cell(trained: int, kept: Activations, workers: int, memory: int) -> str:
    """What one model needs of a worker, in words. A single worker is let offload, which the rule by itself does not."""
    resources = Resources(workers=workers)
    if device_bytes(trained, 0, kept, workers, choose(trained, 0, kept, workers, memory, resources)) > FIT * memory:
        resources = Resources(workers=workers, offload=True)
    settings = choose(trained, 0, kept, workers, memory, resources)
    need, host = device_bytes(trained, 0, kept, workers, settings), host_bytes(trained, workers, settings)
    words = [f"ZeRO {settings.zero_stage}" if settings.zero_stage else "plain"]
    words += ["offload"] * settings.offload + ["checkpointing"] * settings.checkpointing
    text = f"{', '.join(words)}: {need / 1e9:.0f} GB" + (f" + {host / 1e9:.0f} on the host" if host else "")
    return text if need <= FIT * memory else f"no ({text})"


if __name__ == "__main__":
    main()
