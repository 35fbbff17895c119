"""Malformed corpora and study values: each works or is one of our errors, which says what is wrong in a line of ours.

SPRACHBUND_EXAMPLES sets how many are tried; docs/reliability.md has the command for 2,000.
"""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data.corpora import open_dataset
from engine.data.example_files import read_pairs, read_questions
from engine.data.perturb import perturb
from engine.data.sampling import subset
from engine.data.text import read_text
from engine.errors import DataError
from engine.study import main

EXAMPLES = int(os.environ.get("SPRACHBUND_EXAMPLES", "40"))
some = settings(
    deadline=None, derandomize=True, max_examples=EXAMPLES // 4 + 1, suppress_health_check=list(HealthCheck), database=None, print_blob=False
)
STUDY = """
from engine.spec import *

nan, inf = float("nan"), float("inf")

def training(**changes):
    return Training(**dict(dict(steps=2), **changes))

study = local = Study(**{VALUES})
"""

odd: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([10**12, -(10**30), 0.5, -1.5, 1e300, float("inf"), float("nan")]),
    st.sampled_from(["", "x-eng", "x-nld", "eng", "sandbox", "tiny", "../../etc/passwd", "/etc", "a/b", "con", "x" * 5_000, "naïve", "\x00", "a\nb",
                     "<script>alert(1)</script>", "google/mt5-small", "owner/name@main", "x-eng+x-nld", "+", ",", "all", "-1", "٣", "1e3"]),
    st.text(max_size=5), st.binary(max_size=3), st.lists(st.integers(0, 2), max_size=3), st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.tuples(st.sampled_from(["x-eng", "x-nld", "direct", "in-language", "teacher-student"]), st.sampled_from(["x-nld", "x-rus", "multi-teacher"])),
)  # fmt: skip
# ---------------------------------------------------------------------------------------------------------------
# Corpora

tags = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-ORG", "B-DATE", "B-", "-", "I-XYZ", "PER", "", "b-per", "B-PER-LOC", "O "])
words = st.one_of(
    st.sampled_from(["Ada", "in", "\u202e", "\u0301", "\ufeff", "\x00", "<extra_id_0>", "\u2028", "🏳️‍🌈", "a" * 3_000, " ", "1,000.5"]),
    st.text(min_size=1, max_size=6),
)
lines = st.one_of(
    st.builds("{}\t{}".format, words, tags), st.builds("{} {}".format, words, tags), st.just(""),
    st.text(max_size=12), st.builds("{}\t{}\t{}".format, words, words, tags),
)  # fmt: skip
good = st.just("Ada\tB-PER\nLovelace\tI-PER\nwrote\tO\n\nin\tO\nLondon\tB-LOC\n")
conll = st.one_of(
    st.binary(max_size=200),
    st.lists(lines, max_size=12).map("\n".join).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.tuples(good, st.lists(lines, max_size=3)).map(lambda parts: (parts[0] + "\n" + "\n".join(parts[1])).encode("utf-8", "surrogatepass")),
    good.map(lambda text: text.replace("\n", "\r\n").encode("utf-16")),
    good.map(lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()),
)

SOUND = {
    f"ner/toy/{code}/{split}.conll": f"{code}\tB-PER\n{split}\tO\n\nin\tO\nRome{split}\tB-LOC\n".encode()
    for code in ("eng", "swa") for split in ("train", "dev", "test")
} | {"text/swa.txt": b"One sentence here.\nAnother one there.\n"}  # fmt: skip


@some
@given(name=st.sampled_from(sorted(SOUND)), content=conll | st.none(), pool=st.sampled_from(["train", "text"]))
def test_a_malformed_corpus_is_one_of_our_errors(name: str, content: bytes | None, pool: str) -> None:
    study = {"name": "s", "question": "?", "hypothesis": "?", "dataset": "toy", "model": "google/mt5-small", "sources": "eng", "targets": "swa",
             "volumes": (0, 1), "shots": (0, 1), "seeds": 0, "methods": ("direct", "teacher-student"), "perturbations": ("none", "names"),
             "pool": pool}  # fmt: skip
    with TemporaryDirectory() as folder:
        for place, sound in SOUND.items():
            path = Path(folder, "data", place)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if place == name and content is not None else sound)
        if content is None:
            Path(folder, "data", name).unlink()
        if plan(folder, study, "--data", str(Path(folder, "data"))) == 0:
            read_all(folder)


def read_all(folder: str) -> None:
    """What is planned can be read, perturbed and drawn from."""
    data = open_dataset("toy", str(Path(folder, "data")), ("LOC", "ORG", "PER"), ("DATE", "MISC"))
    for code in ("eng", "swa"):
        train, test = (data.sentences(code, split) for split in ("train", "test"))
        for kind in ("names", "context", "both", "mask", "random"):
            with suppress(DataError):
                perturb(kind, test, train, [], seed=0)
        assert len(subset(train, 1, seed=0)) == 1


@some
@given(content=conll | st.recursive(odd, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
    st.sampled_from(["contexts", "qas", "x"]), inner, max_size=3)).map(lambda value: repr(value).replace("'", '"').encode("utf-8", "replace")))  # fmt: skip
def test_malformed_pairs_and_questions_are_our_errors(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "swa.train")
        path.write_bytes(content)
        for read in (read_pairs, read_questions, read_text):
            try:
                assert read(path)
            except DataError as error:
                assert str(path) in str(error)


# ---------------------------------------------------------------------------------------------------------------
# Study values

usual = st.sampled_from([(), "x-nld", ("x-nld", "x-rus"), "x-eng+x-deu", (0, 20), 3, "names", "slots", "encoder", "multi-teacher", "text", "overlap",
                         ("direct", "in-language"), ("PER", "LOC"), "sandbox", "tiny", "ner", "nli", "translate-train", "adapted-both"])  # fmt: skip
FIELDS = ("name", "question", "hypothesis", "dataset", "model", "sources", "targets", "volumes", "shots", "perturbations", "seeds", "methods",
          "form", "task", "types", "dropped_types", "pool", "measures", "translator", "recipes", "resources", "nonsense")  # fmt: skip
TRAINING = ("steps", "batch_size", "learning_rate", "schedule", "warmup", "weight_decay", "clip", "freeze_embeddings", "freeze_layers",
            "precision", "max_tokens", "similar_lengths")  # fmt: skip
RESOURCES = ("workers", "zero_stage", "offload", "gradient_checkpointing", "micro_batch", "gpus", "threads")


@some
@given(
    changes=st.dictionaries(st.sampled_from(FIELDS), usual | odd, max_size=3),
    training=st.just({}) | st.dictionaries(st.sampled_from(TRAINING), odd, max_size=1),
    resources=st.just({}) | st.dictionaries(st.sampled_from(RESOURCES), odd, max_size=1),
)
def test_a_malformed_study_is_one_of_our_errors(changes: dict[str, Any], training: dict[str, Any], resources: dict[str, Any]) -> None:
    study = {"name": "s", "question": "?", "hypothesis": "?", "dataset": "sandbox", "model": "tiny", "sources": "x-eng",
             "targets": "x-nld", "volumes": (0, 1), "seeds": 0} | changes  # fmt: skip
    with TemporaryDirectory() as folder:
        made = []
        if training:
            pretrain = "Pretraining(steps=2, objective='denoise', sentences=2, languages=('x-eng',))"
            made.append(f"recipes={{'tiny': Recipe(finetune=training(**{training!r}), distill=Distillation(steps=2), pretrain={pretrain})}}")
        if resources:
            made.append(f"resources=Resources(**{resources!r})")
        plan(folder, study, "--local", made=made)


@some
@given(values=st.dictionaries(
    st.sampled_from([*FIELDS[3:13], "measures", "no"]), st.text(max_size=8) | odd.map(str) | usual.map(lambda v: ",".join(map(str, v)) if isinstance(v, tuple) else str(v)),
    max_size=2,
))  # fmt: skip
def test_a_malformed_setting_is_one_of_our_errors(values: dict[str, str]) -> None:
    study = {"name": "s", "question": "?", "hypothesis": "?", "dataset": "sandbox", "model": "tiny", "sources": "x-eng", "targets": "x-nld",
             "seeds": 0}  # fmt: skip
    with TemporaryDirectory() as folder:
        plan(folder, study, "--local", *(f"--set={axis}={value}" for axis, value in values.items()))


def plan(folder: str, study: dict[str, Any], *options: str, made: list[str] | None = None) -> int:
    """Plan a study in this process, and return the exit code; what a user would see is either the plan or a line of ours."""
    file = Path(folder, "study.py")
    file.write_text(STUDY.replace("{VALUES}", f"dict({study!r}, {', '.join(made or [])})"), "utf-8", "surrogatepass")
    code = main([str(file), "--plan", "--out", str(Path(folder, "out")), *options])
    assert code in (0, 2), "a traceback would reach the user"
    assert not Path(folder, "out").exists()
    assert sorted(path.name for path in Path(folder).iterdir() if path.name != "data") == ["study.py"]
    return code


def test_what_nobody_foresaw_is_told_in_a_line_of_ours_first(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("deep")

    monkeypatch.setattr("engine.study.load_study", broken)
    assert main(["study.py"]) == 3
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "the same command" in said.partition("Traceback")[0] and "KeyError: 'deep'" in said
