"""The GPU's benchmark, as far as a CPU can say: it runs without the rest of the house, and counts operations rightly."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu import TAGS, Pieces, Setting, _model, operations, run
from benchmarks.report import Skipped
from engine.models.mt5 import SlotTagger
from engine.models.sizes import KNOWN

SMALL = replace(KNOWN["tiny"], vocabulary=500)
SETTING = Setting(sentences=4, tokens=24, words=6, warmup=1, timed=2, rounds=2)


def test_the_operations_are_those_that_torch_counts() -> None:
    size = replace(SMALL, layers=3, feed_forwards=3, inner=32)
    model = _model(size, "cpu")
    model.set_attn_implementation("eager")
    tagger = SlotTagger(model, Pieces(size.vocabulary), TAGS, "none")
    ids = torch.full((SETTING.sentences, SETTING.tokens), 2)
    tagger.vocabulary.cover(ids)
    slots = torch.tensor([tagger.sentinels[: SETTING.words]] * SETTING.sentences)
    with FlopCounterMode(display=False) as counter:
        tagger(ids, torch.ones_like(ids, dtype=torch.bool), slots).sum().backward()
    assert operations(size, SETTING, len(TAGS)) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_it_measures_both_sides() -> None:
    report = run("cpu", {"small": SMALL}, SETTING)
    assert report.columns[0] == "shape" and len(report.rows[0]) == len(report.columns)
    for name in ("matmul_tflops", "small_tokens_per_second", "small_utilization", "small_ratio"):
        assert report.figures[name] > 0, name


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_is_skipped() -> None:
    with pytest.raises(Skipped, match="no GPU"):
        run()


def test_it_needs_torch_transformers_and_numpy_alone() -> None:
    others = "ray deepspeed polars pyarrow datasets pandas scipy sklearn rich matplotlib jinja2 sentencepiece lang2vec"
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({others.split()!r})); from dataclasses import replace; "
        "from benchmarks.gpu import KNOWN, Setting, run; "
        "run('cpu', {'small': replace(KNOWN['tiny'], vocabulary=500)}, Setting(4, 24, 6, 1, 2, 1))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
