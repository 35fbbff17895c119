"""NLI and QA in the engine: what a model reads, what it learns, and the rows that its cells end as."""

import textwrap
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_study import STUDY, run_here
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from analysis.sentences import compare, counts
from engine.compiler import compile_study
from engine.data.examples import Pair, Question
from engine.data.sandbox import entailment, questions
from engine.data.sentences import Sentence
from engine.errors import DataError, ModelError, SprachbundError, StudyError
from engine.models.load import new_tagger
from engine.models.predict import decode, probabilities, write
from engine.models.saved import load_tagger, save_tagger
from engine.models.tagger import Tagger
from engine.models.tiny import make_tiny
from engine.models.two_texts import joined, pair_marks
from engine.spec import Study, Training
from engine.store import Store
from engine.study import load_study
from engine.study import main as command_line
from engine.tasks.nli import LABELS
from engine.train.loop import PlainBackend
from engine.train.losses import cross_entropy
from engine.train.tagging import fit

TEXTS = ["Ada wrote a poem.", "Bo sang in London.", "Cy never came to Rome.", "Di slept."]
PAIRS = [Pair(one, other, LABELS[(i + 2 * j) % 3]) for i, one in enumerate(TEXTS) for j, other in enumerate(TEXTS)]
QUESTIONS = [
    Question("1", "Ada wrote a poem. Bo sang.", "Who wrote?", (("Ada", 0),)),
    Question("2", "Ada wrote a poem. Bo sang.", "Who sang?", (("Bo", 18),)),
    Question("3", "Ada wrote a poem. Bo sang.", "What?", (("a poem", 10),)),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tiny")
    text = [*TEXTS, *(q.context for q in QUESTIONS), *(q.question for q in QUESTIONS)] * 30
    make_tiny(folder, [Sentence(tuple(line.split())) for line in text], seed=0)
    return str(folder)


def taught(checkpoint: str, form: str, labels: tuple[str, ...], examples: list, answers: list, steps: int) -> Tagger:
    tagger = new_tagger(checkpoint, form, labels, seed=0)
    training = Training(steps=steps, batch_size=16, learning_rate=5e-3, schedule="cosine", weight_decay=0.0)
    losses = fit(tagger, examples, answers, cross_entropy, training, 0, 0, PlainBackend()).losses
    assert losses[-1] < 0.1 * losses[0]
    return tagger.eval()


@pytest.mark.parametrize("form", ["slots", "encoder"])
def test_labels_of_pairs_are_learned_saved_and_loaded(tiny, form, tmp_path):
    tagger = taught(tiny, form, LABELS, PAIRS, [[LABELS.index(pair.label)] for pair in PAIRS], 150)
    answers = probabilities(tagger, PAIRS, 64, 5)
    assert decode(answers, LABELS) == [(pair.label,) for pair in PAIRS]
    save_tagger(tagger, tmp_path)
    again = probabilities(load_tagger(tmp_path, tiny), PAIRS[::-1], 64, 16)
    np.testing.assert_allclose(again[::-1], answers, atol=1e-5)


def test_a_label_is_scored_where_the_library_would_write_it(tiny):
    tagger = new_tagger(tiny, "slots", LABELS, seed=0)
    ids = torch.tensor([tagger.windows(PAIRS[:1], 64)[0].input_ids])
    library = AutoModelForSeq2SeqLM.from_pretrained(tiny)
    with torch.inference_mode():
        states = library(input_ids=ids, decoder_input_ids=torch.tensor([[0]]), output_hidden_states=True).decoder_hidden_states[-1]
        theirs = library.shared.weight[tagger.tag_ids] @ states[0, 0] * library.config.d_model**-0.5
        ours = tagger(ids, torch.ones_like(ids), torch.tensor([[library.config.decoder_start_token_id]]))
    torch.testing.assert_close(ours[0, 0], theirs, atol=1e-5, rtol=0)
    assert len({*tagger.tag_ids}) == 3


def test_answers_are_learned(tiny):
    answerer = taught(tiny, "text", (), QUESTIONS, [q.answers[0][0] for q in QUESTIONS], 150)
    assert answerer.answers(QUESTIONS, *write(answerer, QUESTIONS, 64, 2)) == ["Ada", "Bo", "a poem"]
    windows, _ = write(answerer, QUESTIONS, 9, 2)
    assert all(window.cut and len(window.input_ids) == 9 for window in windows)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(lengths=st.tuples(st.integers(0, 30), st.integers(0, 30)), room=st.integers(2, 40))
def test_two_texts_lose_their_ends_only_where_they_must(lengths, room):
    def subwords(texts: list[list[str]]) -> list[list[list[int]]]:
        return [[[ord(word)] for word in words] for words in texts]

    first, second = "a" * lengths[0], "b" * lengths[1]
    (window,) = joined([(" ".join(first), " ".join(second))], subwords, room + 3, ([1], [2], [3]), 0)
    ids = window.input_ids
    kept = ids.count(ord("a")), ids.count(ord("b"))
    assert ids == [1, *[ord("a")] * kept[0], 2, *[ord("b")] * kept[1], 3] and window.slots == [0]
    assert sum(kept) == min(room, sum(lengths)) and window.cut == (sum(kept) < sum(lengths))
    assert all(k >= min(length, room // 2) for k, length in zip(kept, lengths, strict=True))


def test_a_room_too_small_for_two_texts_is_said_so():
    with pytest.raises(ModelError, match="max_tokens=4.*at least 5"):
        joined([("a", "b")], lambda texts: [[[1]] for _ in texts], 4, ([1], [2], [3]), 0)


def test_an_encoder_reads_pairs_as_its_tokenizer_does(shared):
    folder = str(shared / "models" / "multilingual-e5-small-24")
    tagger, tokenizer = new_tagger(folder, "encoder", LABELS, seed=0), AutoTokenizer.from_pretrained(folder)
    (window,) = tagger.windows([Pair("Ada slept.", "Bo sang.")], 64)
    assert window.input_ids == tokenizer("Ada slept.", "Bo sang.")["input_ids"] and window.slots == [0]
    assert [len(ids) for ids in pair_marks(tokenizer)] == [1, 2, 1]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A sandbox of few examples, which takes no time to make."""
    for made in (entailment, questions):
        made.examples.cache_clear()
        for split, number in {"train": 300, "dev": 30, "test": 150}.items():
            monkeypatch.setitem(made.SIZES, split, number)
    yield
    for made in (entailment, questions):
        made.examples.cache_clear()


def study_of(task: str, tmp_path: Path, **changes: object) -> Study:
    file = tmp_path / "small.py"
    file.write_text(STUDY.replace('dataset="sandbox"', f'dataset="sandbox", task="{task}", methods="direct"'))
    return load_study(file, local=True).varied(**({"volumes": (0,)} | changes))


def test_a_study_of_pairs_ends_as_rows_of_each_label(tmp_path, few, capsys):
    study = study_of("nli", tmp_path, methods=("direct", "teacher-student"), volumes=(0, 40), shots=(0, 9))
    frame = run_here(study, tmp_path / "out")
    assert set(frame["status"]) == {"done"} and set(frame["task"]) == {"nli"} and set(frame["form"]) == {"slots"}
    assert set(frame["entity_type"]) == {"ALL", *LABELS} and len(frame) == 3 * 4
    whole = frame.filter(pl.col("entity_type") == "ALL")
    assert (whole["fp"] == whole["fn"]).all() and (whole["tp"] + whole["fn"] == whole["sentences"]).all()
    assert whole["f1"].to_list() == pytest.approx((whole["tp"] / whole["sentences"]).to_list())
    assert (whole["truncated"] == 0).all() and whole["position_free_f1"].null_count() == 3
    assert whole["gain"].null_count() == 2  # of direct transfer, with and without shots
    assert 0.2 < whole["source_f1"][0] < 0.8
    one, other = whole["scored"][0], whole["scored"][1]
    difference = compare(Store(str(tmp_path / "out")), one, other, draws=200)
    assert difference["estimate"] == pytest.approx(whole["f1"][1] - whole["f1"][0])
    axes = ("methods=direct,teacher-student", "volumes=0,40", "shots=0,9")
    again = [str(tmp_path / "small.py"), "--local", "--out", str(tmp_path / "out"), *chain.from_iterable(("--set", axis) for axis in axes)]
    assert command_line(again) == 0
    assert "accuracy on test" in " ".join(capsys.readouterr().out.split())


def test_a_study_of_questions_has_squads_scores(tmp_path, few):
    row = run_here(study_of("qa", tmp_path, sources="x-deu+x-eng"), tmp_path / "out").row(0, named=True)
    assert row["sources"] == ["x-deu", "x-eng"] and row["form"] == "text" and row["entity_type"] == "ALL" and row["truncated"] == 0
    assert 1 >= row["f1"] >= row["exact_match"] >= 0 and row["collapsed"] == (row["f1"] < 0.05)
    assert row["tp"] is None and row["precision"] is None and 0 <= row["source_f1"] <= 1
    tp, fp, fn = counts(Store(str(tmp_path / "out")), row["scored"]).sum(axis=0)  # what the paired bootstrap reads
    assert 2 * tp / (2 * tp + fp + fn) == pytest.approx(row["f1"])


def test_pairs_of_several_sources_are_pooled_and_their_teachers_averaged(tmp_path, few):
    study = study_of("nli", tmp_path, sources="x-deu+x-eng", methods=("direct", "multi-teacher"), volumes=(0, 40))
    direct, mixed = run_here(study, tmp_path / "out").filter(entity_type="ALL").sort("method").iter_rows(named=True)
    assert (direct["method"], direct["volume"], mixed["method"], mixed["volume"]) == ("direct", 0, "multi-teacher", 40)
    assert direct["sources"] == mixed["sources"] == ["x-deu", "x-eng"]
    assert mixed["gain"] == pytest.approx(mixed["f1"] - mixed["teacher_f1"]) and mixed["status"] == "done"


def test_the_example_of_the_docs_is_a_study(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "methods.md").read_text("utf-8")
    code = page.partition("where entailment.py is\n\n")[2].partition("\n\n(")[0]
    (tmp_path / "entailment.py").write_text(textwrap.dedent(code))
    study = load_study(tmp_path / "entailment.py", local=True)
    cells = compile_study(study, None).cells
    assert {(work.cell.task, work.cell.method) for work in cells} == {("nli", "direct"), ("nli", "in-language")}
    assert compile_study(study.varied(task="qa", methods=("direct",)), None).cells


def test_the_plan_of_a_folder_s_pairs_tells_of_leaks(tiny, tmp_path, capsys):
    (tmp_path / "nli").mkdir()
    for split in ("train", "test"):
        (tmp_path / f"nli/mini_swa.{split}.tsv").write_text("premise\thypothesis\tlabel\nAda sang.\tAda slept.\tneutral\n")
    file = tmp_path / "pairs.py"
    file.write_text(
        "from engine.spec import Study\n"
        'local = study = Study(name="pairs", question="", hypothesis="", task="nli", dataset="mini", sources="swa", targets="swa", '
        f'methods="in-language", seeds=0, model={tiny!r})\n'
    )
    assert command_line([str(file), "--local", "--plan", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert "warning: mini swa: 1 test sentences stand in its train split too" in capsys.readouterr().out


def test_the_tasks_share_the_base_model(tmp_path):
    bases = [{name for name in compile_study(study_of(task, tmp_path), None).steps if name.startswith("pretrain")} for task in ("ner", "nli", "qa")]
    assert bases[0] == bases[1] == bases[2] and len(bases[0]) == 1


@pytest.mark.parametrize(
    ("task", "changes", "said"),
    [
        ("qa", {"methods": ("teacher-student",)}, "methods='teacher-student' with task=qa: must be one of direct, in-language"),
        ("nli", {"methods": ("multi-teacher-lid",)}, "with task=nli: must be one of direct, teacher-student, multi-teacher"),
        ("nli", {"form": ("spans",)}, "form='spans' with task=nli: must be one of slots, encoder"),
        ("qa", {"form": ("slots",)}, "form='slots' with task=qa: must be one of text"),
        ("ner", {"form": ("text",)}, "form='text' with task=ner"),
        ("nli", {"perturbations": ("names",)}, "perturbations='names' with task=nli"),
        ("nli", {"pool": "text"}, "pool='text' with task=nli"),
        ("nli", {"methods": ("teacher-student",), "volumes": (99_999,)}, "larger than the pool: sandbox x-nld train"),
        ("nil", {}, "Did you mean 'nli'"),
        ("nli", {"dataset": "xnli+sandbox"}, "unions are of NER alone"),
        ("nli", {"dataset": "xnli"}, "made from the sandbox's text"),
    ],
)
def test_what_does_not_serve_a_task_is_said_so(tmp_path, task, changes, said):
    with pytest.raises(SprachbundError) as error:
        compile_study(study_of(task, tmp_path, **changes), None)
    assert isinstance(error.value, StudyError | DataError) and said in str(error.value)
