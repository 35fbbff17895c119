"""The training loop in one process: it learns, splits batches with no effect, resumes, refuses what is broken."""

import math
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn

import engine.work
from engine.spec import Training
from engine.store import Store
from engine.train.batches import updates, words_per_update
from engine.train.loop import FolderCheckpoints, PlainBackend, TrainingError, TrainingLog, adamw, rate, train
from engine.train.losses import cross_entropy, kl, mse
from engine.work import StoreCheckpoints

TRAINING = Training(steps=40, batch_size=10, learning_rate=0.02, schedule="cosine")


@dataclass(frozen=True)
class Words:
    input_ids: list[int]
    slots: list[int]


class Tagger(nn.Module):
    """A word's tag follows from its subword: as much as is needed to see a loss fall."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(20, 8)
        self.norm = nn.LayerNorm(8)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask, slots):
        words = self.embedding(input_ids).gather(1, slots.clamp(min=0)[..., None].expand(-1, -1, 8))
        return self.head(self.dropout(self.norm(words))).float()


def examples() -> tuple[list[Words], list[list[int]]]:
    torch.manual_seed(1)
    sentences = [torch.randint(1, 20, (int(length),)).tolist() for length in torch.randint(1, 9, (50,))]
    return [Words(ids, list(range(len(ids)))) for ids in sentences], [[id % 3 for id in ids] for ids in sentences]


def run(training: Training = TRAINING, micro_batch: int = 0, backend: PlainBackend | None = None, dropout: float = 0.0,
        stop: int | None = None, seed: int = 0) -> tuple[TrainingLog, Tagger]:  # fmt: skip
    windows, tags = examples()
    words = words_per_update(windows, training.batch_size)
    model = Tagger(dropout)
    log = train(
        model,
        islice(updates(windows, tags, 0, training, 0, micro_batch=micro_batch), stop),
        lambda model, batch: cross_entropy(
            model(batch.input_ids, batch.attention_mask, batch.slots), batch.targets, batch.mask, words
        ),
        training,
        backend or PlainBackend("cpu"),
        seed,
    )
    return log, model


def test_it_learns_and_keeps_a_log():
    log, model = run()
    assert len(log.losses) == 40 and all(isinstance(loss, float) for loss in log.losses)
    assert log.losses[0] > math.log(3) / 2 and log.losses[-1] < log.losses[0] / 2
    assert log.tokens == 8 * sum(len(window.input_ids) for window in examples()[0])
    assert log.seconds > 0 and log.peak_memory_bytes > 2**20
    assert not model.training


def test_micro_batches_do_not_change_the_update():
    whole, parts = run(), run(micro_batch=3)
    assert parts[0].losses == pytest.approx(whole[0].losses, rel=1e-4)
    torch.testing.assert_close(parts[1].state_dict(), whole[1].state_dict(), rtol=1e-3, atol=1e-5)


def test_the_same_seed_gives_the_same_dropout():
    assert run(dropout=0.3, seed=1)[0].losses == run(dropout=0.3, seed=1)[0].losses
    assert run(dropout=0.3, seed=1)[0].losses != run(dropout=0.3, seed=2)[0].losses


def test_bf16_keeps_weights_in_fp32():
    log, model = run(replace(TRAINING, precision="bf16"))
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    assert log.losses != run()[0].losses and log.losses == pytest.approx(run()[0].losses, rel=0.05)


def test_frozen_weights_stay_and_get_no_optimizer_state():
    model = Tagger()
    model.embedding.requires_grad_(False)
    groups = adamw(model, TRAINING).param_groups
    assert [group["weight_decay"] for group in groups] == [TRAINING.weight_decay, 0]
    assert groups[0]["params"] == [model.head.weight]
    assert len(groups[1]["params"]) == 3
    with pytest.raises(TrainingError, match="every weight is frozen"):
        adamw(model.requires_grad_(False), TRAINING)


@pytest.mark.parametrize(("schedule", "half"), [("constant", 1), ("linear", 0.5), ("cosine", 0.5)])
def test_the_schedule_rises_then_falls(schedule, half):
    training = Training(steps=100, warmup=0.2, schedule=schedule)
    rates = [rate(step, training) for step in range(100)]
    assert 0 < rates[0] < 0.06 and rates[:21] == sorted(rates[:21])
    assert rates[20] == max(rates) == 1
    assert rates[60] == pytest.approx(half)
    assert rates[20:] == sorted(rates[20:], reverse=True) and rates[-1] > 0
    assert rate(0, Training(steps=1, warmup=0.9)) > 0


def test_the_gradient_is_clipped():
    model = Tagger()
    backend = PlainBackend("cpu")
    wrapped = backend.prepare(model, replace(TRAINING, clip=1e-6))
    backend.backward(1e4 * wrapped.head.weight.square().sum(), last=True)
    before = model.head.weight.grad.norm()
    norm = backend.step(0.0)
    assert norm == pytest.approx(before.item(), rel=1e-5) and norm > 1e3


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_non_finite_loss_or_gradient_stops_the_training(where):
    def loss(model, batch):
        logits = model(batch.input_ids, batch.attention_mask, batch.slots)
        if where == "loss":
            return logits.sum() * math.inf
        return (logits - logits.detach()).abs().sum().sqrt()  # 0, and its gradient is 0 * inf

    windows, tags = examples()
    with pytest.raises(TrainingError, match=r"update 1 of 40.*lower learning_rate \(it is 0.02\)"):
        train(Tagger(), updates(windows, tags, 0, TRAINING, 0), loss, TRAINING, PlainBackend("cpu"))


def test_too_few_batches_are_an_error():
    with pytest.raises(TrainingError, match="ended after 7 of 40"):
        run(stop=7)


@pytest.mark.parametrize("where", ["folder", "remote store"])
def test_a_resumed_run_equals_the_undisturbed_one(tmp_path, monkeypatch, where):
    monkeypatch.setattr(engine.work, "CHECKPOINT_EVERY", 5)
    monkeypatch.setattr(engine.work, "UPLOAD_EVERY", 0)
    store = Store("mock:///out")
    undisturbed, model = run(dropout=0.3)
    checkpoints = FolderCheckpoints(tmp_path / "checkpoint", 5) if where == "folder" else StoreCheckpoints(store, "step")
    with pytest.raises(TrainingError, match="ended after 18"):
        run(dropout=0.3, stop=18, backend=PlainBackend("cpu", checkpoints))
    torch.manual_seed(99)
    with checkpoints.reading() as newest:
        assert len(torch.load(newest / "rank-0-of-1.pt")["log"]["losses"]) == 15
    resumed, again = run(dropout=0.3, backend=PlainBackend("cpu", checkpoints))
    assert resumed.losses == undisturbed.losses and resumed.tokens == undisturbed.tokens
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    if where == "remote store":
        with store.checkpoints("step"):
            assert len(store._list("artifacts/.run-step")) == 2, "one checkpoint and its name"
        with checkpoints.reading() as newest:
            assert newest is None


def test_checkpoints_in_a_remote_store_are_some_time_apart():
    assert StoreCheckpoints(Store("mock:///out"), "step").every > 10**9


def test_a_checkpoint_of_another_number_of_workers_is_not_used(tmp_path):
    checkpoints = FolderCheckpoints(tmp_path / "checkpoint", every=5)
    run(backend=PlainBackend("cpu", checkpoints))
    (own,) = (tmp_path / "checkpoint").glob("rank-*")
    own.rename(own.with_name("rank-0-of-2.pt"))
    assert run(backend=PlainBackend("cpu", checkpoints))[0].losses == run()[0].losses


def test_losses_against_their_formulas():
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 3, 4), torch.tensor([[True, True, True], [True, False, False]])
    teacher = torch.randn(2, 3, 4).softmax(-1)
    hard = torch.tensor([[0, 1, 2], [3, -100, -100]])
    student = logits.softmax(-1)
    words = [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert cross_entropy(logits, hard, mask, 4) == pytest.approx(
        sum(-math.log(student[b, w, hard[b, w]]) for b, w in words) / 4
    )
    assert mse(logits, teacher, mask, 4) == pytest.approx(
        sum(((student[b, w] - teacher[b, w]) ** 2).sum().item() for b, w in words) / (4 * 4)
    )
    assert kl(logits, teacher, mask, 4) == pytest.approx(
        sum((teacher[b, w] * (teacher[b, w] / student[b, w]).log()).sum().item() for b, w in words) / 4
    )
    assert kl(teacher.log(), teacher, mask, 4) == pytest.approx(0, abs=1e-6)


def test_the_loop_needs_neither_ray_nor_deepspeed():
    code = (
        "import sys; sys.modules.update(ray=None, deepspeed=None); import engine.train.loop, engine.train.batches, "
        "engine.train.losses"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
