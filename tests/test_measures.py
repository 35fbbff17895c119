"""Measures on languages: what each is on texts and embeddings whose answer is known, and the way into the table."""

import math
from collections import Counter

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertModel, BertTokenizerFast

from engine.cells import expand
from engine.compiler import compile_study
from engine.data import overlap
from engine.data.sentences import Sentence
from engine.errors import DataError, ModelError, StudyError
from engine.graph import Graph
from engine.measured import columns
from engine.models import fill
from engine.models.alignment import alignment, cka, procrustes
from engine.models.pretraining import Pretrainer, pretrainer
from engine.models.tiny import make_tiny
from engine.plan import make_plan
from engine.spec import Distillation, Pretraining, Recipe, Site, Study, Training, parse_axis
from engine.steps.teachers import agreement, entropy
from engine.store import MEASURED, Store
from engine.work import run_unit
from tests.toy import toy_sentences

TEXT = toy_sentences(120)
types = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 9), max_size=12)
numbers = st.integers(0, 2**32 - 1)


def said(*pairs: str) -> Sentence:
    words, tags = zip(*(pair.split("/") for pair in pairs), strict=True)
    return Sentence(words, tags)


# ------------------------------------------------------------------------------------------------ texts


def test_overlap_by_hand():
    a, b = Counter({"kasa": 9, "mala": 6, "pa": 1}), Counter({"kasa": 7, "pa": 8})
    assert overlap.share(a, b) == 2 / 5 and overlap.jaccard(a, b) == 1 / 3
    assert overlap.variety_distance(["a", "b", "c", "d", "e"], ["a", "b", "a", "b"]) == (1 - 1 / 0.5) ** 2


@settings(deadline=None, derandomize=True)
@given(types, types)
def test_overlaps_are_of_both_languages_alike(a, b):
    for measure, most in ((overlap.share, 0.5), (overlap.jaccard, 1.0)):
        assert 0 <= measure(a, b) == measure(b, a) <= most
    assert overlap.share(a, a) == (0.5 if a else 0)


def test_an_entity_counts_with_its_tag_by_occurrence():
    train = [said("Kano/B-LOC", "is/O", "big/O", "Ada/B-PER")]
    test = [said("Kano/B-LOC", "Kano/B-ORG"), said("Ada/B-PER", "Kano/B-LOC", "is/O")]
    assert overlap.shared_entities(train, test) == 3 / 4
    assert overlap.shared_entities(train, [said("big/O")]) is None


# ------------------------------------------------------------------------------------------------ embeddings


@settings(deadline=None, derandomize=True, max_examples=25)
@given(numbers, st.integers(2, 6), st.floats(0.1, 10), st.floats(-5, 5))
def test_a_rotated_space_is_aligned_to_all_that_looks_past_rotations(seed, d, scale, shift):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(20, d))
    turned = x @ np.linalg.qr(rng.normal(size=(d, d)))[0] * scale + shift
    assert cka(x, turned) == pytest.approx(1, abs=1e-6)
    assert procrustes(x, turned) < 0.2  # the halves have means of their own
    assert all(math.isfinite(value) for value in alignment(x, turned).values())


def test_so_few_sentences_that_any_value_would_come_of_them_have_none():
    x, y = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
    assert cka(x[:2], y[:2]) == pytest.approx(1) and procrustes(x[:2], y[:2]) in (pytest.approx(0), pytest.approx(2))  # whatever they are
    none = [{name for name, value in alignment(x[:n], y[:n]).items() if value is None} for n in (1, 2, 3)]
    assert none == [{"alignment_cka", "alignment_procrustes", "alignment_retrieval"}, {"alignment_cka", "alignment_procrustes"}, set()]


def test_alignment_of_the_same_and_of_the_unrelated():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(300, 40)).astype(np.float32) for _ in range(2))
    same, unrelated = alignment(x, x), alignment(x, y)
    assert [same[f"alignment_{name}"] for name in ("cosine", "cka", "retrieval", "distance", "procrustes")] == pytest.approx([1, 1, 1, 0, 0], abs=1e-6)
    assert unrelated["alignment_retrieval"] < 0.05 and abs(unrelated["alignment_cosine"]) < 0.05 and unrelated["alignment_cka"] < 0.2
    assert unrelated["alignment_procrustes"] > 0.8  # fitted and scored on the same rows it would be far less


# ------------------------------------------------------------------------------------------------ teachers


def test_entropy_and_agreement():
    sure, split = np.array([[1, 0, 0], [0, 1, 0]], np.float32), np.array([[0.5, 0.5, 0], [0.5, 0, 0.5]], np.float32)
    assert entropy([sure]) == 0 and entropy([sure, split]) == pytest.approx(math.log(2) / 2)
    assert agreement([sure]) is None and agreement([sure, split]) == 0.5
    assert agreement([sure, sure, split]) == pytest.approx((1 + 0.5 + 0.5) / 3)


# ------------------------------------------------------------------------------------------------ the language model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tiny")
    make_tiny(folder, TEXT, seed=0)
    return str(folder)


def filled(model: Pretrainer, masked: float = 0.15) -> dict[str, float]:
    return fill.fill(model, TEXT, masked, 64, 0, "fp32", torch.device("cpu"))


@pytest.mark.parametrize("objective", ["span-corruption", "masked-lm", "denoise"])
def test_an_untrained_model_knows_nothing_and_what_is_asked_is_what_was_masked(tiny, objective):
    model = pretrainer(tiny, objective, 0)
    found = filled(model)
    assert found == filled(model)
    assert found["lmem"] < 0.1 and abs(found["lml"] - math.log(model.model.config.vocab_size)) < 2
    words = sum(len(model.tokenizer(list(s.words), is_split_into_words=True, add_special_tokens=False)["input_ids"]) for s in TEXT)
    asked_of = sum(len(s.words) for s in TEXT) if objective == "denoise" else words
    assert 0.12 < found["subwords"] / asked_of < 0.25  # at least one of a sentence
    assert (1 < found["subwords"] / found["spans"] <= 3.5) == (objective == "span-corruption")


def test_a_model_that_is_always_right(tiny, monkeypatch):
    answers = iter(())

    def knows(self, input_ids, attention_mask, slots):
        rows = [next(answers) for _ in input_ids]
        logits = torch.zeros(len(rows), slots.shape[1], model.model.config.vocab_size)
        for row, ids in zip(logits, rows, strict=True):
            row[range(len(ids)), ids] = 50.0
        return logits

    model = pretrainer(tiny, "span-corruption", 0)
    windows, targets = model.examples(TEXT, 0.5, 64, 0)
    order = sorted(range(len(windows)), key=lambda i: len(windows[i].input_ids))
    monkeypatch.setattr(Pretrainer, "forward", knows)
    answers = iter([targets[i] for i in order])
    assert filled(model, 0.5)["lmem"] == 1
    answers = iter([[*targets[i][:-2], 0, 0] for i in order])  # each last span wrong in its last subword
    found = filled(model, 0.5)
    assert found["lmem"] == 1 - len(windows) / found["spans"] > 0 and found["lml"] == pytest.approx(50 * len(windows) / found["subwords"], rel=1e-3)


def test_an_encoder_without_a_head_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abc"]), "utf-8")
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = BertConfig(vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no trained masked language model .*Leave 'lm' out"):
        fill.trained(str(tmp_path), "masked-lm")


# ------------------------------------------------------------------------------------------------ a study


SMALL = {"steps": 4, "batch_size": 8, "learning_rate": 3e-3}
STUDY = Study(
    name="s", question="?", hypothesis="!", dataset="sandbox", model="tiny", sources=("x-eng", "x-deu"), targets="x-nld", volumes=20, seeds=0,
    methods=("teacher-student", "in-language"),
    recipes={"tiny": Recipe(
        pretrain=Pretraining(objective="denoise", languages=("x-eng",), sentences=100, **SMALL), finetune=Training(**SMALL),
        distill=Distillation(**SMALL),
    )},
)  # fmt: skip


def test_columns_are_means_over_sources_and_differences():
    pair = [("pair", {"measured": {"word_overlap": value, "entity_overlap": None}}) for value in (0.25, 0.5)]
    lml = [(role, {"measured": {"lml": value}}) for role, value in (("source", 2.0), ("source", 4.0), ("target", 5.0))]
    weights = [("pair", {"weights": {"deu": 0.5, "eng": 0.3, "fra": 0.2}})]
    assert columns(("deu", "eng"), [*pair, *lml, *weights]) == {
        "word_overlap": 0.375, "lml_source": 3.0, "lml_target": 5.0, "lml_difference": 2.0, "identity_weight": pytest.approx(0.4)
    }  # fmt: skip


def test_what_a_study_may_ask():
    assert STUDY.varied(measures="lm").measures == ("lm",) and parse_axis("measures=lm,overlap") == ("measures", ("lm", "overlap"))
    for measures, message in (("lmm", "Did you mean 'lm'"), (("all", "lm"), "'all' stands alone"), (("lm", "lm"), "lm more than once")):
        with pytest.raises(StudyError, match=message):
            STUDY.varied(measures=measures)
    for changes, message in (
        ({"measures": "teachers", "methods": "direct", "volumes": 0}, "'teachers' is of students' teachers"),
        ({"measures": "identity", "sources": "x-eng"}, "'identity' tells sources apart"),
    ):
        with pytest.raises(StudyError, match=message):
            compile_study(STUDY.varied(**changes), None)
        assert compile_study(STUDY.varied(**changes | {"measures": "all"}), None).cells


def test_measures_change_no_step_and_are_shared():
    plain, measured = compile_study(STUDY, None), compile_study(STUDY.varied(measures="all", seeds=(0, 1)), None)
    assert {*plain.steps} < {*measured.steps}
    kinds = Counter(step.kind for step in measured.steps.values())
    assert {kind: kinds[kind] for kind in ("lm", "overlap", "alignment", "similarity")} == {"lm": 3, "overlap": 2, "alignment": 2, "similarity": 1}
    assert kinds["teachers"] == 4  # two sources, two seeds
    changed = {str(work.cell) for work in plain.cells} - {
        str(work.cell) for work in measured.cells if work.fingerprint in {old.fingerprint for old in plain.cells}
    }
    assert changed == {str(cell) for cell in expand(STUDY) if cell.method != "in-language"}  # rows are written anew, nothing is trained


def test_missing_parallel_text_and_a_model_without_a_head(tmp_path):
    for code in ("hau", "yor"):
        for split in ("train", "dev", "test"):
            file = tmp_path / "ner" / "news" / code / f"{split}.conll"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"Kano{split}\tB-LOC\n", "utf-8")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"hidden_size": 8, "num_hidden_layers": 1}', "utf-8")
    asked = STUDY.varied(dataset="news", model=str(tmp_path / "model"), sources="hau", targets="yor", volumes=1, recipes=None)

    def kinds(measures: str) -> set[str]:
        return {step.kind for step in compile_study(asked.varied(measures=measures), str(tmp_path)).steps.values()}

    assert "alignment" not in kinds("all") and {"lm", "overlap"} <= kinds("all")
    with pytest.raises(DataError, match="no parallel corpus of hau and yor.* leave 'alignment' out of the measures"):
        kinds("alignment")
    (tmp_path / "model" / "config.json").write_text('{"hidden_size": 8, "num_hidden_layers": 1, "architectures": ["BertModel"]}', "utf-8")
    assert "lm" not in kinds("all")
    with pytest.raises(StudyError, match="'lm' needs a masked language model, and model was saved without one"):
        kinds("lm")
    (tmp_path / "parallel").mkdir()
    (tmp_path / "parallel" / "made_yor-hau.tsv").write_text("Kano ni\tKano ce\n", "utf-8")
    assert "alignment" in kinds("all") & kinds("alignment")


def run(graph: Graph, store: Store) -> list[dict[str, str]]:
    """Run all that is left; return what failed, unit by unit."""
    return [outcome.failed for unit in make_plan(graph, store, False).units if (outcome := run_unit(unit, store, Site())).failed]


def test_a_study_with_measures_of_which_one_fails_at_first(tmp_path, monkeypatch):
    store, graph = Store(str(tmp_path)), compile_study(STUDY.varied(measures="all", sources="x-eng"), None)
    store.probe()
    with monkeypatch.context() as broken:
        broken.setattr("engine.steps.overlap.load_tokenizer", lambda name: 1 / 0)
        [failed] = run(graph, store)
    assert list(failed.values()) == ["measure overlap (tiny-x-eng-x-nld): ZeroDivisionError: division by zero"]
    left = make_plan(graph, store, False)
    assert [work.cell.method for work in left.open] == ["teacher-student"] and [step.kind for step in left.to_run] == ["overlap"]
    assert not run(graph, store) and not make_plan(graph, store, False).open
    rows = store.results().filter(pl.col("entity_type") == "ALL")
    student, ceiling = (rows.row(by_predicate=pl.col("method") == method, named=True) for method in ("teacher-student", "in-language"))
    assert {name for name in MEASURED if student[name] is None} == {"identity_weight", "teacher_agreement"}
    assert all(ceiling[name] is None for name in MEASURED)
    assert 0 < student["word_overlap"] < 0.5 and 0 < student["entity_overlap"] < 1 and student["lml_source"] > 0
