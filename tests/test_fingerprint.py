"""Fingerprints: equal for equal recipes in any process, different for different ones, and never of unstable values."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cells import expand
from engine.compiler import compile_study
from engine.fingerprint import FingerprintError, Part, canonical, fingerprint
from engine.graph import Step
from engine.spec import Checkpoint, Pretraining, PretrainRecipe, Resources, Split, Study, Training

ROOT = Path(__file__).resolve().parents[1]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(values)
@settings(deadline=None, max_examples=50, derandomize=True)
def test_the_order_of_keys_does_not_matter(value: object) -> None:
    assert fingerprint({"a": value, "b": 1}) == fingerprint({"b": 1, "a": value})
    assert fingerprint({"a": value}) != fingerprint({"b": value})


@dataclass(frozen=True)
class Shared(Part):
    name: str
    value: object


@given(values)
@settings(deadline=None, max_examples=100, derandomize=True)
def test_it_is_the_hash_of_the_canonical_form_as_json(value: object) -> None:
    """Stores outlive versions of the engine: whoever makes this faster must not change a value."""
    for whole in (value, [value, (value,)], {"b": value, "a é%": 1.0}, Shared('"%s"', value), [Shared("a", Shared("b", value))]):
        text = json.dumps(canonical(whole), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        assert fingerprint(whole) == fingerprint(whole) == sha256(text.encode()).hexdigest()[:12]


def test_fingerprints_are_those_of_the_first_stores() -> None:
    assert fingerprint(Split("news", "swa", "train", "1", ("LOC", "PER"))) == "3dbcc197d9ac"
    assert fingerprint(["x", 1, 2.5, None, True, Checkpoint("m", "é")]) == "c541628151a1"


def test_another_way_to_corrupt_spans_changes_the_steps_that_do_and_no_others() -> None:
    def step(objective: str) -> str:
        training, text = Pretraining(objective=objective, sentences=10, steps=5), Split("news", "swa", "text", "1", ())
        return Step.of(PretrainRecipe(Checkpoint("m", "1"), (text,), training, 0), "x", (), "m").fingerprint

    assert (step("denoise"), step("masked-lm")) == ("f724c50bfc37", "51dc70cf3990")
    assert step("span-corruption") != "aa35724981ea"  # whose spans could stand side by side


def test_another_process_gives_the_same() -> None:
    code = "from engine.fingerprint import fingerprint; print(fingerprint({'x': [1, 2.5, 'é'], 'y': None}))"
    answers = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert answers == {fingerprint({"y": None, "x": [1, 2.5, "é"]})}


@dataclass(frozen=True)
class Holder:
    value: object


@pytest.mark.parametrize("bad", [len, {1, 2}, object(), float("nan"), lambda: 1, {1: "a"}])
def test_what_has_no_stable_form_raises_and_is_named(bad: object) -> None:
    with pytest.raises(FingerprintError, match=r"recipe\.value"):
        fingerprint(Holder(bad))


def test_every_field_of_a_training_counts() -> None:
    base = Training(steps=10)
    changes = {
        "steps": 11, "batch_size": 8, "learning_rate": 1e-3, "schedule": "cosine", "warmup": 0.2, "weight_decay": 0.5,
        "clip": 2.0, "freeze_embeddings": True, "freeze_layers": 1, "precision": "bf16", "max_tokens": 64,
        "similar_lengths": 2,
    }  # fmt: skip
    prints = {fingerprint(replace(base, **{name: value})) for name, value in changes.items()}
    assert len(prints | {fingerprint(base)}) == len(changes) + 1


def study(**changes: object) -> Study:
    settings = {
        "name": "s", "question": "?", "hypothesis": "!", "dataset": "sandbox", "model": "tiny", "sources": "x-eng",
        "targets": "x-nld", "volumes": (0, 10), "seeds": 0,
    }  # fmt: skip
    return Study(**{**settings, **changes})


def test_how_it_runs_changes_no_fingerprint() -> None:
    plain = set(compile_study(study(), None).steps)
    for resources in (
        Resources(workers=2, zero_stage=2), Resources(micro_batch=4), Resources(threads=4), Resources(gpus=0.5),
        Resources(gpus="auto", offload=True, gradient_checkpointing=True),
    ):  # fmt: skip
        assert set(compile_study(study(resources=resources), None).steps) == plain
    assert set(compile_study(study(name="other", question="why?"), None).steps) == plain


def test_where_the_data_lie_changes_no_fingerprint_and_what_they_hold_does(tmp_path: Path) -> None:
    model = tmp_path / "encoder"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1}')

    def steps(folder: str, words: str) -> set[str]:
        for split in ("train", "dev", "test"):
            for code in ("swa", "hau"):
                file = tmp_path / folder / "ner" / "news" / code / f"{split}.conll"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("".join(f"{word}{split}{code} O\n\n" for word in words))
        real = study(dataset="news", model=str(model), sources="swa", targets="hau", volumes=(0, 1))
        return set(compile_study(real, str(tmp_path / folder)).steps)

    assert steps("here", "ab") == steps("there", "ab")
    assert steps("here", "ab").isdisjoint(steps("elsewhere", "ac"))


def test_a_target_of_the_source_set_is_no_transfer() -> None:
    cells = expand(study(sources=("x-eng+x-nld", "x-eng"), targets=("x-nld", "x-rus"), volumes=0))
    assert {(cell.method, cell.sources, cell.target) for cell in cells} == {
        ("direct", ("x-eng",), "x-nld"), ("direct", ("x-eng",), "x-rus"), ("direct", ("x-eng", "x-nld"), "x-rus"),
        ("in-language", ("x-nld",), "x-nld"), ("in-language", ("x-rus",), "x-rus"),
    }  # fmt: skip


def test_a_larger_volume_leaves_the_finished_students_alone() -> None:
    small, large = (compile_study(study(volumes=volumes), None) for volumes in ((0, 10), (0, 10, 20)))
    students = {name for name in small.steps if name.startswith("distill")}
    assert students < {name for name in large.steps if name.startswith("distill")}
    assert {cell.fingerprint for cell in small.cells} < {cell.fingerprint for cell in large.cells}
