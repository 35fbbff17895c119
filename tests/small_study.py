"""A study small enough for tests, the command line as a user calls it, and a study run in this process."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from toy import toy_sentences

import engine
from engine.compiler import compile_study
from engine.plan import make_plan
from engine.spec import (
    Distillation,
    Pretraining,
    Projection,
    Recipe,
    Resources,
    Site,
    Study,
    Training,
    WordAlignment,
)
from engine.store import Store
from engine.work import run_unit

ROOT = Path(__file__).resolve().parents[1]
STUDY = '''
from engine.spec import Distillation, Pretraining, Recipe, Study, Training

small = dict(steps=12, batch_size=16, learning_rate=3e-3)
local = study = Study(
    name="small", question="Does it run?", hypothesis="It does.", dataset="sandbox", model="tiny",
    sources="x-eng", targets=("x-nld",), volumes=(0, 20, 40), seeds=(0,),
    recipes={"tiny": Recipe(
        pretrain=Pretraining(objective="denoise", languages=("x-eng",), sentences=200, **small),
        finetune=Training(**small), distill=Distillation(**small),
        adapt=Pretraining(objective="denoise", sentences=50, **small), fewshot=Training(**small),
    )},
)
'''


def small_study(folder: Path) -> Path:
    """The file of this study, each of its steps on one thread wherever it runs."""
    file = folder / "small.py"
    one = "seeds=(0,), resources=Resources(threads=1)"
    file.write_text(STUDY.replace("seeds=(0,)", one).replace("Recipe, Study", "Recipe, Resources, Study"))
    return file


def command(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine.study", *arguments], capture_output=True, text=True, cwd=cwd, timeout=280,
        check=False,
    )  # fmt: skip


def run_here(study: Study, out: Path, models: Mapping[str, str] | None = None, data: str | None = None) -> pl.DataFrame:
    """The table of a study, run to its end in this process, without Ray; nothing fails, and then nothing is left to run."""
    graph, store = compile_study(study, data), Store(str(out))
    store.probe()
    site = Site(data=data, models=models or {}, resources=Resources(gpus=0))
    for unit in make_plan(graph, store, on_gpu=False).units:
        failed = run_unit(unit, store, site).failed
        assert not failed, failed
    assert not make_plan(compile_study(study, data), store, on_gpu=False).to_run
    return engine.results(store.address)


MINI = {(code, split): toy_sentences(size, seed) for seed, (code, split, size) in enumerate([
    ("swa", "train", 60), ("swa", "dev", 5), ("swa", "test", 5), ("hau", "train", 60), ("hau", "dev", 60), ("hau", "test", 40),
])}  # fmt: skip


def mini(folder: Path, model: str, family: str) -> Study:
    """A study of a model on few sentences, which it writes: labeled text of two languages, and a parallel corpus."""
    files = {f"ner/mini/{code}/{split}.conll": "\n".join("".join(f"{w}\t{t}\n" for w, t in zip(s.words, s.tags, strict=True)) for s in text)
             for (code, split), text in MINI.items()}  # fmt: skip
    for name, text in (files | {"parallel/toy_swa-hau.tsv": "".join(f"{' '.join(s.words)}\t{' '.join(s.words)}\n" for s in toy_sentences(60, seed=9))}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    steps = {"steps": 2, "batch_size": 8, "max_tokens": 64}
    recipe = Recipe(
        finetune=Training(**steps), distill=Distillation(**steps), adapt=Pretraining(objective="masked-lm", sentences=30, **steps),
        projection=Projection(alignment=WordAlignment(layer=1)),
    )  # fmt: skip
    return Study(
        name="read", question="", hypothesis="", dataset="mini", model=model, sources="swa", targets="hau", seeds=0, methods="direct",
        translator="parallel", recipes={family: recipe},
    )  # fmt: skip
