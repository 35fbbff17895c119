"""Two workers under Ray Train with DeepSpeed do what one process does, survive a lost worker, and say what failed."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import ray
import torch
from torch import nn

from engine.data.sentences import Sentence
from engine.errors import DataError
from engine.models.load import new_tagger
from engine.models.tiny import make_tiny
from engine.spec import Resources, Training
from engine.train.batches import Batch, updates, words_per_update
from engine.train.deepspeed import DeepSpeedBackend
from engine.train.distributed import lost, run, worker_error
from engine.train.loop import Backend, PlainBackend, TrainingError, train
from engine.train.losses import cross_entropy

pytestmark = pytest.mark.cluster
TAGS = ("O", "B-PER")
TRAINING = Training(steps=20, batch_size=9, learning_rate=3e-3, clip=0.5)
RESOURCES = Resources(workers=2, zero_stage=2, micro_batch=3)


def sentences() -> list[Sentence]:
    """Made words, of which the capital ones are names."""
    random = Random(0)
    words = ["".join(random.choices("abdegiklmnorstu", k=random.randint(2, 8))) for _ in range(400)]
    words = [word.capitalize() if number % 4 == 0 else word for number, word in enumerate(words)]
    chosen = [tuple(random.choices(words, k=random.randint(2, 9))) for _ in range(200)]
    return [Sentence(some, tuple(TAGS[word.istitle()] for word in some)) for some in chosen]


def fit(
    tiny: Path, backend: Backend, training: Training = TRAINING, dropout: float = 0, lost: Path | None = None,
    with_node: bool = False,
) -> dict:  # fmt: skip
    """Train the tiny mT5. `lost`: rank 1 is killed at update 12, once; this file then says that it was.

    `with_node`: Ray's node is killed with it, which is the process that started the worker.
    """
    tagger = new_tagger(str(tiny), "slots", TAGS, seed=0)
    for part in tagger.modules():
        if isinstance(part, nn.Dropout):
            part.p = dropout
    labeled = sentences()
    windows = tagger.windows(labeled, training.max_tokens)
    targets = [[TAGS.index(tag) for tag in labeled[window.sentence].tags] for window in windows]
    words = words_per_update(windows, training.batch_size)

    def batches() -> Iterator[list[Batch]]:
        mine = updates(windows, targets, 0, training, 0, backend.rank, backend.world, RESOURCES.micro_batch)
        for step, micro_batches in enumerate(mine):
            if lost and backend.rank == 1 and step == 12 and not lost.exists():
                lost.touch()
                for process in (*[os.getppid()] * with_node, os.getpid()):
                    os.kill(process, signal.SIGKILL)
            yield micro_batches

    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        logits = model(batch.input_ids, batch.attention_mask, batch.slots)
        return cross_entropy(logits, batch.targets, batch.mask, words)

    log = train(tagger, batches(), loss, training, backend)
    weights = {name: value.numpy() for name, value in backend.weights().items()}  # Ray returns no tensors
    return {"losses": log.losses, "tokens": log.tokens, "weights": weights}


def fit_all(tiny: Path, backend: DeepSpeedBackend) -> dict[str, Any]:
    """One start of Ray for several trainings: each of ZeRO's stages, offload, dropout, bf16."""

    def at(stage: int, **changes: bool) -> DeepSpeedBackend:
        return DeepSpeedBackend(replace(RESOURCES, zero_stage=stage, **changes), backend.device)

    return {
        **{f"zero {stage}": fit(tiny, at(stage)) for stage in range(4)},
        "offload": fit(tiny, at(2, offload=True)),
        "all that saves memory": fit(tiny, at(3, offload=True, gradient_checkpointing=True)),
        "dropout": fit(tiny, at(3), dropout=0.3),
        "bf16": fit(tiny, at(2), replace(TRAINING, precision="bf16")),
    }


def fit_losing_a_worker(folder: Path, backend: DeepSpeedBackend) -> dict[str, Any]:
    """Train through the loss of a worker, leave the result in a file, and fail."""
    result = fit(folder / "tiny", backend, dropout=0.3, lost=folder / "lost")
    if backend.rank == 0:
        torch.save(result, folder / "result.pt")
    torch.distributed.barrier()
    if backend.rank == 1:
        with (folder / "failures").open("a") as file:
            file.write("once ")
        raise DataError("line 3 has no tag")
    return result


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    tests = Path(__file__).parent
    path = os.pathsep.join([str(tests.parent), str(tests), os.environ.get("PYTHONPATH", "")])
    environment = {"env_vars": {"PYTHONPATH": path}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed") / "tiny"
    make_tiny(folder, sentences(), seed=0)
    return folder


@pytest.fixture(scope="module")
def together(cluster: None, tiny: Path) -> dict[str, Any]:
    return run(fit_all, tiny, RESOURCES, str(tiny.parent / "all"))


@pytest.fixture(scope="module")
def alone(tiny: Path) -> dict[str, Any]:
    return fit(tiny, PlainBackend("cpu"))


def assert_equal(ones: dict[str, np.ndarray], others: dict[str, np.ndarray], **tolerance: float) -> None:
    assert list(ones) == list(others)
    for name, one in ones.items():
        np.testing.assert_allclose(one, others[name], err_msg=name, **({"rtol": 0} | tolerance))


@pytest.mark.parametrize("how", [*(f"zero {stage}" for stage in range(4)), "offload", "all that saves memory"])
def test_two_workers_train_as_one_does(together, alone, how):
    result = together[how]
    assert result["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    assert sum(result["losses"][-5:]) < sum(result["losses"][:5])
    assert result["tokens"] == alone["tokens"]
    assert_equal(result["weights"], alone["weights"], rtol=1e-3, atol=1e-4)


def test_bf16_is_autocast_in_all(together, tiny):
    alone = fit(tiny, PlainBackend("cpu"), replace(TRAINING, precision="bf16"))
    # bf16 keeps 8 bits of a logit: an error of the loss that does not shrink as the loss falls from 1.1 to 0.1
    assert together["bf16"]["losses"] == pytest.approx(alone["losses"], rel=2e-2, abs=5e-3)
    assert together["bf16"]["losses"] != together["zero 2"]["losses"]
    weights = {name: value for name, value in together["bf16"]["weights"].items() if not name.endswith(".ids")}
    assert {value.dtype for value in weights.values()} == {np.dtype("float32")}


@pytest.mark.soak
def test_a_lost_worker_is_replaced_and_an_error_is_passed_on(together, tiny):
    folder, resources = tiny.parent, replace(RESOURCES, zero_stage=3)
    with pytest.raises(DataError, match="^line 3 has no tag$") as raised:
        run(fit_losing_a_worker, folder, resources, str(folder / "run"), checkpoint_every=5)
    assert (folder / "lost").exists()
    result = torch.load(folder / "result.pt", weights_only=False)
    assert result["losses"] == together["dropout"]["losses"]
    assert_equal(result["weights"], together["dropout"]["weights"])
    assert (folder / "failures").read_text() == "once "
    assert isinstance(raised.value.__cause__, ray.train.WorkerGroupError)


def test_errors_of_other_kinds_keep_their_text():
    closed = RuntimeError("connection closed")
    error = worker_error({0: closed, 1: KeyError("tag"), 2: closed})
    assert str(error) == "worker 0: RuntimeError: connection closed; worker 1: KeyError: 'tag'"
    assert isinstance(error, TrainingError)


def test_a_worker_that_others_miss_was_lost_and_an_error_of_its_own_was_not():
    missed = RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:22934: Connection reset by peer.")
    assert lost([missed]) and lost([missed, torch.distributed.DistBackendError("NCCL communicator was aborted")])
    assert lost([KeyError("tag"), ray.exceptions.RayError("died")])
    assert not lost([KeyError("tag"), missed]) and not lost([RuntimeError("shape mismatch")])
