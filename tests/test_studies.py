"""Every study says what it asks; its full form is a plan that names only what the hub has, its local form one that needs no file."""

import ast
import runpy
from pathlib import Path

import polars as pl
import pytest

from analysis.diversity import source_sets
from engine.cells import expand
from engine.compiler import compile_study
from engine.data.hub import config_names
from engine.languages import language
from engine.spec import Study

FILES = sorted((Path(__file__).resolve().parents[1] / "studies").glob("*.py"))
# unimelb-nlp/wikiann: its languages, as its configurations name them, by the sentences of their train split (its card).
WIKIANN = {
    100: """
        ace als am ang arc arz as ay ba bar bh bo cdo ce ceb co crh csb cv diq dv ext fo frr fur gan gd gn gu hak hsb ia ig ilo io
        jbo jv km kn ksh ku ky li lij lmo ln mg mhr mi min mn mt mwl my mzn nap nds ne nov oc or os pa pdc pms pnb ps qu rm rw sa
        sah scn sco sd si so su szl tg tk ug vec vep vls vo wa war wuu xmf yi yo zea""",
    1_000: "an ast br ckb fy ga is kk sw te tt uz",
    5_000: "af hi la lb mr sq",
    10_000: "az bn cy eu ka lt lv mk ml tl",
    15_000: "be bs eo et gl hy sl ta",
    20_000: "ar bg ca cs da de el en es fa fi fr he hr hu id it ja ko ms nl nn no pl pt ro ru sh sk sr sv th tr uk ur vi zh",
}
SIZES = {name: size for size, names in WIKIANN.items() for name in names.split()}


def forms(name: str) -> tuple[Study, Study]:
    """A study's full form and its local one."""
    defined = runpy.run_path(str(next(file for file in FILES if file.stem == name)))
    return defined["study"], defined["local"]


def languages(study: Study) -> set[str]:
    return {*study.targets, *(code for codes in study.sources for code in codes)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_study_file_is_whole(file: Path) -> None:
    text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    assert "question Q" in text and "Hypothesis: " in text
    assert f"python -m engine.study studies/{file.name} --plan" in text
    full, local = forms(file.stem)
    assert full.name == local.name == file.stem
    assert len(expand(full)) > len(compile_study(local, None).cells) > 0
    assert not any(language(code).sandbox for code in full.targets) and all(language(code).sandbox for code in local.targets)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_full_form_names_what_the_hub_has(file: Path, tmp_path: Path) -> None:
    """Of one seed, planned without a network; with parallel text of each language, which stands in no hub."""
    full = forms(file.stem)[0].varied(seeds=0)
    codes = sorted(languages(full))
    (tmp_path / "parallel").mkdir()
    rows = [codes, *([f"{code} {number}" for code in codes] for number in range(30))]
    (tmp_path / "parallel" / "made_multiway.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    assert len(compile_study(full, str(tmp_path)).cells) == len(expand(full))
    assert full.dataset == ("wikiann",)
    found = {code: next((SIZES[name] for name in config_names(language(code)) if name in SIZES), None) for code in codes}
    assert None not in found.values(), found
    assert max(full.shots) <= min(found[code] for code in full.targets)
    loaded = [*full.model, *([full.translator] if full.translator != "sandbox" else [])]
    assert all("@" in name for name in loaded)  # of neither mT5 nor NLLB has the main branch safetensors


def test_few_shot_has_the_shots_of_its_question() -> None:
    assert forms("few_shot")[0].shots == (0, 5, 10, 50, 100, 500)


@pytest.mark.parametrize("form", [0, 1], ids=["full", "local"])
def test_source_sets_vary_in_what_the_report_calls_diverse(form: int) -> None:
    study = forms("source_diversity")[form]
    described = pl.concat([source_sets([codes] * len(study.targets), study.targets).mean() for codes in study.sources])
    assert described["mean_distance"].is_sorted() and described["mean_distance"].is_unique().all()
    assert described["to_target"].std() < described["mean_distance"].std() / 4
    assert {"direct", "teacher-student", "multi-teacher"} < set(study.methods) and max(study.volumes) > 0


def test_the_alignment_study_goes_to_conll_by_its_command() -> None:
    """Planned without a network; the hub itself is not reached, and there is no parallel text here."""
    study = forms("alignment")[0]
    pairs = ("eng", "nld", "spa")
    conll = study.varied(dataset="conll2003+conll2002", sources=pairs, targets=pairs, measures=("lm", "overlap", "identity", "teachers"))
    graph = compile_study(conll, None)
    assert {split.dataset for step in graph.steps.values() if step.kind == "finetune" for split in step.recipe.data} == {"conll2002", "conll2003"}
    transfer = [work for work in graph.cells if work.cell.method != "in-language"]
    assert len(transfer) == 6 * 2 * len(conll.seeds) and all(work.measures for work in transfer)
