"""Unions of datasets: who serves a language, what is shared with plain studies, and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler import compile_study
from engine.data.corpora import leaks, pool
from engine.data.hub import HubDataset
from engine.data.union import open_union
from engine.errors import DataError, StudyError
from engine.spec import Study, parse_axis
from engine.spec.training import Distillation, Recipe, Training

TYPES, DROPPED = ("LOC", "ORG", "PER"), ("DATE", "MISC")
SENTENCES = {"train": "Ada\tB-PER\nvisits\tO\n{}\tB-{}\n\nKano\tB-LOC\n", "dev": "Lagos\tB-LOC\n", "test": "Kano\tB-LOC\n\nJos\tB-LOC\n"}


def write(folder: Path, dataset: str, languages: str, dropped: str) -> None:
    for code in languages.split():
        for split, text in SENTENCES.items():
            file = folder / "ner" / dataset / code / f"{split}.conll"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.format(f"{dataset}-{code}", dropped), "utf-8")
        (folder / "text").mkdir(exist_ok=True)
        (folder / "text" / f"{code}.txt").write_text("Kano\nAda visits Zaria\n", "utf-8")


@pytest.fixture
def data(tmp_path):
    """Two datasets with a label of its own each, and one language in both; a model's folder as far as a plan reads it."""
    write(tmp_path, "news", "hau yor", "DATE")
    write(tmp_path, "wiki", "yor eng", "MISC")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"hidden_size": 8, "num_hidden_layers": 1}', "utf-8")
    return tmp_path


def union(name, data):
    return open_union(name, str(data), TYPES, DROPPED)


def test_the_first_that_has_a_language_serves_all_of_it(data):
    served = union("news+wiki", data)
    assert {code: served.serving(code).name for code in ("hau", "yor", "eng")} == {"hau": "news", "yor": "news", "eng": "wiki"}
    assert union("wiki+news", data).serving("yor").name == "wiki"
    assert served.serving("yor").sentences("yor", "train")[0].words[-1] == "news-yor"
    assert [served.serving(code).sentences(code, "train")[0].tags for code in ("hau", "eng")] == [("B-PER", "O", "O")] * 2
    assert leaks(served.serving("eng"), "eng") == 1
    assert [s.words for s in pool(served.serving("eng"), "eng", "text")] == [("Ada", "visits", "Zaria")]


def test_text_alone_makes_no_member_serve(data):
    (data / "text" / "ibo.txt").write_text("Kano\n", "utf-8")
    with pytest.raises(DataError, match="none of its members has 'ibo'.* Languages of news: hau yor; wiki: eng yor"):
        union("news+wiki", data).serving("ibo")


def test_the_sandbox_and_the_hub_are_members():
    served = open_union("conll2003+sandbox+conll2002@abc+wikiann", None, TYPES, DROPPED)
    names = {code: served.serving(code).name for code in ("eng", "x-eng", "nld", "deu")}
    assert names == {"eng": "conll2003", "x-eng": "sandbox", "nld": "conll2002@abc", "deu": "wikiann"}
    assert served.serving("nld").version("nld", "test") == "eriktks/conll2002@abc"
    assert leaks(served.serving("x-eng"), "x-eng") == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("news+news", "names each of its members once"),
        ("news+", "names each of its members once"),
        ("news+wikki", "has no dataset 'wikki'. Did you mean 'wiki'"),
        ("wikiann+news", "news would never be asked. Put wikiann last"),
    ],
)
def test_what_is_refused(data, name, message):
    with pytest.raises(DataError, match=message):
        union(name, data)


def test_a_language_that_a_known_hub_dataset_lacks():
    with pytest.raises(DataError, match="conll2003 has no 'deu'. Its languages: eng"):
        open_union("conll2003", None, TYPES, DROPPED).serving("deu").size("deu", "train")


def test_a_folder_of_a_hub_repository(tmp_path, monkeypatch):
    """Files lie as in the hub's Parquet copies of CoNLL-2002; the hub itself is not reached."""
    datasets = pytest.importorskip("datasets")
    for folder, word in {"es": "Madrid", "nl": "Gent"}.items():
        table = datasets.Dataset.from_dict({"tokens": [[word]], "ner_tags": [["B-LOC"]]})
        for split in ("train", "validation", "test"):
            table.to_parquet(tmp_path / "repo" / folder / split / "0000.parquet")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("engine.data.hub._FOLDERS", {str(tmp_path / "repo"): {"nld": "nl", "spa": "es"}})
    found = HubDataset("conll2002", str(tmp_path / "repo"), "main", TYPES, DROPPED)
    assert {code: found.sentences(code, "dev")[0].words for code in ("spa", "nld")} == {"spa": ("Madrid",), "nld": ("Gent",)}


def study(data, dataset):
    small = {"steps": 1}
    recipe = Recipe(finetune=Training(**small), distill=Distillation(**small))
    return Study(
        name="s", question="?", hypothesis="!", dataset=dataset, model=str(data / "model"), sources=("eng", "hau"), targets="yor",
        methods=("direct", "in-language"), seeds=0, recipes={"encoder": recipe},
    )  # fmt: skip


def test_a_union_shares_its_steps_with_its_members(data):
    together = compile_study(study(data, parse_axis("dataset=news+wiki")[1]), str(data))
    assert {work.cell.dataset for work in together.cells} == {"news+wiki"}
    assert {split.dataset for step in together.steps.values() if step.kind == "finetune" for split in step.recipe.data} == {"news", "wiki"}
    alone = compile_study(study(data, "news").varied(sources="hau"), str(data))
    assert {*alone.steps} < {*together.steps}
    with pytest.raises(StudyError, match="model=tiny with dataset=sandbox[+]news"):
        compile_study(study(data, "sandbox+news").varied(model="tiny"), str(data))


def test_two_unions_on_the_command_line():
    assert parse_axis("dataset=masakhaner2+wikineural, wikiann") == ("dataset", ("masakhaner2+wikineural", "wikiann"))


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.dictionaries(st.sampled_from("abcd"), st.sets(st.sampled_from(["hau", "yor", "eng", "ibo"]), min_size=1), min_size=1))
def test_each_language_has_one_dataset_the_first(tmp_path_factory, has):
    folder = tmp_path_factory.mktemp("data")
    for name, codes in has.items():
        write(folder, name, " ".join(codes), "MISC")
    served = union("+".join(has), folder)
    for code in {code for codes in has.values() for code in codes}:
        assert served.serving(code).name == next(name for name, codes in has.items() if code in codes or len(has) == 1)
