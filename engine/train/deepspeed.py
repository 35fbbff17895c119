"""The backend for several workers: DeepSpeed (ZeRO 0 to 3), on GPUs with NCCL and on CPUs with gloo.

It trains as `loop.PlainBackend` does: the same AdamW, schedule, clipping and autocast, so that the number of workers
and the ZeRO stage change no result beyond rounding. Who starts the workers is `engine.train.distributed`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.spec import Resources, Training
from engine.train.loop import Checkpoints, adamw, fit_memory, memory_of, set_learning_rate
from engine.train.memory import LIVE, REDUCE_BUCKET, UNKNOWN, Activations, Settings


class DeepSpeedBackend:
    """One of several workers, each with a process group already made and RANK, WORLD_SIZE, LOCAL_RANK set."""

    def __init__(self, resources: Resources, device: torch.device, checkpoints: Checkpoints | None = None) -> None:
        self.resources = resources
        self.rank = torch.distributed.get_rank()
        self.world = torch.distributed.get_world_size()
        self.device = device
        self.checkpoints = checkpoints

    def prepare(self, model: nn.Module, training: Training, kept: Activations = UNKNOWN) -> nn.Module:
        memory = torch.tensor(memory_of(self.device, self.resources), device=self.device)
        torch.distributed.all_reduce(memory, torch.distributed.ReduceOp.MIN)  # all must choose alike
        self.settings = fit_memory(model, kept, self.world, int(memory), self.resources)
        model = model.float().to(self.device)
        if training.precision == "bf16":  # DeepSpeed opens an autocast of its own, with a cache as `loop` has none
            model.register_forward_pre_hook(lambda *_: torch.set_autocast_cache_enabled(False))
        self.clip = training.clip
        self.engine = _import_deepspeed(self.device).initialize(
            model=model, optimizer=adamw(model, training), config=_config(self.settings, training)
        )[0]
        return self.engine

    def backward(self, loss: Tensor, last: bool) -> None:
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss * self.world)  # DeepSpeed averages over workers; the update's loss is their sum

    def step(self, learning_rate: float) -> Tensor:
        set_learning_rate(self.engine.optimizer, learning_rate)
        if self.settings.zero_stage == 0:  # without ZeRO, DeepSpeed would clip, but not tell the norm
            norm = nn.utils.clip_grad_norm_(self.engine.module.parameters(), self.clip)
            self.engine.step()
            return norm
        self.engine.step()
        return torch.as_tensor(self.engine.get_global_grad_norm(), device=self.device)

    def total(self, values: Tensor) -> Tensor:
        torch.distributed.all_reduce(values)
        return values

    def weights(self) -> dict[str, Tensor]:
        import deepspeed

        state = self.engine.module.state_dict(keep_vars=True)
        whole: dict[int, Tensor] = {}
        for key, value in {id(value): value for value in state.values()}.items():  # tied weights come once
            with deepspeed.zero.GatheredParameters([value], modifier_rank=0, enabled=hasattr(value, "ds_id")):
                if self.rank == 0:
                    whole[key] = value.detach().to("cpu", copy=True)
        return {name: whole[id(value)] for name, value in state.items()} if self.rank == 0 else {}

    def save(self, folder: Path) -> None:
        self.engine.save_checkpoint(str(folder), tag="deepspeed")

    def restore(self, folder: Path) -> None:
        with _unpickling_nothing():
            self.engine.load_checkpoint(str(folder), tag="deepspeed")


@contextmanager
def _unpickling_nothing() -> Iterator[None]:
    """DeepSpeed has torch unpickle whatever a checkpoint holds. Torch's own switch overrules that, wherever the call stands;
    of classes it then makes none but those that DeepSpeed's files are made of, which hold numbers.
    """
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    switches = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "0"}
    before = {name: os.environ.get(name) for name in switches}
    os.environ.update(switches)
    try:
        with torch.serialization.safe_globals([LossScaler, ZeroStageEnum, fragment_address]):
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _import_deepspeed(device: torch.device) -> Any:
    """DeepSpeed, set up for `device`. Its first import takes seconds, and looks at the environment."""
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    import deepspeed
    import deepspeed.ops

    if device.type == "cpu":
        # Else shared-memory collectives are compiled at the first use: half a minute, and a compiler is needed.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="nccl" if device.type == "cuda" else "gloo", auto_mpi_discovery=False)
    return deepspeed


def _config(settings: Settings, training: Training) -> dict[str, Any]:
    """DeepSpeed's configuration. It counts no micro-batches itself: `backward` says which one is an update's last."""
    zero: dict[str, Any] = {
        "stage": settings.zero_stage,
        "reduce_bucket_size": REDUCE_BUCKET,
        # Else models of less than a billion parameters would be held whole.
        "stage3_max_live_parameters": LIVE,
        "stage3_max_reuse_distance": LIVE,
    }
    if settings.offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": training.clip if settings.zero_stage else 0.0,
        "steps_per_print": None,
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,  # offloaded state is stepped by the same AdamW, and nothing is compiled
        # Autocast and not DeepSpeed's own bf16: weights and reduced gradients stay fp32, as with one worker.
        "torch_autocast": {
            "enabled": training.precision == "bf16",
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],
        },
    }
