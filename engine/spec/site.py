"""How and where a study runs: resources and places. Never part of identity."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from engine.spec.checks import LARGEST, one_of, require, typed


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one training step may use. Changing any of it changes no fingerprint.

    `workers`: processes of one step; more than one go through Ray Train and DeepSpeed. `zero_stage`: DeepSpeed's ZeRO
    stage; `offload`: the optimizer's state in the host's memory, by DeepSpeed too; `gradient_checkpointing`: layers
    computed again in the backward pass instead of kept. "auto" takes the cheapest of these that fits the device's
    memory (`engine.train.memory`). `micro_batch`: most sentences of a worker's forward pass, 0 for no limit. `gpus`:
    GPUs per worker, a fraction where several cells share one; with "auto" the first steps of a kind have one each and
    tell how many share one from then on. `threads`: CPU threads per worker, 0 for this machine's cores parted among
    --jobs, and 1 without --jobs.
    """

    workers: int = 1
    zero_stage: Literal["auto", 0, 1, 2, 3] = "auto"
    offload: Literal["auto"] | bool = "auto"
    gradient_checkpointing: Literal["auto"] | bool = "auto"
    micro_batch: int = 0
    gpus: Literal["auto"] | float = 0.0
    threads: int = 0

    def __post_init__(self) -> None:
        typed(self)
        require(self.workers >= 1, f"workers={self.workers}: must be at least 1")
        for name in ("threads", "micro_batch"):
            require(getattr(self, name) >= 0, f"{name}={getattr(self, name)}: must not be negative")
        one_of("zero_stage", self.zero_stage, ("auto", 0, 1, 2, 3))
        one_of("offload", self.offload, ("auto", False, True))
        one_of("gradient_checkpointing", self.gradient_checkpointing, ("auto", False, True))
        require(
            self.zero_stage != 0 or self.offload is not True,
            "zero_stage=0 with offload=True: without ZeRO nothing can be offloaded; give a stage from 1 to 3, or 'auto'",
        )
        number = isinstance(self.gpus, int | float) and 0 <= self.gpus <= LARGEST
        require(self.gpus == "auto" or number, f"gpus={self.gpus!r}: must be 'auto', 0 or more")
        require(
            self.workers == 1 or self.gpus in ("auto", int(self.whole_gpus)),
            f"gpus={self.gpus} with workers={self.workers}: workers of one step cannot share a GPU; "
            "give each a whole one, or use one worker",
        )

    @property
    def cpus(self) -> int:
        """CPU threads per worker."""
        return self.threads or 1

    @property
    def whole_gpus(self) -> float:
        """GPUs per worker where nothing is known of what it needs."""
        return 1.0 if self.gpus == "auto" else self.gpus

    @property
    def deepspeed(self) -> bool:
        """Whether a training goes through Ray Train and DeepSpeed."""
        return self.workers > 1 or self.offload is True

    @property
    def device(self) -> str:
        """What a worker computes on, as torch names it."""
        return "cuda" if self.gpus else "cpu"


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where this run finds things. `data`: the folder given as --data. `models`: checkpoint name -> folder or hub id."""

    data: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
