"""Every study says what it asks, its full form has cells, and its local form is a plan that needs no file."""

import ast
import runpy
from pathlib import Path

import pytest

from engine.cells import expand
from engine.compiler import compile_study
from engine.languages import language

FILES = sorted((Path(__file__).resolve().parents[1] / "studies").glob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_study_file_is_whole(file: Path) -> None:
    text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    assert "question Q" in text and "Hypothesis: " in text
    assert f"python -m engine.study studies/{file.name} --plan" in text
    defined = runpy.run_path(str(file))
    full, local = defined["study"], defined["local"]
    assert full.name == local.name == file.stem
    assert len(expand(full)) > len(compile_study(local, None).cells) > 0
    assert not any(language(code).sandbox for code in full.targets) and all(language(code).sandbox for code in local.targets)


def test_the_alignment_study_goes_to_conll_by_its_command() -> None:
    """Planned without a network; the hub itself is not reached, and there is no parallel text here."""
    study = runpy.run_path(str(next(file for file in FILES if file.stem == "alignment")))["study"]
    pairs = ("eng", "nld", "spa")
    conll = study.varied(dataset="conll2003+conll2002", sources=pairs, targets=pairs, measures=("lm", "overlap", "identity", "teachers"))
    graph = compile_study(conll, None)
    assert {split.dataset for step in graph.steps.values() if step.kind == "finetune" for split in step.recipe.data} == {"conll2002", "conll2003"}
    transfer = [work for work in graph.cells if work.cell.method != "in-language"]
    assert len(transfer) == 6 * 2 * len(conll.seeds) and all(work.measures for work in transfer)
