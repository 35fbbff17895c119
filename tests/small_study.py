"""A study small enough for tests, and the command line as a user calls it."""

import subprocess
import sys
from pathlib import Path

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


def command(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine.study", *arguments], capture_output=True, text=True, cwd=cwd, timeout=280,
        check=False,
    )  # fmt: skip
