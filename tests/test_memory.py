"""Memory: the arithmetic beside what a training step holds, the choice of settings, how many cells share a GPU."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.memory import Case, seen
from engine.models.sizes import KNOWN
from engine.spec import Resources, Training
from engine.train.loop import PlainBackend
from engine.train.memory import (
    CONTEXT,
    FIT,
    UNKNOWN,
    Activations,
    Settings,
    activations,
    cells_per_device,
    choose,
    device_bytes,
    host_bytes,
)

GB = 10**9


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("name", "layers"), [("tiny", 1), ("google/mt5-small", 2), ("google/mt5-base", 1)])
def test_the_prediction_is_what_a_step_holds(name: str, layers: int, precision: str, checkpointing: bool) -> None:
    size = replace(KNOWN[name], layers=layers, decoder_layers=layers)  # whole ones: `python -m benchmarks memory`
    case = Case(name, size, precision, checkpointing, rows=2_000)
    assert 0.85 < case.predicted() / seen(case) < 1.2


def test_a_trained_parameter_takes_16_bytes_and_zero_parts_them() -> None:
    def state(stage: int, workers: int, offload: bool = False) -> int:
        return device_bytes(GB, 0, UNKNOWN, workers, Settings(stage, offload, False))

    assert state(0, 1) == 16 * GB
    buckets = 8 * 50_000_000
    assert state(0, 8) == 16 * GB + buckets  # plain data parallelism keeps everything everywhere
    assert state(1, 8) == (4 + 4 + 12 / 8) * GB + buckets
    assert state(2, 8) == (4 + 16 / 8) * GB + buckets
    assert state(3, 2) == 16 / 2 * GB + 4 * 200_000_000 + buckets
    assert state(2, 8, offload=True) == 4 * GB + buckets
    assert host_bytes(GB, 8, Settings(2, True, False)) == 16 / 8 * GB
    assert host_bytes(GB, 8, Settings(2, False, False)) == 0


def test_frozen_parameters_take_their_weights_alone() -> None:
    assert device_bytes(0, GB, UNKNOWN, 1, Settings(0, False, False)) == 4 * GB


@given(
    trained=st.integers(10**6, 2 * 10**10), workers=st.integers(1, 16), memory=st.integers(4 * GB, 100 * GB),
    whole=st.integers(0, 50 * GB),
)  # fmt: skip
@settings(deadline=None, max_examples=50, derandomize=True)
def test_the_choice_fits_if_any_does_and_is_the_cheapest(trained: int, workers: int, memory: int, whole: int) -> None:
    kept = Activations(whole, whole // 10)
    chosen = choose(trained, 0, kept, workers, memory, Resources(workers=workers))
    need = device_bytes(trained, 0, kept, workers, chosen)
    stages = range(4) if workers > 1 else range(1)
    for offload in (False, True) if workers > 1 else (False,):
        for checkpointing in (False, True):
            for stage in stages:
                other = Settings(stage, offload, checkpointing)
                if offload and not stage:
                    continue
                if need > FIT * memory:
                    assert device_bytes(trained, 0, kept, workers, other) >= need
                elif (offload, checkpointing, stage) < (chosen.offload, chosen.checkpointing, chosen.zero_stage):
                    assert device_bytes(trained, 0, kept, workers, other) > FIT * memory


def test_the_rule_by_example() -> None:
    size = KNOWN["google/mt5-xl"]
    kept = activations(size, "slots", "bf16", 16, 128, 40)

    def stage(workers: int, gigabytes: int, **explicit: object) -> Settings:
        return choose(size.body, 0, kept, workers, gigabytes * GB, Resources(workers=workers, **explicit))

    assert stage(1, 80) == Settings(0, False, False)
    assert stage(8, 40).zero_stage > 0 and not stage(8, 40).offload
    assert stage(2, 24).offload
    assert stage(8, 80, zero_stage=3) == Settings(3, False, False)
    assert stage(8, 80, offload=True).offload
    assert stage(1, 80, gradient_checkpointing=True) == Settings(0, False, True)
    assert not stage(1, 1, gradient_checkpointing=False).checkpointing


@given(peak=st.integers(0, 200 * GB), memory=st.integers(GB, 200 * GB))
@settings(deadline=None, max_examples=50, derandomize=True)
def test_cells_that_share_a_gpu_fit_it(peak: int, memory: int) -> None:
    cells = cells_per_device(peak, memory)
    assert cells == 1 or cells * (peak + CONTEXT) < memory
    assert cells <= cells_per_device(peak // 2, memory)


def test_cells_per_gpu_by_example() -> None:
    assert cells_per_device(5 * GB, 80 * GB) == 10
    assert cells_per_device(30 * GB, 80 * GB) == 1
    assert cells_per_device(100 * GB, 80 * GB) == 1


def test_checkpointing_comes_where_memory_demands_it() -> None:
    case = Case("tiny", KNOWN["tiny"], "fp32", False, rows=50)
    model = case.model()
    backend = PlainBackend("cpu")
    backend.prepare(model, Training(steps=1), Activations(whole=10**6, checkpointed=10**5))
    assert not model.is_gradient_checkpointing
    backend.prepare(model, Training(steps=1), Activations(whole=10**15, checkpointed=10**5))
    assert model.is_gradient_checkpointing


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_checkpointing_changes_no_result(precision: str) -> None:
    case = Case("tiny", KNOWN["tiny"], precision, False, rows=50)

    def losses(checkpointing: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        return replace(case, checkpointing=checkpointing).train()

    plain = losses(False)
    assert losses(True) == plain
    assert plain[0] != plain[1]


def test_the_arithmetic_needs_no_torch() -> None:
    code = "import sys; sys.modules.update(torch=None, transformers=None); import engine.train.memory"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_what_the_large_models_need_is_printed() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "engine.train.memory", "24"], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    lines = run.stdout.splitlines()
    assert lines[0].startswith("| on 24 GB") and len(lines) == 7
    assert "offload" in lines[5] and "no (" in lines[6]
