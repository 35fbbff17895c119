"""What docs/security.md promises: nothing read is run, no name leaves the store, no secret stays in it, the page shows and runs not."""

import ast
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
import sham
import synthetic_store
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from small_study import STUDY
from torch import nn

from analysis import report
from engine.errors import CheckpointError, ModelError, SprachbundError, StoreError
from engine.models.load import load_model, model_type
from engine.spec import DistillRecipe, Resources, Study, Training
from engine.steps.similarity import FILE
from engine.store import Store, slug
from engine.store.files import inside, refuse_secrets, temporary
from engine.study import main as study_program
from engine.train.deepspeed import DeepSpeedBackend
from engine.train.loop import FolderCheckpoints, PlainBackend, TrainingError, train

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"


# ---------------------------------------------------------------------------------------------------------------
# Nothing that is read is run


class Planted:
    """What an attacker puts where weights are expected: unpickling it writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def calls() -> dict[str, list[str]]:
    """The calls in the project's code, by the name of what is called."""
    found: dict[str, list[str]] = {}
    for file in sorted([*ROOT.glob("engine/**/*.py"), *ROOT.glob("analysis/**/*.py"), *ROOT.glob("studies/*.py")]):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                found.setdefault(ast.unparse(node.func), []).append(ast.unparse(node))
    return found


def test_the_code_unpickles_and_evaluates_nothing() -> None:
    called = calls()
    for name in ("eval", "exec", "pickle.load", "pickle.loads", "joblib.load", "torch.jit.load", "yaml.load", "marshal.loads", "os.system"):
        assert name not in called
    for name, must in (("torch.load", "weights_only=True"), ("np.load", "allow_pickle=False"), ("auto_class.from_pretrained", "use_safetensors=True")):
        assert called[name] and all(must in call for call in called[name]), called[name]
    for file in [*ROOT.glob("engine/**/*.py"), *ROOT.glob("analysis/**/*.py")]:
        text = file.read_text("utf-8")
        assert not re.search(r"^\s*(import|from) (pickle|cloudpickle|dill|shelve|marshal)\b", text, re.MULTILINE), file
        assert not re.search(r"trust_remote_code\s*=\s*(?!False)", text), file


def test_a_planted_checkpoint_is_not_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    torch.save({"model": Planted(mark)}, tmp_path / "plain.pt")
    with pytest.raises(pickle.UnpicklingError):
        PlainBackend("cpu").restore(tmp_path)
    assert not mark.exists()


@dataclass
class Numbers:
    """A micro-batch."""

    x: torch.Tensor
    tokens: int = 4

    def to(self, device: torch.device) -> "Numbers":
        return self


@pytest.fixture(scope="module")  # DeepSpeed keeps the first group it sees
def one_worker() -> Iterator[None]:
    """A process group of this process alone."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
            patch.setenv(name, value)
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
        yield
        torch.distributed.destroy_process_group()


def train_with_deepspeed(newest: Path, stage: int, killed_at: int | None = None) -> list[float]:
    """The losses of 6 updates, with a checkpoint after each second one. One worker has a stage of ZeRO by its offload alone."""
    torch.manual_seed(0)
    model, rows = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 1)), torch.randn(6, 4, 8)
    backend = DeepSpeedBackend(
        Resources(zero_stage=stage, offload=stage > 0), torch.device("cpu"), FolderCheckpoints(newest, every=2)
    )
    loss = lambda called, batch: called(batch.x).square().mean()
    training = Training(steps=6, batch_size=4, learning_rate=1e-2)
    try:
        return train(model, ([Numbers(row)] for row in rows[:killed_at]), loss, training, backend).losses
    except TrainingError:  # the batches ended
        return []
    finally:
        backend.engine.destroy()


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_planted_checkpoint_of_deepspeed_is_not_unpickled_and_a_sound_one_goes_on(
    one_worker: None, tmp_path: Path, stage: int
) -> None:
    newest, mark = tmp_path / "newest", tmp_path / "ran"
    whole = train_with_deepspeed(tmp_path / "undisturbed", stage)
    train_with_deepspeed(newest, stage, killed_at=5)
    assert train_with_deepspeed(newest, stage) == whole
    files = sorted(newest.glob("deepspeed/*.pt"))
    assert len(files) == (2 if stage else 1)
    for file in files:
        sound = file.read_bytes()
        torch.save({"module": Planted(mark)}, file)
        with pytest.raises(CheckpointError, match=r"holds getattr where tensors.*it was not run\).*moved to quarantine"):
            train_with_deepspeed(newest, stage)
        assert not mark.exists()
        file.write_bytes(sound)


def test_a_planted_array_is_not_unpickled(tmp_path: Path) -> None:
    from engine.steps.similarity import teacher_weights

    mark, recipe = tmp_path / "ran", object.__new__(DistillRecipe)
    object.__setattr__(recipe, "weights", True)
    np.save(tmp_path / FILE, np.array([Planted(mark)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        teacher_weights(recipe, 1, {"similarity": tmp_path})
    assert not mark.exists()


def model_folder(folder: Path, mark: Path, **config: Any) -> str:
    """A model folder whose weights are a planted pickle."""
    folder.mkdir()
    settings_ = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 9}
    (folder / "config.json").write_text(json.dumps(settings_ | config))
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\n")
    torch.save({"bert": Planted(mark)}, folder / "pytorch_model.bin")
    return str(folder)


def test_a_model_folder_with_a_pickle_for_weights_is_refused(tmp_path: Path) -> None:
    from transformers import AutoModelForTokenClassification

    mark = tmp_path / "ran"
    with pytest.raises(ModelError, match="has no weights: it needs model.safetensors"):
        load_model(model_folder(tmp_path / "model", mark), AutoModelForTokenClassification)
    assert not mark.exists()


def test_the_code_of_a_model_folder_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    names = {"AutoConfig": "modeling.Config", "AutoModelForTokenClassification": "modeling.Model"}
    folder = model_folder(tmp_path / "model", mark, model_type="planted", auto_map=names)
    Path(folder, "modeling.py").write_text(f"open({str(mark)!r}, 'w')")
    with pytest.raises(ModelError):
        model_type(folder)
    assert not mark.exists()


# ---------------------------------------------------------------------------------------------------------------
# No name leaves the store

names = st.one_of(
    st.text(max_size=300),
    st.sampled_from(["..", "../../etc/passwd", "/etc/passwd", "a/../../b", "C:\\Windows", "\\\\host\\share", "con", "NUL", "aux.txt", ".", "~", "$HOME",
                     "a\x00b", "a\nb", "\u202egnp", "ä" * 200, "x" * 5_000, "．．／", "%2e%2e%2f", "-rf", " ", "file://x"]),
)  # fmt: skip


@settings(deadline=None, derandomize=True)
@given(parts=st.lists(names, min_size=1, max_size=4))
def test_any_names_make_a_plain_piece_of_a_file_name(parts: list[str]) -> None:
    made = f"finetune-{slug(*parts)}-0123456789ab"
    assert inside(f"artifacts/{made}") and re.fullmatch(r"[A-Za-z0-9+_-]{1,90}", made)


@settings(deadline=None, derandomize=True)
@given(name=names)
def test_whatever_a_study_is_called_its_folder_stays_inside(name: str) -> None:
    try:
        study = Study(name=name, question="?", hypothesis="?", dataset="sandbox", model="tiny", sources="x-eng", targets="x-nld")
    except SprachbundError:
        return
    assert inside(study.name) and "/" not in study.name


@settings(deadline=None, derandomize=True)
@given(name=names, kind=st.sampled_from(["", "../", "a/../../", "/"]))
def test_a_name_either_stays_inside_of_the_store_or_is_refused(tmp_path_factory: pytest.TempPathFactory, name: str, kind: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "names"
    store, name = Store(str(folder)), kind + name
    if inside(f"artifacts/{name}"):
        path = Path(os.path.normpath(f"{store.root}/artifacts/{name}"))
        assert path.is_relative_to(f"{store.root}/artifacts")
        return
    for touch in (
        lambda: store.has(name), lambda: store.record(name), lambda: store.fetch(name).__enter__(),
        lambda: store.scratch(name).__enter__(), lambda: store.publish(name, folder, {}),
        lambda: store.quarantine(f"artifacts/{name}", ""),
    ):  # fmt: skip
        with pytest.raises(StoreError, match="no name inside"):
            touch()


def test_a_record_that_names_files_elsewhere_is_damaged(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "out"))
    store.probe()
    for name in ("../../../etc/passwd", "/etc/passwd"):
        artifact = Path(store.root, "artifacts", "step-a-1")
        artifact.mkdir(exist_ok=True)
        (artifact / "step.json").write_text(json.dumps({"files": {name: [1, "x"]}}))
        with pytest.raises(StoreError, match="names files outside"), store.fetch("step-a-1"):
            pass


def test_a_link_in_a_store_is_moved_and_never_followed_to_delete(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "step.json").write_text("not ours")
    store = Store(str(tmp_path / "out"))
    store.probe()
    linked = Path(store.root, "artifacts", "step-a-1")
    linked.symlink_to(precious)
    scratch = temporary("x").replace(f"-{os.getpid()}-", "-999999999-")
    Path(store.root, "artifacts", scratch).symlink_to(precious)
    assert list(store.faults(["step-a-1"])) == ["step-a-1"]
    assert store.quarantine("artifacts/step-a-1", "a link") and not linked.is_symlink()
    store.probe()
    assert (precious / "step.json").read_text() == "not ours"


# ---------------------------------------------------------------------------------------------------------------
# No secret stays

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # Amazon's own example


@pytest.mark.parametrize(
    "address",
    [f"s3://{KEY}:{SECRET}@bucket/out", f"gs://{SECRET}@bucket/out", f" s3://{KEY}:{SECRET}@bucket", f"s3:/{KEY}:{SECRET}@bucket/out",
     f"S3://{KEY}:{SECRET}@bucket", f"s3:{KEY}:{SECRET}@bucket", f"{KEY}:{SECRET}@bucket/out", f"//{KEY}:{SECRET}@bucket/out", f"hdfs://me:{SECRET}@host/out",
     f"s3://bucket/out?secret_key={SECRET}", f"\ns3://b/o?x=1&Session_Token={SECRET}", f"s3:/bucket/out?secret_key={SECRET}",
     f"s3://bucket/out?endpoint_override={KEY}:{SECRET}@localhost"],
)  # fmt: skip
@pytest.mark.parametrize("program", [study_program, report.main])
def test_an_address_with_a_key_is_refused_and_not_repeated(
    program: Callable[[list[str]], int], address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.py").write_text(STUDY)
    given = [address] if program is report.main else ["small.py", "--local", f"--out={address}"]
    assert program(given) == 2
    said = "".join(capfd.readouterr())
    assert "holds a key or password" in said and not [piece for piece in (KEY, *SECRET.split("/")) if piece in said]
    assert os.listdir() == ["small.py"]


@pytest.mark.parametrize("address", ["/tmp/2026-11-22T10:00/me@host", "./a:b@c", "~/a:b@c", "runs/me@host"])
def test_a_folder_may_have_an_at_sign(address: str) -> None:
    refuse_secrets(address)


@pytest.mark.parametrize(
    ("address", "said"),
    [("s3://", "names no bucket. Write s3://BUCKET"), ("gs://?scheme=http", "names no bucket"), ("s3:///out", "names no bucket"),
     ("hdfs://x/y", "hdfs is no place for a store"), ("S3://bucket/out", "Did you mean 's3'"), ("s3:/bucket/out", "begins with s3://"),
     ("s3:bucket", "begins with s3://"), (" s3://bucket/out", "no blanks")],
)  # fmt: skip
def test_an_address_that_is_no_store_is_refused_in_a_sentence(address: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as raised:
        Store(address)
    assert len(str(raised.value)) < 140 and "\n" not in str(raised.value)


def test_no_secret_of_the_environment_is_in_a_store_or_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    store = Store(str(tmp_path / "out"))
    sham.run(sham.graph(), store, monkeypatch)
    assert report.main([store.address]) == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20 and not [path for path in files if SECRET.encode() in path.read_bytes()]


# ---------------------------------------------------------------------------------------------------------------
# The page shows, and does not run


def test_the_page_shows_markup_as_text_and_runs_none(tmp_path: Path) -> None:
    store = synthetic_store.write(tmp_path, targets=synthetic_store.TARGETS[:4], sources=synthetic_store.SOURCES[:4], volumes=(0, 100))
    rows = [row | {"model": SCRIPT, "dataset": SCRIPT, "form": SCRIPT, "finished": datetime(2026, 11, 22, tzinfo=UTC)}
            for row in store.results().to_dicts()]  # fmt: skip
    failed = rows[0] | {"status": "failed", "error": SCRIPT, "method": "direct", "seed": 77}
    shutil.rmtree(tmp_path / "results")
    store.probe()
    store.write_rows("all", "cells", "0" * 12, rows)
    store.write_rows("failed", "failed", "0" * 12, [failed])
    kept = store.study(synthetic_store.STUDY)
    store.write_study(synthetic_store.STUDY, kept | {"question": SCRIPT, "hypothesis": SCRIPT, "warnings": [SCRIPT]})
    assert report.main([str(tmp_path), "--to", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "<script>document" not in text and "<img" not in text and text.count("&lt;script&gt;document") >= 4
    if not browser.available():
        pytest.skip(browser.MISSING)
    with browser.browser() as window:
        window.open(tmp_path / "page.html")
        assert "<script>document.title='run'</script>" in window.run("return document.body.innerText")
        assert window.run("return document.title") != "run"
        assert window.run("return document.images.length") == 0 and window.run("return document.scripts.length") == 1


# ---------------------------------------------------------------------------------------------------------------
# Clusters


def test_a_cluster_asks_for_its_token_and_shows_itself_to_the_loopback_only() -> None:
    config = yaml.safe_load((ROOT / "cluster.yaml").read_text("utf-8"))
    assert "--env=RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert config["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"
    starts = [line for line in config["head_start_ray_commands"] if "--head" in line]
    assert starts and all("--dashboard-host=127.0.0.1" in line for line in starts)
    groups = {*chain.from_iterable(kind["node_config"]["SecurityGroupIds"] for kind in config["available_node_types"].values())}
    assert groups == {"sg-CHANGE-ME"}  # made as docs/cluster.md shows, not by Ray
    page = (ROOT / "docs" / "cluster.md").read_text("utf-8")
    opened = re.findall(r"authorize-security-group-ingress --group-id \$group (.*)", page)
    assert opened == ["--protocol all --source-group $group", "--protocol tcp --port 22 --cidr 203.0.113.7/32"]
    kuberay = yaml.safe_load((ROOT / "docs" / "kuberay.yaml").read_text("utf-8"))
    assert kuberay["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
