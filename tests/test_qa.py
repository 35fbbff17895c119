"""Question answering: SQuAD's scores, the questions that files and the hub hold, and what each malformed file is told."""

import json
import re

import pytest
from hub_folder import write_card
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.data.example_corpora import example_leaks, open_task_dataset
from engine.data.example_hub import _KNOWN, HubExamples, Layout
from engine.data.examples import Question
from engine.errors import DataError
from engine.tasks import qa
from engine.tasks.qa import Score

CONTEXT = "Kisumu ni mji wa Kenya. Uko kando ya Ziwa Viktoria."
ANSWERS = st.lists(st.text("ab .,Theán", max_size=12), min_size=1, max_size=4)


@pytest.fixture
def data(tmp_path):
    """Returns a function that writes a QA file; contexts and questions, or any text."""

    def write(path, content):
        file = tmp_path / "qa" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    write.folder = str(tmp_path)
    return write


def one(id_="1", question="Kisumu iko wapi?", answers=(("Kenya", 17),), context=CONTEXT):
    return {"contexts": [context], "qas": [[id_, 0, question, [list(answer) for answer in answers]]]}


def tydiqa(data):
    return open_task_dataset("qa", "tydiqa", data.folder)


# ------------------------------------------------------------------------------------------------ scores


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("The  Cat, an' a dog.", "cat dog"),
        ("a.n.", ""),  # punctuation goes first: "an"
        ("Theatre-goer's", "theatregoers"),
        ("le  chat « la »", "le chat « la »"),  # English only
        ("3,000.5\tkm", "30005 km"),
    ],
)
def test_normalize(text, left):
    assert qa.normalize(text) == left


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [  # worked out by hand from the rules of SQuAD's script v1.1
        ("The Denver Broncos!", ["Denver Broncos"], 1, 1),
        ("Broncos", ["Denver Broncos"], 0, 2 / 3),  # 1 of 1 and 1 of 2 tokens
        ("Denver Broncos of Denver", ["Broncos Denver"], 0, 2 / 3),  # 2 of 4 and 2 of 2: as multisets
        ("in in Denver", ["Denver in", "in in"], 0, 0.8),  # the better of 2/3, 2/2 and 2/3, 2/2
        ("Denver", ["Boston", "denver"], 1, 1),
        ("Denver", ["Boston"], 0, 0),
        ("", ["Denver"], 0, 0),
        ("The", ["a"], 1, 0),  # nothing is left of both: equal, but no token in common
        ("丹佛野马", ["丹佛野马队"], 0, 0),  # without blanks an answer is one token
    ],
)
def test_scores_by_hand(prediction, answers, exact, f1):
    assert qa.score(prediction, answers) == Score(exact, pytest.approx(f1))


@settings(deadline=None, derandomize=True)
@given(st.text("ab .,Theán", max_size=12), ANSWERS)
def test_exact_match_means_full_f1(prediction, answers):
    scored = qa.score(prediction, answers)
    assert 0 <= scored.f1 <= 1 and scored.exact in (0, 1)
    assume(qa.normalize(prediction))
    assert scored.f1 == 1 or not scored.exact
    assert qa.score(prediction, [*answers, prediction]) == Score(1, 1)


@settings(deadline=None, derandomize=True)
@given(st.text("ab .,Theán", max_size=12), ANSWERS, st.randoms(use_true_random=False))
def test_scores_are_symmetric_and_know_no_order(prediction, answers, random):
    for answer in answers:
        scored, back = qa.score(prediction, [answer]), qa.score(answer, [prediction])
        assert scored.exact == back.exact and scored.f1 == pytest.approx(back.f1)
    scored = qa.score(prediction, answers)
    assert scored.f1 == max(qa.score(prediction, [answer]).f1 for answer in answers)
    assert scored == qa.score(prediction, random.sample(answers, len(answers)))


def test_scores_of_a_set_are_means():
    questions = [Question(str(i), CONTEXT, "?", (("Ziwa Viktoria", 37),)) for i in range(3)]
    each = qa.scores(questions, ["ziwa viktoria", "Ziwa", "Kenya"])
    assert qa.mean(each) == Score(pytest.approx(1 / 3), pytest.approx((1 + 2 / 3) / 3))
    with pytest.raises(DataError, match="3 questions and 1 predictions"):
        qa.scores(questions, ["Kenya"])
    with pytest.raises(DataError, match="'7' has no answers"):
        qa.scores([Question("7", CONTEXT, "?")], ["Kenya"])


def test_the_form_of_mt5():
    question = Question("1", CONTEXT, "Kisumu iko wapi?", (("Kenya", 17), ("Ziwa Viktoria", 37)))
    assert qa.text(question) == f"question: Kisumu iko wapi? context: {CONTEXT}"
    assert qa.target(question) == "Kenya"


# ------------------------------------------------------------------------------------------------ files


def test_questions_of_a_file(data):
    data("tydiqa/swa.test.json", one(answers=(("Kenya", 17), ("Kenya", 17))))
    assert tydiqa(data).examples("swa", "test") == [Question("1", CONTEXT, "Kisumu iko wapi?", (("Kenya", 17), ("Kenya", 17)))]
    assert tydiqa(data).size("swa", "test") == 1


@pytest.mark.parametrize("name", ["swa.test", "sw.test", "swahili.test", "sw", "swahili.dev"])
def test_names_of_files(data, name):
    """By code or name; without a split all is test; dev is the test set where there is no other."""
    data(f"tydiqa/{name}.json", one())
    assert tydiqa(data).splits("swa") == ("test",)
    assert tydiqa(data).size("swa", "test") == 1
    with pytest.raises(DataError, match="no split 'dev' of 'swa'.*Of swa it has: test \\("):
        tydiqa(data).size("swa", "dev")


def test_dev_beside_test(data):
    data("tydiqa/swa.dev.json", one("dev"))
    data("tydiqa/swa.test.json", one("test"))
    data("tydiqa/swa.train.json", one("train"))
    data("tydiqa/notes.json", "no language")
    assert tydiqa(data).splits("swa") == ("train", "dev", "test")
    assert [tydiqa(data).examples("swa", split)[0].id for split in ("train", "dev", "test")] == ["train", "dev", "test"]
    assert example_leaks(tydiqa(data), "swa") == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"contexts": [],\n "qas"', r", line 2, column 7: .*It must hold one JSON object"),
        ("[]", 'needs an object with the lists "contexts" and "qas"; it has: list'),
        ('{"data": []}', "it has: data"),
        ({"contexts": [], "qas": []}, 'is empty: "qas" holds no question'),
        ({"contexts": ["A"], "qas": [["1", 1, "?", []]]}, r", qas\[0\]: there is no context 1: the file has texts 0 to 0"),
        ({"contexts": ["A"], "qas": [["1", 0, "?"]]}, r", qas\[0\]: \['1', 0, '\?'\] is not \[id, index"),
        ({"contexts": ["A"], "qas": [["1", 0, "?", [["A"]]]]}, r"\['A'\] is not an answer and its offset"),
        (one(answers=()), r", qas\[0\]: there is no answer. Unanswerable questions are no part"),
        (one(answers=[("Kenya", 16)]), r"'Kenya' does not stand at offset 16 of its context; ' Keny' does"),
        (one(answers=[("mji", -41)]), "does not stand at offset -41"),
        (one(answers=[("", 3)]), "the answer '' does not stand"),
        (one(question=" "), "the question is empty"),
    ],
)
def test_malformed_files_are_named(data, content, told):
    file = data("tydiqa/swa.test.json", content)
    with pytest.raises(DataError, match=rf"^{re.escape(str(file))}.*{told}"):
        tydiqa(data).size("swa", "test")


def test_missing_splits_and_datasets(data):
    data("tydiqa/swa.test.json", one())
    with pytest.raises(DataError, match=r"no split 'test' of 'swe': the layout is <data>/qa/tydiqa/.* Did you mean 'swa'\?"):
        tydiqa(data).version("swe", "test")
    with pytest.raises(DataError, match=r"has no QA dataset 'tydi'. Did you mean 'tydiqa'\? It has: tydiqa. Or use .* xquad or tydiqa_goldp"):
        open_task_dataset("qa", "tydi", data.folder)


def test_every_real_file_loads(shared):
    folder = str(shared / "data")
    xquad, goldp = open_task_dataset("qa", "xquad", folder), open_task_dataset("qa", "tydiqa_goldp", folder)
    assert [xquad.size(code, "test") for code in ("ara", "eng", "spa", "zho")] == [1190] * 4
    assert [goldp.size(code, "test") for code in ("ind", "kor", "swa")] == [565, 276, 499]
    for question in goldp.examples("kor", "test"):
        assert qa.score(qa.target(question), [answer for answer, _ in question.answers]).exact == 1


# ------------------------------------------------------------------------------------------------ the hub
# No test reaches the hub itself: its names, configurations and revisions are untested here.


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A folder with configurations like those of google/xquad and of TyDiQA's secondary task."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("hub")
    text = datasets.Value("string")
    answers = {"text": datasets.List(text), "answer_start": datasets.List(datasets.Value("int32"))}
    features = datasets.Features(id=text, context=text, question=text, answers=answers)

    def write(path, ids, offset=17):
        each = {"text": ["Kenya"], "answer_start": [offset]}
        rows = {"id": ids, "context": [CONTEXT] * len(ids), "question": ["?"] * len(ids), "answers": [each] * len(ids)}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / path)

    write("xquad.sw/validation.parquet", ["a"])
    write("xquad.ar/validation.parquet", ["b"], offset=3)
    write("secondary_task/train.parquet", ["english-1-0", "swahili--2-0"])
    write("secondary_task/validation.parquet", ["swahili--3-0", "english-4-0"])
    write_card(folder, {"xquad.sw": ["validation"], "xquad.ar": ["validation"], "secondary_task": ["train", "validation"]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", str(folder / "cache"))
        yield str(folder)


def test_questions_of_the_hub(repository):
    xquad = HubExamples("qa", "xquad", repository, "main", _KNOWN["google/xquad"])
    assert xquad.examples("swa", "test") == [Question("a", CONTEXT, "?", (("Kenya", 17),))]
    with pytest.raises(DataError, match="ara test, row 0: the answer 'Kenya' does not stand at offset 3"):
        xquad.examples("ara", "test")
    goldp = HubExamples("qa", "tydiqa_goldp", repository, "main", _KNOWN["google-research-datasets/tydiqa"])
    assert [question.id for question in goldp.examples("swa", "train")] == ["swahili--2-0"]
    assert [question.id for question in goldp.examples("swa", "test")] == ["swahili--3-0"]
    with pytest.raises(DataError, match="there is no example whose id begins with 'korean-'"):
        goldp.examples("kor", "test")
    plain = HubExamples("qa", "made/squad", repository, "main", Layout("secondary_task"))
    assert [question.id for question in plain.examples("eng", "dev")] == ["swahili--3-0", "english-4-0"]


def test_hub_versions_need_no_network():
    xquad, goldp = open_task_dataset("qa", "xquad", None), open_task_dataset("qa", "tydiqa_goldp@c0ffee", None)
    assert xquad.splits("eng") == ("train", "test") and xquad.splits("swa") == ("test",)
    assert xquad.version("eng", "train") == "rajpurkar/squad@main" and xquad.version("eng", "test") == "google/xquad@main"
    assert goldp.splits("swa") == ("train", "test") and goldp.version("swa", "test") == "google-research-datasets/tydiqa@c0ffee"
    with pytest.raises(DataError, match="xquad has no split 'train' of swa. Splits: test"):
        xquad.version("swa", "train")
