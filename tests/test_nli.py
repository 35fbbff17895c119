"""NLI: labels and accuracy, the pairs that files and the hub hold, and what each malformed file is told."""

import hashlib
import re

import pytest
from hub_folder import write_card
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.example_corpora import example_leaks, open_task_dataset, read_examples
from engine.data.example_hub import HubExamples
from engine.data.examples import Pair
from engine.data.sampling import nested_subset, subset, tempered
from engine.errors import DataError
from engine.spec import Split
from engine.tasks import ner, nli

HEADER = "premise\thypothesis\tlabel\n"
BORN = Pair("Ada alizaliwa Mombasa.", "Ada alizaliwa.", "entailment")
LABELS = st.lists(st.tuples(st.sampled_from(nli.LABELS), st.sampled_from(nli.LABELS)), min_size=1)


@pytest.fixture
def data(tmp_path):
    """A data folder with one dataset of two languages; returns a function that writes a file into it."""

    def write(path, content):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    write("nli/xnli_swa.dev.tsv", HEADER + "Ada alizaliwa Mombasa.\tAda alizaliwa.\tentailment\n")
    write("nli/xnli_swa.train.tsv", HEADER + "ADA  alizaliwa.\tHapana.\tneutral\nB\tC\tcontradiction\n")
    write("nli/xnli_swa.test.tsv", HEADER + "Ada alizaliwa.\thapana.\tentailment\nC\tB\tneutral\n")
    write("nli/xnli_urd.test.tsv", HEADER + "اس نے کہا۔\tوہ گیا۔\tneutral\n")
    write.folder = str(tmp_path)
    return write


def xnli(data):
    return open_task_dataset("nli", "xnli", data.folder)


# ------------------------------------------------------------------------------------------------ labels and scores


def test_the_form_of_mt5():
    assert nli.text(BORN) == "xnli: premise: Ada alizaliwa Mombasa. hypothesis: Ada alizaliwa."
    assert [nli.WORDS[label] for label in ("entailment", "neutral", "contradiction")] == ["0", "1", "2"]


def test_counts_by_hand():
    gold = ["entailment", "entailment", "neutral", "contradiction"]
    predicted = ["entailment", "neutral", "neutral", "neutral"]
    assert nli.count(gold, predicted) == {
        "entailment": (1, 0, 1), "neutral": (1, 2, 0), "contradiction": (0, 0, 1), "ALL": (2, 2, 2),
    }  # fmt: skip


@settings(deadline=None, derandomize=True)
@given(LABELS)
def test_micro_f1_is_the_accuracy(pairs):
    gold, predicted = zip(*pairs, strict=True)
    counts = nli.count(gold, predicted)
    accuracy = sum(right == told for right, told in pairs) / len(pairs)
    assert ner.f1(*counts["ALL"]) == pytest.approx((accuracy,) * 3)
    assert [sum(counts[label][i] for label in nli.LABELS) for i in range(3)] == [*counts["ALL"]]
    back = nli.count(predicted, gold)  # gold and prediction exchanged: so are precision and recall
    assert all(back[label] == (tp, fn, fp) for label, (tp, fp, fn) in counts.items())


def test_what_is_no_label_is_not_counted():
    with pytest.raises(DataError, match=r"'netural' is no label of NLI. Did you mean 'neutral'\?"):
        nli.count(["neutral"], ["netural"])
    with pytest.raises(DataError, match="1 labels and 0 predicted"):
        nli.count(["neutral"], [])


# ------------------------------------------------------------------------------------------------ files


def test_pairs_of_a_file(data):
    dataset = xnli(data)
    assert dataset.splits("swa") == ("train", "dev", "test") and dataset.splits("urd") == ("test",)
    assert dataset.examples("swa", "dev") == [BORN]
    assert dataset.examples("urd", "test") == [Pair("اس نے کہا۔", "وہ گیا۔", "neutral")]
    assert dataset.size("swa", "train") == 2


@pytest.mark.parametrize("content", [HEADER.replace("\n", "\r\n") + "A\tB\tneutral\r\n", "\ufeff" + HEADER + "A\tB\tneutral"])
def test_other_line_ends(data, content):
    data("nli/xnli_eng.test.tsv", content)
    assert xnli(data).examples("eng", "test") == [Pair("A", "B", "neutral")]


def test_version_is_the_hash_of_the_bytes(data):
    content = HEADER + "A\tB\tneutral\n"
    data("nli/xnli_swa.dev.tsv", content)
    assert xnli(data).version("swa", "dev") == hashlib.sha256(content.encode()).hexdigest()
    assert xnli(data).examples("swa", "dev") == [Pair("A", "B", "neutral")]
    data("nli/xnli_swa.dev.tsv", content + "C\tD\tneutral\n")
    assert xnli(data).size("swa", "dev") == 2  # what was parsed before is not taken for it


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        ("A\tB\tneutral\n", 1, r"'A\\tB\\tneutral' does not name the columns. Write premise<tab>hypothesis<tab>label"),
        (HEADER + "A\tB\n", 2, r"'A\\tB' has 2 columns. Write premise<tab>hypothesis<tab>label"),
        (HEADER + "A\tB\tneutral\n\n", 3, "has 1 columns"),
        (HEADER + "A\t \tneutral\n", 2, "the hypothesis is empty. Fill it in, or leave the line out"),
        (HEADER + "A\tB\tentails\n", 2, r"label 'entails' is unknown. Did you mean 'entailment'\? Labels: entailment, neutral"),
        (HEADER + "A\tB\t0\n", 2, "label '0' is unknown. Labels: entailment"),
        ((HEADER + "Zoë\tB\tneutral\n").encode("latin-1"), 2, "byte 0xeb at offset 27 is not UTF-8"),
    ],
)
def test_malformed_lines_are_named(data, content, line, told):
    file = data("nli/xnli_eng.dev.tsv", content)
    with pytest.raises(DataError, match=rf"^{re.escape(str(file))}, line {line}: .*{told}"):
        xnli(data).size("eng", "dev")


def test_an_empty_file(data):
    data("nli/xnli_eng.dev.tsv", HEADER)
    with pytest.raises(DataError, match="xnli_eng.dev.tsv is empty"):
        xnli(data).size("eng", "dev")


@pytest.mark.parametrize(
    ("language", "split", "told"),
    [
        ("swa", "tset", r"no split 'tset' of 'swa': the layout is <data>/nli/xnli_.* Did you mean 'test'\? .*dev \(xnli_swa.dev.tsv\), test .*comes before the hub.*dataset=facebook/xnli"),
        ("urd", "train", "Of urd it has: test"),
        ("swe", "test", r"Did you mean 'swa'\? Its languages: swa urd"),
        ("x-swa", "test", "'x-swa' is made: only dataset 'sandbox' has it"),
    ],
)
def test_missing_splits_name_what_there_is(data, language, split, told):
    for method in (xnli(data).version, xnli(data).size, xnli(data).examples):
        with pytest.raises(DataError, match=told):
            method(language, split)


def test_unknown_datasets_and_folders(data, tmp_path):
    with pytest.raises(DataError, match=r"has no NLI dataset 'xlni'. Did you mean 'xnli'\? It has: xnli. Or use sandbox, xnli"):
        open_task_dataset("nli", "xlni", data.folder)
    with pytest.raises(DataError, match="'anli' is read from files: give --data FOLDER with <data>/nli/"):
        open_task_dataset("nli", "anli", None)
    with pytest.raises(DataError, match="--data .*/absent: there is no such folder"):
        open_task_dataset("nli", "xnli", str(tmp_path / "absent"))
    with pytest.raises(DataError, match="It has: none; the layout is <data>/nli/"):
        open_task_dataset("nli", "anli", str(tmp_path / "nli"))


def test_leaks_are_counted(data):
    assert example_leaks(xnli(data), "swa") == 1  # whatever the case and blanks; premise and hypothesis exchanged is none
    assert example_leaks(xnli(data), "urd") == 0  # no train split


def test_a_recipe_reads_what_was_planned(data):
    dataset = xnli(data)
    split = Split("xnli", "swa", "dev", dataset.version("swa", "dev"), types=())
    assert read_examples("nli", split, data.folder) == [BORN]
    data("nli/xnli_swa.dev.tsv", HEADER + "A\tB\tneutral\n")
    with pytest.raises(DataError, match="xnli swa dev has changed since the study was planned"):
        read_examples("nli", split, data.folder)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.lists(st.builds(Pair, st.text("ab"), st.text("ab"), st.sampled_from(nli.LABELS)), min_size=1), st.integers(0, 3))
def test_pairs_are_drawn_like_sentences(pairs, seed):
    """Nested, whatever their labels, and in every order of the file."""
    drawn = [nested_subset(pairs, n, seed) for n in range(len(pairs) + 1)]
    assert all(drawn[-1][:n] == drawn[n] for n in range(len(pairs)))
    unlabeled = [Pair(pair.premise, pair.hypothesis) for pair in pairs]
    assert nested_subset(unlabeled, len(pairs), seed) == drawn[-1]
    assert [p.key for p in subset(pairs[::-1], len(pairs), seed)] == [p.key for p in subset(pairs, len(pairs), seed)]
    assert tempered([pairs, pairs], 1.0, seed) == [[*range(len(pairs))]] * 2


def test_every_real_file_loads(shared):
    dataset = open_task_dataset("nli", "xnli", str(shared / "data"))
    for language in ("swa", "urd"):
        for split, size in (("dev", 2490), ("test", 1500)):
            pairs = dataset.examples(language, split)
            assert len(pairs) == size
            assert {nli.LABELS.index(pair.label) for pair in pairs} == {0, 1, 2}


# ------------------------------------------------------------------------------------------------ the hub
# No test reaches the hub itself: its names, configurations and revisions are untested here.


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A folder like facebook/xnli: Parquet files, one configuration a language, the label's names in the features."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("hub")
    text, names = datasets.Value("string"), datasets.ClassLabel(names=[*nli.LABELS])
    features = datasets.Features(premise=text, hypothesis=text, label=names)
    for split, label in (("train", 0), ("validation", 1), ("test", 2)):
        rows = {"premise": [f"P {split}"], "hypothesis": ["H"], "label": [label]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "sw" / f"{split}.parquet")
    datasets.Dataset.from_dict({"premise": ["P"], "hypothesis": ["H"], "label": [-1]}).to_parquet(folder / "ur" / "test.parquet")
    datasets.Dataset.from_dict({"premise": ["P"], "label": [1]}).to_parquet(folder / "ar" / "test.parquet")
    write_card(folder, {"sw": ("train", "validation", "test"), "ur": ["test"], "ar": ["test"]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", str(folder / "cache"))
        yield str(folder)


def test_pairs_of_the_hub(repository):
    hub = HubExamples("nli", "made/xnli", repository, "main")
    assert hub.examples("swa", "train") == [Pair("P train", "H", "entailment")]  # configuration "sw"
    assert hub.examples("swa", "dev") == [Pair("P validation", "H", "neutral")]
    with pytest.raises(DataError, match="urd test, row 0: label -1 is unknown. Labels: entailment"):
        hub.examples("urd", "test")
    with pytest.raises(DataError, match="ara test: NLI needs the columns premise hypothesis label; it has premise label"):
        hub.examples("ara", "test")
    with pytest.raises(DataError, match="urd train: there is no such split. The repository has: test"):
        hub.examples("urd", "train")
    with pytest.raises(DataError, match="has no configuration named yor or yo. It has: .*sw"):
        hub.examples("yor", "test")


def test_hub_versions_need_no_network():
    hub = open_task_dataset("nli", "xnli", None)
    assert hub.version("swa", "train") == "facebook/xnli@main" and hub.splits("swa") == ("train", "dev", "test")
    assert hub.size("swa", "train") is example_leaks(hub, "swa") is None
    assert open_task_dataset("nli", "xnli@b8dd5d7", None).version("swa", "test") == "facebook/xnli@b8dd5d7"
    assert open_task_dataset("nli", "me/mine", None).version("swa", "test") == "me/mine@main"
    with pytest.raises(DataError, match="xnli has no split 'validation' of swa. Splits: train dev test"):
        hub.version("swa", "validation")
    with pytest.raises(DataError, match="'x-swa' is made: only dataset 'sandbox' has it"):
        hub.examples("x-swa", "train")


def test_without_a_network_the_error_says_what_to_do(monkeypatch, tmp_path):
    pytest.importorskip("datasets")
    for cache in ("datasets.config.HF_DATASETS_CACHE", "huggingface_hub.constants.HF_HUB_CACHE"):
        monkeypatch.setattr(cache, str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    for task, name in (("nli", "xnli"), ("qa", "xquad"), ("qa", "tydiqa_goldp")):
        with pytest.raises(DataError, match=r"@main could not be read from the hub: .*HF_HOME, or give .*pairs as TSV"):
            open_task_dataset(task, name, None).examples("eng", "test")
