"""The command line as a user meets it: a small real study run by Ray, run again, extended, broken and reported."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import torch
from small_study import ROOT, STUDY, command
from transformers import AutoModelForSeq2SeqLM

import engine
from engine.errors import StudyError
from engine.store import Store
from engine.study import load_study
from engine.tasks.ner import tag_set


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("study") / "small.py"
    file.write_text(STUDY)
    return file


@pytest.fixture(scope="module")
def out(study: Path) -> Path:
    """The store of the small study after its first run."""
    folder = study.parent / "out"
    run = command(str(study), "--local", "--out", str(folder))
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def test_a_study_runs_and_its_table_has_every_cell(out: Path) -> None:
    frame = engine.results(str(out))
    whole = frame.filter(pl.col("entity_type") == "ALL")
    assert set(zip(whole["method"], whole["volume"], strict=True)) == {
        ("direct", 0), ("teacher-student", 20), ("teacher-student", 40), ("in-language", 0),
    }  # fmt: skip
    assert set(frame["entity_type"]) == {"ALL", "LOC", "ORG", "PER"}
    assert (whole["status"] == "done").all()
    assert (whole["tp"] + whole["fn"] == whole["entities"]).all()
    students = whole.filter(pl.col("method") == "teacher-student")
    direct = whole.filter(pl.col("method") == "direct")["f1"][0]
    assert (students["teacher_f1"] == direct).all()
    assert students["gain"].to_list() == pytest.approx((students["f1"] - direct).to_list())
    tags = {repr(json.loads(file.read_text())["tags"]) for file in out.glob("artifacts/*/tagger.json")}
    assert tags == {repr(list(tag_set(("LOC", "ORG", "PER"))))}


def test_run_again_there_is_nothing_to_run(study: Path, out: Path) -> None:
    run = command(str(study), "--local", "--out", str(out))
    assert run.returncode == 0
    assert "4 cells: 4 done" in run.stdout and "0 to run" in run.stdout


def test_a_trained_model_is_exported_whole(out: Path, tmp_path: Path) -> None:
    name = next(path.name for path in out.glob("artifacts/finetune-*"))
    exported = tmp_path / "model"
    command = [sys.executable, "-m", "engine.export", str(out)]
    run = subprocess.run([*command, name, str(exported)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
    model = AutoModelForSeq2SeqLM.from_pretrained(exported)
    base = AutoModelForSeq2SeqLM.from_pretrained(next(out.glob("artifacts/pretrain-*")))
    assert model.shared.weight.shape == base.shared.weight.shape
    changed = [not torch.equal(one, other) for one, other in zip(model.parameters(), base.parameters(), strict=True)]
    assert all(changed)  # every weight of this study is trained
    for wrong, said in (((name, str(exported)), "exists"), (("finetune-none", str(tmp_path / "no")), name)):
        run = subprocess.run([*command, *wrong], capture_output=True, text=True, cwd=ROOT, check=False)
        assert run.returncode == 2 and said in run.stderr and "Traceback" not in run.stderr


def test_one_more_target_adds_only_its_steps(study: Path, out: Path) -> None:
    run = command(str(study), "--local", "--out", str(out), "--plan", "--set", "targets=x-nld,x-deu")
    assert "8 cells: 4 done, 0 failed, 4 missing" in run.stdout
    # the pretraining and the teacher are there: one in-language model, the labels, two students, and the scores of four models
    assert "8 to run: 1 finetune, 2 distill, 1 label, 4 evaluate" in run.stdout
    assert "power: 2 languages are too few" in run.stdout


def test_a_changed_recipe_makes_its_cells_stale(study: Path, out: Path) -> None:
    changed = study.with_name("changed.py")
    changed.write_text(STUDY.replace("distill=Distillation(**small)", "distill=Distillation(**small, loss='kl')"))
    run = command(str(changed), "--local", "--out", str(out), "--plan")
    assert "4 cells: 2 done, 0 failed, 0 missing, 2 stale" in run.stdout
    assert run.stdout.count("stale: teacher-student x-eng->x-nld") == 2


def test_the_plan_imports_neither_torch_nor_ray(study: Path) -> None:
    code = (
        "import sys; from engine.study import main; "
        f"code = main([{str(study)!r}, '--local', '--plan']); "
        "print(code, sorted({'torch', 'ray', 'transformers'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip().endswith("0 []")


@pytest.mark.cluster
def test_two_workers_with_zero_2_train_the_same_models(study: Path, out: Path, tmp_path: Path) -> None:
    file = study.with_name("two.py")
    two = "seeds=(0,), resources=Resources(workers=2, zero_stage=2, micro_batch=8)"
    file.write_text(STUDY.replace("seeds=(0,)", two).replace("Recipe, Study", "Recipe, Resources, Study"))
    run = command(str(file), "--local", "--out", str(tmp_path), "--set", "methods=in-language", "--set", "volumes=0")
    assert run.returncode == 0, run.stdout + run.stderr
    ours, theirs = Store(str(tmp_path)), Store(str(out))
    trained = [name for name in ours.artifacts() if not name.startswith("evaluate")]
    assert len(trained) == 2
    for name in trained:  # the number of workers is no part of a model's identity
        one, other = ours.record(name), theirs.record(name)
        assert one["provenance"]["resources"]["workers"] == 2
        assert one["figures"]["last_loss"] == pytest.approx(other["figures"]["last_loss"], rel=1e-3)
        assert one["figures"]["tokens"] == other["figures"]["tokens"]
    assert not list(tmp_path.glob("artifacts/.*"))


def test_students_of_several_teachers(study: Path, tmp_path: Path) -> None:
    methods = ("multi-teacher", "multi-teacher-lid", "multi-teacher-lid-sentence")
    axes = ("sources=x-eng+x-deu", f"methods={','.join(methods)}", "volumes=20,40")
    run = command(str(study), "--local", "--out", str(tmp_path), *(text for axis in axes for text in ("--set", axis)))
    assert run.returncode == 0, run.stdout + run.stderr
    assert "6 cells" in run.stdout and "2 finetune, 6 distill, 2 label, 1 similarity" in run.stdout
    assert all(f"x-nld {method} " in run.stdout for method in methods)
    whole = engine.results(str(tmp_path)).filter(pl.col("entity_type") == "ALL")
    assert set(zip(whole["method"], whole["volume"], strict=True)) == {(m, v) for m in methods for v in (20, 40)}
    assert whole["gain"].to_list() == pytest.approx((whole["f1"] - whole["teacher_f1"]).to_list())
    assert whole["sources"].to_list() == [["x-deu", "x-eng"]] * 6 and len(set(whole["source_f1"])) == 1
    (similarity,) = (name for name in Store(str(tmp_path)).artifacts() if name.startswith("similarity"))
    weights = Store(str(tmp_path)).record(similarity)["figures"]["weights"]
    assert set(weights) == {"x-deu", "x-eng"} and sum(weights.values()) == pytest.approx(1)


def test_pretraining_and_the_source_model_go_on(study: Path, tmp_path: Path) -> None:
    axes = ("methods=direct,teacher-student,adapted-both", "volumes=0,20", "shots=0,3,6", "perturbations=none,random,names")
    run = command(str(study), "--local", "--out", str(tmp_path), *(text for axis in axes for text in ("--set", axis)))
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 pretrain, 2 finetune, 4 fewshot" in run.stdout
    rows = [line.split() for line in run.stdout.splitlines() if line.strip().startswith("x-eng→x-nld ")]
    numbers = {name: [len(row) - 2 for row in rows if row[1] == name] for name in ("direct", "teacher-student", "adapted-both")}
    # F1 on the source, and: zero-shot and with 3 and 6 shots; zero-shot and with a text of 20. For each perturbation.
    assert numbers == {"direct": [4] * 3, "teacher-student": [3] * 3, "adapted-both": [4] * 3}
    every = engine.results(str(tmp_path)).filter(pl.col("entity_type") == "ALL")
    exposures = {kind: part["exposure"].to_list() for (kind,), part in every.group_by("perturbation")}
    assert exposures["random"] == [1.0] * 7 and exposures["none"] == [None] * 7
    named = {(row["method"], row["shots"]): row["exposure"] for row in every.filter(pl.col("perturbation") == "names").iter_rows(named=True)}
    assert 0 <= named["direct", 6] - named["direct", 0] < 0.05  # a few shots add a few names to those of the source
    assert all(named["direct", 0] < named[text] for text in (("teacher-student", 0), ("adapted-both", 0)))  # as the target's text does
    whole = every.filter(pl.col("perturbation") == "none", pl.col("method") != "teacher-student")
    assert set(zip(whole["method"], whole["shots"], strict=True)) == {(m, k) for m in ("direct", "adapted-both") for k in (0, 3, 6)}
    assert whole["gain"].null_count() == 6
    # Labeled target text counts as training data, and adaptation as text of the target.
    assert whole.filter(pl.col("shots") > 0)["train_data"].n_unique() == 1 < whole["train_data"].n_unique()
    assert whole.filter(pl.col("method") == "direct")["pool_data"].null_count() == 3
    assert whole.filter(pl.col("method") == "adapted-both")["pool_data"].null_count() == 0
    records = {name: Store(str(tmp_path)).record(name) for name in Store(str(tmp_path)).artifacts()}
    adapted = [record for record in records.values() if record["kind"] == "pretrain" and record["needs"]]
    assert [split["language"] for split in adapted[0]["recipe"]["data"]] == ["x-eng", "x-nld"]


def test_cells_behind_a_failed_step_name_its_error(study: Path, tmp_path: Path) -> None:
    broken = study.with_name("unpretrained.py")
    broken.write_text(STUDY.replace("sentences=200, **small", "sentences=200, **small, freeze_layers=9"))
    run = command(str(broken), "--local", "--out", str(tmp_path))
    assert run.returncode == 1, run.stdout + run.stderr
    frame = engine.results(str(tmp_path))
    assert frame["status"].to_list() == ["failed"] * 4
    assert all("freeze_layers=9" in error for error in frame["error"])
    assert len(list(tmp_path.glob("artifacts/*.log"))) == 1  # nothing was tried without its base


def test_a_failing_cell_leaves_the_others(study: Path, tmp_path: Path) -> None:
    broken = study.with_name("broken.py")
    # 12 + 1 layers do not exist in the tiny model: freezing them fails in every student, and only there
    broken.write_text(STUDY.replace("distill=Distillation(**small)", "distill=Distillation(**small, freeze_layers=9)"))
    run = command(str(broken), "--local", "--out", str(tmp_path))
    assert run.returncode == 1, run.stdout + run.stderr
    assert run.stdout.count("failed: teacher-student") == 2
    frame = engine.results(str(tmp_path)).filter(pl.col("entity_type") == "ALL")
    failed = frame.filter(pl.col("status") == "failed")
    assert failed["f1"].null_count() == len(failed) == 2
    assert all("freeze_layers=9" in error for error in failed["error"])
    assert len(frame.filter(pl.col("status") == "done")) == 2


def test_the_report_says_what_the_sandbox_is(out: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "analysis.report", str(out)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    page = Path(run.stdout.strip().removeprefix("report: ")).read_text("utf-8")
    assert "no evidence about real languages" in page
    assert "Student minus teacher: x-eng → x-nld" in page  # from the sentences
    assert "<svg" in page and "x-nld" in page and "Does it run?" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "targets=x-nlx"], "x-nld"),
        (["--set", "targets=eng"], "x-"),
        (["--set", "target=x-nld"], "Did you mean 'targets'"),
        (["--set", "methods=teacher-studnt"], "Did you mean 'teacher-student'"),
        (["--set", "targets="], "no value"),
        (["--set", "seeds=0,0"], "more than once"),
        (["--set", "targets"], "--set targets=VALUE"),
        (["--set", "seeds=one"], "whole numbers"),
        (["--set", "volumes=9000"], "larger than the pool"),
        (["--set", "methods=direct"], "changes nothing"),
        (["--set", "methods=teacher-student", "--set", "shots=0,5"], "axis shots=0,5 changes nothing"),
        (["--set", "perturbations=nmes"], "Did you mean 'names'"),
        (["--set", "perturbations=places:x-nlx"], "x-nld"),
        (["--set", "perturbations=plces:x-nld"], "Did you mean 'places'"),
        (["--set", "shots=0,9000"], "x-nld train has 8000 sentences"),
        (["--set", "methods=multi-teacher", "--set", "volumes=20"], "no source set has two languages"),
        (["--set", "sources=x-eng+x-nld", "--set", "methods=direct", "--set", "volumes=0"], "has no cells"),
        (["--set", "dataset=nowhere"], "--data"),
        (["--set", "dataset=wikiann", "--set", "sources=eng", "--set", "targets=nld"], "made from the sandbox's text"),
        (["--address", "127.0.0.1:1"], "--local runs on this machine alone"),
        (["--set", "model=nowhere/at-all"], "nowhere/at-all"),
        (["--set", "form=boxes"], "slots, sentinel, spans, encoder"),
        (["--jobs", "0"], "at least 1"),
        (["--out", "/proc/nowhere"], "/proc/nowhere"),
        (["--out", "README.md"], "README.md is a file: --out is a folder or a URL"),
        (["--out", "README.md", "--plan"], "README.md is a file: --out is a folder or a URL"),
    ],
)
def test_a_wrong_request_is_a_clear_error(study: Path, arguments: list[str], said: str) -> None:
    run = command(str(study), "--local", *arguments)
    assert run.returncode == 2, run.stdout + run.stderr
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_the_plan_finds_types_of_the_sandbox_that_a_study_forgets(tmp_path: Path) -> None:
    file = tmp_path / "types.py"
    file.write_text(STUDY.replace("seeds=(0,)", 'seeds=(0,), types=("PER", "GPE")'))
    run = command(str(file), "--plan", "--out", str(tmp_path / "out"))
    assert run.returncode == 2 and "Add LOC to the study's types or dropped_types" in run.stderr, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("code", "said"),
    [("raise ValueError('planted')", "ValueError: planted"), ("sys.exit(0)", "SystemExit: 0"), ("x = (", "SyntaxError: ")],
)
def test_a_study_file_that_raises_is_named_with_its_line(tmp_path: Path, code: str, said: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(f"import sys\n{code}\n")
    run = command(str(file), "--local")
    assert run.returncode == 2
    assert "line 2" in run.stderr and said in run.stderr


def test_the_line_is_named_whatever_way_leads_to_the_study_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("bad", "here"):
        (tmp_path / folder).mkdir()
    (tmp_path / "bad" / "typo.py").write_text("import sys\nfrom engine.spec import Stdy\n")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(StudyError, match=r"^\.\./bad/typo\.py, line 2: .*ImportError"):
        load_study(Path("../bad/typo.py"), local=False)


@pytest.mark.parametrize(
    ("split", "content", "said"),
    [
        ("train", b"", "is empty"),
        ("train", b"Ada B-PER\nwrote\n", "line 2"),
        ("test", b"Ada I-PER\n", "not IOB2"),
        ("test", b"Ada B-ANIMAL\n", "ANIMAL"),
        ("train", b"caf\xe9 O\n", "not UTF-8"),
        ("test", None, "no split 'test' of 'hau'"),
    ],
)
def test_bad_data_are_an_error_before_anything_runs(
    study: Path, tmp_path: Path, split: str, content: bytes | None, said: str
) -> None:
    for code in ("swa", "hau"):
        folder = tmp_path / "data" / "ner" / "news" / code
        folder.mkdir(parents=True)
        for name in ("train", "dev", "test"):
            (folder / f"{name}.conll").write_bytes(f"{name} O\n".encode())
    bad = tmp_path / "data" / "ner" / "news" / "hau" / f"{split}.conll"
    bad.unlink() if content is None else bad.write_bytes(content)
    model = tmp_path / "encoder"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1}')
    axes = {"dataset": "news", "model": str(model), "sources": "swa", "targets": "hau", "volumes": "0,1"}
    settings = [text for axis, value in axes.items() for text in ("--set", f"{axis}={value}")]
    run = command(str(study), "--local", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), *settings)
    assert run.returncode == 2, run.stdout + run.stderr
    assert said in run.stderr and "Traceback" not in run.stderr
    assert not (tmp_path / "out").exists()


def test_resources_that_this_machine_has_not_are_an_error(study: Path, tmp_path: Path) -> None:
    file = tmp_path / "large.py"
    threads = "seeds=(0,), resources=Resources(threads=4096)"
    file.write_text(STUDY.replace("seeds=(0,)", threads).replace("Recipe, Study", "Recipe, Resources, Study"))
    run = command(str(file), "--local", "--out", str(tmp_path / "out"))
    assert run.returncode == 2 and "threads=4096" in run.stderr


def test_without_a_gpu_or_a_cluster_nothing_falls_back_to_toys(study: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.device_count():
        pytest.skip("this machine has a GPU")
    run = command(str(study), "--out", str(tmp_path))
    assert run.returncode == 2 and "--local" in run.stderr
