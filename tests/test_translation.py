"""Translation and projection: from the look-ups and the model to cells of both protocols, run by the command."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest
import torch
from small_study import STUDY, command
from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

import engine
from engine.compiler import compile_study
from engine.data import sandbox
from engine.data.corpora import open_dataset
from engine.data.sentences import Sentence
from engine.data.text import plain, tokenize
from engine.data.translation import LookUp, SandboxTranslator, corpus_of, corpus_pairs
from engine.errors import DataError, ModelError
from engine.models import recipes
from engine.models.sizes import checkpoint
from engine.models.translate import Nllb
from engine.spec import (
    Checkpoint,
    Projection,
    ProjectRecipe,
    Site,
    Split,
    Study,
    TranslateRecipe,
    Translation,
    WordAlignment,
)
from engine.steps import project, translate
from engine.store import Store
from engine.study import main as command_line
from engine.tasks.ner import ALL, count, f1
from engine.train.loop import PlainBackend

TYPES = ("LOC", "ORG", "PER")
GOLD = WordAlignment(aligner="gold")
CPU = PlainBackend()
PARALLEL = STUDY.replace('model="tiny"', 'model="tiny", translator="parallel"').replace(
    'recipes={"tiny": Recipe(', 'recipes={"tiny": Recipe(projection=Projection(alignment=WordAlignment(layer=1)), '
).replace("Recipe, Study", "Projection, Recipe, Study, WordAlignment")  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("study") / "translated.py"
    gold = 'recipes={"tiny": Recipe(projection=Projection(alignment=WordAlignment(aligner="gold")), '
    text = STUDY.replace('recipes={"tiny": Recipe(', gold).replace("Recipe, Study", "Projection, Recipe, Study, WordAlignment")
    file.write_text(text)
    return file


def settings(**axes: str) -> list[str]:
    return [text for axis, values in axes.items() for text in ("--set", f"{axis}={values}")]


# ------------------------------------------------------------------------------------------------ look-ups


def parallel(folder: Path, source: str, target: str, lines: list[tuple[str, str]]) -> Path:
    """A data folder with one corpus, "news"."""
    (folder / "parallel").mkdir(exist_ok=True)
    text = "".join(f"{ours}\t{theirs}\n" for ours, theirs in lines)
    (folder / "parallel" / f"news_{source}-{target}.tsv").write_text(text, "utf-8")
    return folder


def test_a_corpus_is_looked_up_and_gives_its_own_pairs(tmp_path: Path) -> None:
    data = parallel(tmp_path, "eng", "hau", [("Ada wrote.", "Ada ta rubuta."), ("He left Kano.", "Ya bar Kano.")])
    (data / "ner" / "news" / "hau").mkdir(parents=True)
    (data / "ner" / "news" / "hau" / "test.conll").write_text("ya\tO\nbar\tO\nKANO\tB-LOC\n.\tO\n", "utf-8")
    corpus = corpus_of("parallel:news", str(data))
    (found,) = LookUp(corpus)([Sentence(("ada", "wrote", "."), ("B-PER", "O", "O"))], "eng", "hau")  # whatever the case
    assert found.translation == ("Ada", "ta", "rubuta", ".") and found.original.tags == ("B-PER", "O", "O")
    with pytest.raises(DataError, match="1 of 2 sentences of eng have no translation into hau.*the first: 'Who \\?'"):
        LookUp(corpus)([Sentence(("Who", "?")), Sentence(("Ada", "wrote", "."))], "eng", "hau")
    tested = open_dataset("news", str(data), TYPES, ())
    assert [pair.original.words[0] for pair in corpus_pairs(corpus, "eng", "hau", tested)] == ["Ada"]  # Kano is test text
    assert corpus_of("sandbox", None) is None and corpus_of("parallel", None).names == ()


@pytest.mark.parametrize("text", ["Ada Lovelace (1815), of London: wrote!", "日本の首都は東京です。", "ราคา 3,000 บาท"])
def test_words_are_joined_as_they_are_split(text: str) -> None:
    words = tokenize(text)
    assert tokenize(plain(words)) == words and " ," not in plain(words) and "東 京" not in plain(words)


# ------------------------------------------------------------------------------------------------ labels carried over


@pytest.mark.parametrize("matching", ["heuristic", "ilp", "greedy"])
def test_with_the_gold_alignment_nearly_all_labels_are_right(tmp_path: Path, matching: str) -> None:
    """What the student is trained on; that it then reaches the ceiling, docs/methods.md shows.

    The heuristic as it is published drops an entity of three words of which one has no counterpart: in the sandbox the
    "na" of organizations, which languages with a case for it do without.
    """
    split = Split("sandbox", "x-eng", "dev", sandbox.version("x-eng", "dev"), TYPES)
    for target in ("x-nld", "x-tur"):
        (folder := tmp_path / target).mkdir()
        recipe = TranslateRecipe(Checkpoint("sandbox", "1"), split, target, None, None)
        assert translate.run(recipe, {}, folder, Site(), CPU)["sentences"] == 500
        projection = ProjectRecipe(None, "", False, False, None, None, Projection(alignment=GOLD, matching=matching), 64, "fp32")
        figures = project.run(projection, {"translations": folder}, folder, Site(), CPU)
        made = project.read_projected(folder)
        gold = [theirs for _, theirs, _ in sandbox.translations("x-eng", target, "dev")]
        assert [sentence.words for sentence in made] == [sentence.words for sentence in gold]
        precision, _, score = f1(*count([s.tags for s in gold], [s.tags for s in made])[ALL])
        dropped = target == "x-tur" and matching == "heuristic"
        assert precision >= 0.99 and score >= (0.94 if dropped else 0.97)
        assert figures["entities"] >= figures["projected"] >= (0.89 if dropped else 0.97) * figures["entities"]


def test_backwards_the_original_is_labeled() -> None:
    pair = SandboxTranslator("dev")(sandbox.sentences("x-nld", "dev")[:1], "x-nld", "x-tur")[0]
    turned = pair.turned()
    assert turned.original == Sentence(pair.translation) and turned.translation == pair.original.words
    assert {(j, i) for i, j in turned.alignment} == set(pair.alignment) and turned.turned().alignment == tuple(sorted(pair.alignment))


# ------------------------------------------------------------------------------------------------ the model


@pytest.fixture(scope="module")
def nllb(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random model of NLLB's architecture with a vocabulary of letters and three languages."""
    folder = str(tmp_path_factory.mktemp("nllb"))
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz,.", *(f"▁{letter}" for letter in "abc")]
    tokenizer = NllbTokenizer(
        {piece: number for number, piece in enumerate(pieces)}, [("▁", letter) for letter in "abc"],
        extra_special_tokens=["eng_Latn", "hau_Latn", "swh_Latn"],
    )  # fmt: skip
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=2, decoder_attention_heads=2, max_position_embeddings=64, init_std=0.5,
    )  # fmt: skip
    M2M100ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_model_translates_whatever_the_batch(nllb: str) -> None:
    texts = [Sentence(tuple(text.split())) for text in ("a cab , bad", "deed", "a b c d e f g h i j k l m", "fed a bee .", "x")]
    one = Nllb(nllb, Translation(beams=1, max_tokens=32), torch.device("cpu"))
    together = one(texts, "eng", "swa")
    assert [pair.original for pair in together] == texts and all(pair.translation for pair in together)
    assert together == [pair for text in texts for pair in one([text], "eng", "swa")]
    assert [pair.translation for pair in one(texts, "eng", "hau")] != [pair.translation for pair in together]
    # What transformers itself writes, without a forced language in its way:
    ids = one.tokenizer(plain(texts[0].words), return_tensors="pt")
    begin = one.tokenizer.convert_tokens_to_ids("swh_Latn")
    written = one.model.generate(**ids, forced_bos_token_id=begin, num_beams=1, max_new_tokens=32, max_length=None)
    assert written[0, 1] == begin
    assert tokenize(one.tokenizer.decode(written[0], skip_special_tokens=True)) == together[0].translation
    beam = Nllb(nllb, Translation(beams=3, max_tokens=32), torch.device("cpu"))(texts, "eng", "swa")
    assert len(beam) == len(texts) and one([], "eng", "swa") == []


def test_a_split_is_translated_by_a_model(nllb: str, tmp_path: Path) -> None:
    """The step, as a worker runs it: the model is found by the name that the recipe has, whatever its folder."""
    train = tmp_path / "ner" / "news" / "eng" / "train.conll"
    train.parent.mkdir(parents=True)
    train.write_text("a\tB-PER\ncab\tI-PER\n\nfed\tO\nbad\tO\n", "utf-8")
    dataset = open_dataset("news", str(tmp_path), TYPES, ())
    split = Split("news", "eng", "train", dataset.version("eng", "train"), TYPES)
    recipe = TranslateRecipe(replace(checkpoint(nllb), name="letters"), split, "hau", Translation(beams=2, max_tokens=16), None)
    translate.run(recipe, {}, tmp_path, Site(data=str(tmp_path), models={"letters": nllb}), CPU)
    found = translate.read_translations(tmp_path)
    assert [pair.original for pair in found] == dataset.sentences("eng", "train")
    assert all(pair.translation and pair.alignment is None for pair in found)


def test_a_language_that_the_model_lacks(nllb: str) -> None:
    model = Nllb(nllb, Translation(), torch.device("cpu"))
    with pytest.raises(ModelError, match="no token yor_Latn for yor.*facebook/nllb-200-distilled-600M"):
        model([Sentence(("a",))], "eng", "yor")
    with pytest.raises(DataError, match="NLLB does not translate bre .Breton."):
        model([Sentence(("a",))], "bre", "eng")


# ------------------------------------------------------------------------------------------------ the command


def test_both_protocols_run_to_the_table(study: Path, tmp_path: Path) -> None:
    axes = settings(methods="translate-train-greedy,translate-test", volumes="0,20")
    run = command(str(study), "--local", "--out", str(tmp_path), *axes)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "3 cells" in run.stdout and "2 finetune, 2 translate, 2 project, 3 evaluate, 1 score" in run.stdout
    whole = engine.results(str(tmp_path)).filter(pl.col("entity_type") == "ALL").sort("volume", "method")
    amounts = list(zip(whole["method"], whole["volume"], strict=True))
    assert amounts == [("direct", 0), ("translate-test", 0), ("translate-train-greedy", 20)]
    assert whole["teacher_f1"].to_list() == [None, *[whole["f1"][0]] * 2] and whole["gain"].null_count() == 1
    assert whole["entities"].n_unique() == 1 == whole["source_f1"].n_unique()


def test_a_corpus_is_labeled_by_the_teacher(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for code in ("x-eng", "x-deu"):
        pairs = sandbox.translations(code, "x-nld", "parallel")[:30]
        data = parallel(tmp_path, "x-nld", code, [(" ".join(theirs.words), " ".join(ours.words)) for ours, theirs, _ in pairs])
    file = tmp_path / "study.py"
    file.write_text(PARALLEL)
    out = tmp_path / "out"
    axes = settings(methods="translate-train", volumes="50", sources="x-deu+x-eng")
    run = command(str(file), "--local", "--data", str(data), "--out", str(out), *axes)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 translate, 2 project" in run.stdout
    whole = engine.results(str(out)).filter(pl.col("entity_type") == "ALL")
    assert whole["volume"].to_list() == [50] and whole["pool_data"].null_count() == 0
    store = Store(str(out))
    for projected in (store.record(name) for name in store.artifacts() if name.startswith("project")):
        assert projected["recipe"]["predicted"] and "model 0" in projected["needs"] and projected["figures"]["sentences"] == 30
    for asked, said in (
        ({"methods": "translate-train", "volumes": "31"}, "'parallel' has 30 pairs of x-eng and x-nld"),
        ({"methods": "translate-train", "volumes": "20", "sources": "x-fra"}, "no parallel corpus of x-fra and x-nld"),
        ({"methods": "translate-test", "volumes": "0"}, "1000 of 1000 sentences of x-nld have no translation"),
    ):
        assert fails(file, "--data", str(data), *settings(**asked))
        assert said in " ".join(capsys.readouterr().err.split())
    file.write_text(PARALLEL.replace("layer=1", "aligner='gold'"))
    assert fails(file, "--data", str(data), *axes) and "only the sandbox knows the alignment" in capsys.readouterr().err


def test_an_aligners_folder_is_known_by_its_content(nllb: str, tmp_path: Path) -> None:
    """Any checkpoint will do: identity is all that is asked."""
    elsewhere = shutil.copytree(nllb, tmp_path / Path(nllb).name)

    def projects(folder: str) -> list[str]:
        recipe = replace(recipes.LOCAL["tiny"], projection=Projection(alignment=WordAlignment(checkpoint=folder, layer=1)))
        asked = Study(
            name="aligned", question="", hypothesis="", dataset="sandbox", model="tiny", sources="x-eng", targets="x-nld", seeds=0,
            methods="translate-train", volumes=100, recipes={"tiny": recipe},
        )  # fmt: skip
        return [name for name in compile_study(asked, None).steps if name.startswith("project-")]

    before = projects(nllb)
    assert before == projects(str(elsewhere))
    (elsewhere / "more.json").write_text("{}")
    assert before != projects(str(elsewhere))


def fails(file: Path, *arguments: str) -> bool:
    """Whether the command says no to the request, before it has made anything."""
    out = file.with_name("none")
    return command_line([str(file), "--local", "--out", str(out), *arguments]) == 2 and not out.exists()


@pytest.mark.parametrize(
    ("changes", "axes", "said"),
    [
        ({}, {"methods": "translate-tran"}, "Did you mean 'translate-train'"),
        ({}, {"methods": "translate-train-ipl", "volumes": "20"}, "Did you mean 'ilp'"),
        ({}, {"methods": "translate-train", "volumes": "0"}, "Give a volume above 0"),
        ({}, {"methods": "translate-test"}, "axis volumes=0,20,40 changes nothing"),
        ({}, {"methods": "translate-train", "volumes": "9000"}, "train splits of x-eng have 8000 sentences"),
        ({}, {"methods": "translate-test", "volumes": "0", "sources": "x-eng+x-deu"}, "translated into one language"),
        ({}, {"methods": "translate-test", "volumes": "0", "perturbations": "names"}, "perturbed test text is not translated"),
        ({'"gold"': '"eflomal"'}, {"methods": "translate-train"}, "sprachbund[align]"),
        ({'aligner="gold"': "layer=3"}, {"methods": "translate-train"}, "layer=3 of the aligner 'embedding': tiny has 2 layers"),
        ({'{"tiny": Recipe(': '{"tiny": Recipe(projections={"all": Projection(alignment=WordAlignment(layer=1), matching="ilp", score="fused")}, '},
         {"methods": "translate-train-all", "volumes": "20"}, "weights=(0.5, 0.5, 0.0)"),
        ({'model="tiny"': 'model="tiny", translator="parallel"'}, {"methods": "translate-train"}, "give --data FOLDER with <data>/parallel/"),
        ({'model="tiny"': 'model="tiny", translator="facebook/nllb-200-distilled-600M"'}, {"methods": "translate-train"}, "a made language"),
        ({'model="tiny"': 'model="tiny", translator="nllb"'}, {"methods": "translate-train"}, "a folder and a hub id"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_a_clear_error(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: Mapping[str, str],
    axes: dict[str, str], said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("importlib.util.find_spec", lambda name, find=find_spec: None if name == "thot" else find(name))
    file, text = tmp_path / "wrong.py", study.read_text()
    for old, new in changes.items():
        text = text.replace(old, new)
    file.write_text(text)
    assert fails(file, *settings(**axes))
    assert said in " ".join(capsys.readouterr().err.split())
