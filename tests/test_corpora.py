"""Corpora: what is read from files and the hub, and what each malformed file is told."""

import hashlib
import re

import pytest
from hub_folder import write_card
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data import iob2
from engine.data.conll import read_conll
from engine.data.corpora import leaks, open_dataset, pool, pool_size, pool_version, read_pool, read_split
from engine.data.hub import HubDataset, wikipedia
from engine.data.sentences import Sentence
from engine.data.text import read_text, split_sentences, tokenize
from engine.errors import DataError
from engine.spec import Split

TYPES, DROPPED = ("LOC", "ORG", "PER"), ("DATE", "MISC")


@pytest.fixture
def data(tmp_path):
    """A data folder with one dataset of two languages; returns a function that writes a file into it."""

    def write(path, content):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    write(
        "ner/news/swa/train.conll", "Amina\tB-PER\nJuma\tI-PER\nalifika\tO\n.\tO\n\nJumatatu\tB-DATE\nMombasa\tB-LOC\n"
    )
    write("ner/news/swa/dev.conll", "Nairobi\tB-LOC\n")
    write("ner/news/swa/test.conll", "jumatatu\tO\nMombasa\tB-LOC\n\nKisumu\tB-LOC\n")
    write("ner/news/hau/test.conll", "Kano\tB-LOC\n")
    write("text/swa.txt", "Amina alifika Mombasa.\nJumatatu Mombasa\n\nKisumu!\n")
    write.folder = str(tmp_path)
    return write


def news(data, types=TYPES, dropped=DROPPED):
    return open_dataset("news", data.folder, types, dropped)


# ------------------------------------------------------------------------------------------------ CoNLL files


def test_conll(data):
    assert news(data).sentences("swa", "train") == [
        Sentence(("Amina", "Juma", "alifika", "."), ("B-PER", "I-PER", "O", "O")),
        Sentence(("Jumatatu", "Mombasa"), ("O", "B-LOC")),  # DATE is dropped
    ]
    assert news(data).size("swa", "train") == 2


def test_types_decide_what_is_kept(data):
    dates = news(data, ("DATE",), ("LOC", "PER")).sentences("swa", "train")
    assert [sentence.tags for sentence in dates] == [("O",) * 4, ("B-DATE", "O")]
    assert [s.tags for s in news(data, (), ()).sentences("swa", "train")] == [None, None]


@pytest.mark.parametrize(
    "content",
    [
        "Ada B-PER\nwrote O\n",  # blanks between columns, no blank line at the end
        "Ada NNP _ B-PER\nwrote VBD _ O\n\n\n",
        "Ada\tNNP\tB-PER\nwrote\tVBD\tO\n\n",
        "Ada\tB-PER\r\nwrote\tO\r\n\r\n",
        "\ufeff-DOCSTART- -X- O\n\nAda\tB-PER\nwrote\tO\n  \n-DOCSTART-\tO\n\n",
        "# id = 1\n# text = Ada wrote O\nAda\tB-PER\nwrote\tO\n\n# end\n",
    ],
)
def test_conll_layouts(data, content):
    data("ner/news/eng/train.conll", content)
    assert news(data).sentences("eng", "train") == [Sentence(("Ada", "wrote"), ("B-PER", "O"))]


def test_the_word_hash_is_no_comment(data):
    data("ner/news/eng/train.conll", "# O\nAda B-PER\n# O\n")
    assert news(data).sentences("eng", "train")[0].words == ("#", "Ada", "#")


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        ("Ada\tB-PER\n\nwrote\n", 3, r"'wrote' is not a word and its tag. Write both, with a tab"),
        ("Ada\tB-PER\nwrote\t\n", 2, r"'wrote\\t' is not a word and its tag"),
        ("Ada\tB-PER\n\tO\n", 2, r"'\\tO' is not a word and its tag"),
        ("# id\nAda\tI-PER\n", 2, r"tag 'I-PER' begins a sentence.*Write B-PER if an entity begins here"),
        ("Ada\tB-PER\nwrote\tO\nGoogle\tI-ORG\n", 3, r"tag 'I-ORG' follows 'O'.*only follows B-ORG or I-ORG"),
        ("Ada\tB-PER\nGoogle\tI-ORG\n", 2, r"tag 'I-ORG' follows 'B-PER'"),
        ("1843\tI-DATE\n", 1, r"tag 'I-DATE' begins a sentence"),
        ("Ada\tPER\n", 1, r"tag 'PER' is not IOB2: a tag is O, B-<type> or I-<type>"),
        ("Ada\tS-PER\n", 1, r"tag 'S-PER' is not IOB2"),
        ("Ada\tB-\n", 1, r"tag 'B-' is not IOB2"),
        (
            "A\tO\n\nNobel\tB-PRIZE\n",
            3,
            r"the type PRIZE \(types: LOC ORG PER\).*\(dropped_types: DATE MISC\). Add PRIZE",
        ),
    ],
)
def test_malformed_lines_are_named(data, content, line, told):
    file = data("ner/news/eng/train.conll", content)
    with pytest.raises(DataError, match=rf"^{re.escape(str(file))}, line {line}: .*{told}"):
        news(data).size("eng", "train")


def test_a_file_in_another_encoding(data):
    file = data("ner/news/eng/train.conll", "Ada\tO\nZoë\tB-PER\n".encode("latin-1"))
    with pytest.raises(DataError, match=rf"{re.escape(str(file))}, line 2: byte 0xeb at offset 8 is not UTF-8"):
        news(data).sentences("eng", "train")


@pytest.mark.parametrize("content", ["", "\n\n", "-DOCSTART- O\n\n# only a comment\n"])
def test_an_empty_file(data, content):
    file = data("ner/news/eng/train.conll", content)
    with pytest.raises(DataError, match=f"{re.escape(str(file))} is empty"):
        news(data).size("eng", "train")


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(st.lists(st.tuples(st.text("aé'#क.-", min_size=1), st.sampled_from("OLP")), min_size=1), min_size=1))
def test_written_sentences_are_read_back(tmp_path_factory, corpus):
    file = tmp_path_factory.mktemp("data") / "made.conll"
    sentences = []
    for pairs in corpus:
        words, types = zip(*pairs, strict=True)
        before = ("O", *types[:-1])
        tags = ["O" if t == "O" else f"{'I' if t == b else 'B'}-{t}" for b, t in zip(before, types, strict=True)]
        sentences.append(Sentence(words, tuple(tags)))
    blocks = ("\n".join(map("\t".join, zip(s.words, s.tags, strict=True))) for s in sentences)
    file.write_text("\n\n".join(blocks))
    assert read_conll(file, iob2.rules(("L", "P"), ())) == sentences


# ------------------------------------------------------------------------------------------------ the data folder


def test_version_is_the_hash_of_the_bytes(data):
    before = news(data).version("hau", "test")
    assert before == hashlib.sha256(b"Kano\tB-LOC\n").hexdigest()
    data("ner/news/hau/test.conll", "Kano\tB-LOC\n\nZaria\tB-LOC\n")
    assert news(data).version("hau", "test") != before
    assert news(data).size("hau", "test") == 2  # what was parsed before is not taken for it


@pytest.mark.parametrize(
    ("language", "split", "told"),
    [
        (
            "swa",
            "trian",
            r"no split 'trian' of 'swa': .*trian.conll is missing. Did you mean 'train'\? .*train dev test text",
        ),
        ("hau", "train", r"no split 'train' of 'hau': .*Of hau it has: test"),
        ("swe", "train", r"Did you mean 'swa'\? Its languages: hau swa"),
        ("hau", "text", r"text/hau.txt is missing.*Its languages: swa"),
        ("x-swa", "train", r"'x-swa' is made: only dataset 'sandbox' has it"),
    ],
)
def test_missing_splits_name_what_there_is(data, language, split, told):
    for method in (news(data).version, news(data).size, news(data).sentences):
        with pytest.raises(DataError, match=told):
            method(language, split)


def test_unknown_datasets_and_folders(data, tmp_path):
    with pytest.raises(DataError, match=r"has no dataset 'nwes'. Did you mean 'news'\? It has: news."):
        open_dataset("nwes", data.folder, TYPES, DROPPED)
    with pytest.raises(DataError, match="'news' is read from files: give --data FOLDER with <data>/ner/"):
        open_dataset("news", None, TYPES, DROPPED)
    with pytest.raises(DataError, match="--data .*/absent: there is no such folder"):
        open_dataset("news", str(tmp_path / "absent"), TYPES, DROPPED)
    with pytest.raises(DataError, match="It has: none; the layout is <data>/ner/"):
        open_dataset("news", str(tmp_path / "text"), TYPES, DROPPED)


def test_every_real_file_loads(shared):
    files = sorted(shared.glob("data/ner/*/*/*.conll"))
    for file in files:
        dataset = open_dataset(file.parts[-3], str(shared / "data"), TYPES, DROPPED)
        blank_lines = file.read_bytes().count(b"\n\n")
        assert dataset.size(file.parts[-2], file.stem) in (blank_lines, blank_lines + 1)
    assert files


def test_real_text_is_tokenised_like_labeled_text(shared):
    dataset = open_dataset("masakhaner2", str(shared / "data"), TYPES, DROPPED)
    for language in ("hau", "swa", "yor"):
        words = {word for s in dataset.sentences(language, "text") for word in s.words}
        labeled = {word for s in dataset.sentences(language, "train") for word in s.words}
        hanging = [word for word in words if len(word) > 1 and word[-1] in ',;:!?)"']
        assert len(hanging) < 0.002 * len(words)
        assert len(words & labeled) > 0.3 * len(labeled)


# ------------------------------------------------------------------------------------------------ pools and leaks


def test_a_pool_has_no_tags_and_nothing_that_is_tested(data):
    assert pool(news(data), "swa", "train") == [Sentence(("Amina", "Juma", "alifika", "."))]
    assert pool(news(data), "swa", "text") == [
        Sentence(("Amina", "alifika", "Mombasa", ".")),
        Sentence(("Kisumu", "!")),
    ]
    assert pool_size(news(data), "swa", "train") == 1


def test_a_pool_is_known_by_the_held_out_sentences_too(data):
    before = pool_version(news(data), "swa", "train")
    data("ner/news/swa/test.conll", "Amina\tO\nJuma\tO\nalifika\tO\n.\tO\n")
    assert pool_version(news(data), "swa", "train") != before
    assert pool(news(data), "swa", "train") == [Sentence(("Jumatatu", "Mombasa"))]


def test_tags_of_a_pool_are_not_read(data):
    data("ner/news/eng/train.conll", "Nobel\tB-PRIZE\n")
    version = pool_version(news(data), "eng", "train")
    assert read_pool(Split("news", "eng", "train", version, types=()), data.folder) == [Sentence(("Nobel",))]


def test_leaks_are_counted(data):
    assert leaks(news(data), "swa") == 1  # "jumatatu Mombasa", whatever the case
    assert leaks(news(data), "hau") == 0  # no train split


def test_leaks_of_real_data(shared):
    masakhaner2 = open_dataset("masakhaner2", str(shared / "data"), TYPES, DROPPED)
    assert leaks(masakhaner2, "hau") == 106
    assert leaks(masakhaner2, "ibo") > 130
    assert leaks(masakhaner2, "ewe") == 0
    assert pool_size(masakhaner2, "hau", "train") < 3000 - 106


def test_a_recipe_reads_what_was_planned(data):
    dataset = news(data)
    labeled = Split("news", "hau", "test", dataset.version("hau", "test"), TYPES, DROPPED)
    unlabeled = Split("news", "swa", "text", pool_version(dataset, "swa", "text"), types=())
    assert read_split(labeled, data.folder) == dataset.sentences("hau", "test")
    assert read_pool(unlabeled, data.folder) == pool(dataset, "swa", "text")


def test_a_recipe_refuses_data_that_have_changed(data):
    labeled = Split("news", "hau", "test", news(data).version("hau", "test"), TYPES, DROPPED)
    data("ner/news/hau/test.conll", "Zaria\tB-LOC\n")
    with pytest.raises(DataError, match="news hau test has changed since the study was planned"):
        read_split(labeled, data.folder)


# ------------------------------------------------------------------------------------------------ text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('He said: "No!"', ["He", "said", ":", '"', "No", "!", '"']),
        ("N'Djamena, d’Ivoire; COVID-19...", ["N'Djamena", ",", "d’Ivoire", ";", "COVID-19", "..."]),
        ("EU:n 1,500.5 (20%), a,b", ["EU:n", "1,500.5", "(", "20", "%", ")", ",", "a", ",", "b"]),
        ("Bó̩jú sì ń sọ.", ["Bó̩jú", "sì", "ń", "sọ", "."]),
        ("यूरोप का एक देश है।", ["यूरोप", "का", "एक", "देश", "है", "।"]),
        ("می‌رود؟", ["می‌رود", "؟"]),
        ("洛克看来3次，DC-10。", ["洛", "克", "看", "来", "3", "次", "，", "DC-10", "。"]),
        ("ที่ดี", ["ที่", "ดี"]),
        ("\u200ehau\u00adsa\u200bce 😀", ["hausa", "ce", "😀"]),
        ("  ", []),
    ],
)
def test_tokenize(text, words):
    assert tokenize(text) == tuple(words)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.text(st.characters(exclude_categories=["C"])))
def test_tokenize_loses_no_character(text):
    words = tokenize(text)
    assert "".join(words) == "".join(text.split())
    assert all(words) and not any(word.isspace() for word in words)


def test_a_line_is_a_sentence(tmp_path):
    (tmp_path / "a.txt").write_text("Habari gani?\n\n Nzuri . \n")
    assert read_text(tmp_path / "a.txt") == [Sentence(("Habari", "gani", "?")), Sentence(("Nzuri", "."))]
    (tmp_path / "b.txt").write_text("\n")
    with pytest.raises(DataError, match="b.txt is empty"):
        read_text(tmp_path / "b.txt")


def test_split_sentences():
    text = "Ni mji. Ni mkubwa? Ndiyo!\nबड़ा है। छोटा है।\n洛克看来。是！"
    assert split_sentences(text) == ["Ni mji.", "Ni mkubwa?", "Ndiyo!", "बड़ा है।", "छोटा है।", "洛克看来。", "是！"]


# ------------------------------------------------------------------------------------------------ the hub
# No test reaches the hub itself: its names, configurations and revisions are untested here. The same functions read a
# repository of the same form from a local folder.


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A folder like a hub repository: Parquet files, two configurations, class names as in WikiAnn."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("hub")
    names = datasets.ClassLabel(names=["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"])
    labeled = datasets.Features(tokens=datasets.List(datasets.Value("string")), ner_tags=datasets.List(names))
    rows = {
        "train": ([["Amina", "Juma"], [], ["Kisumu"]], [[1, 2], [], [5]]),
        "validation": ([["Nairobi"]], [[5]]),
        "test": ([["Kisumu"]], [[5]]),
    }
    for split, (tokens, tags) in rows.items():
        table = datasets.Dataset.from_dict({"tokens": tokens, "ner_tags": tags}, features=labeled)
        table.to_parquet(folder / "sw" / f"{split}.parquet")
    bad = {"tokens": [["Kano", "Zaria"]], "ner_tags": [["B-LOC", "I-PER"]]}
    datasets.Dataset.from_dict(bad).to_parquet(folder / "hau" / "train.parquet")
    articles = ["Kisumu ni mji wa Kenya. Ni mkubwa.\n\nUko kando ya Ziwa Viktoria."]
    datasets.Dataset.from_dict({"text": articles}).to_parquet(folder / "20231101.sw" / "train.parquet")
    write_card(folder, {"sw": rows, "hau": ["train"], "20231101.sw": ["train"]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", str(folder / "cache"))
        yield str(folder)


def hub(repository, types=TYPES):
    return HubDataset("made/repository", repository, "main", types, DROPPED)


def test_hub_dataset(repository):
    train = hub(repository).sentences("swa", "train")  # configuration "sw", and a row without tokens
    assert train == [Sentence(("Amina", "Juma"), ("B-PER", "I-PER")), Sentence(("Kisumu",), ("B-LOC",))]
    assert hub(repository).sentences("swa", "dev") == [Sentence(("Nairobi",), ("B-LOC",))]  # split "validation"
    assert pool(hub(repository), "swa", "train") == [Sentence(("Amina", "Juma"))]
    assert [s.tags for s in hub(repository, types=()).sentences("swa", "train")] == [None, None]


def test_hub_dataset_errors(repository):
    with pytest.raises(DataError, match="hau train, row 0, token 1: tag 'I-PER' follows 'B-LOC'"):
        hub(repository).sentences("hau", "train")
    with pytest.raises(DataError, match="hau test: there is no such split. The repository has: train"):
        hub(repository).sentences("hau", "test")
    with pytest.raises(DataError, match="has no configuration named yor or yo. It has: .*hau"):
        hub(repository).sentences("yor", "train")


def test_wikipedia(repository):
    assert [" ".join(s.words) for s in wikipedia(repository, "20231101.sw", 10)] == [
        "Kisumu ni mji wa Kenya .",
        "Uko kando ya Ziwa Viktoria .",
    ]


def test_hub_versions_need_no_network():
    wikiann = open_dataset("wikiann", None, TYPES, DROPPED)
    assert wikiann.version("swa", "train") == pool_version(wikiann, "swa", "train") == "unimelb-nlp/wikiann@main"
    assert wikiann.size("swa", "train") is pool_size(wikiann, "swa", "text") is leaks(wikiann, "swa") is None
    assert wikiann.version("yue", "text") == "wikimedia/wikipedia/20231101.zh-yue[:150000]"
    pinned = open_dataset("masakhane/masakhaner2@refs/convert/parquet", None, TYPES, DROPPED)
    assert pinned.version("hau", "dev") == "masakhane/masakhaner2@refs/convert/parquet"
    with pytest.raises(DataError, match="no split 'validation'.*Splits: train dev test text"):
        pinned.version("hau", "validation")
    with pytest.raises(DataError, match="'x-swa' is made: only dataset 'sandbox' has it"):
        wikiann.sentences("x-swa", "text")


def test_without_a_network_the_error_says_what_to_do(monkeypatch, tmp_path):
    pytest.importorskip("datasets")
    for cache in ("datasets.config.HF_DATASETS_CACHE", "huggingface_hub.constants.HF_HUB_CACHE"):
        monkeypatch.setattr(cache, str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    dataset = open_dataset("wikiann", None, TYPES, DROPPED)
    for split, what in {"train": "unimelb-nlp/wikiann@main", "text": "wikimedia/wikipedia 20231101.sw"}.items():
        with pytest.raises(
            DataError, match=f"{what} could not be read from the hub: .*HF_HOME, or give the data as CoNLL"
        ):
            dataset.sentences("swa", split)


# ------------------------------------------------------------------------------------------------ the sandbox


def test_the_sandbox_has_made_languages_only():
    sandbox = open_dataset("sandbox", None, TYPES, DROPPED)
    for method in (sandbox.version, sandbox.size, sandbox.sentences):
        with pytest.raises(DataError, match=r"'eng' .*Did you mean 'x-eng'\?"):
            method("eng", "train")
        with pytest.raises(DataError, match=r"no split 'trian'.*Did you mean 'train'\?"):
            method("x-eng", "trian")


def test_the_sandbox_through_the_interface():
    sandbox = open_dataset("sandbox", None, TYPES, DROPPED)
    sentences = sandbox.sentences("x-eng", "dev")
    assert len(sentences) == sandbox.size("x-eng", "dev") > 0
    assert {tag[2:] for s in sentences for tag in s.tags} - {""} == set(TYPES)
    people = open_dataset("sandbox", None, ("PER",), ("LOC", "ORG")).sentences("x-eng", "dev")
    assert {tag for s in people for tag in s.tags} == {"O", "B-PER", "I-PER"}


def test_types_that_a_study_forgets_are_found_by_the_size_that_a_plan_asks_for():
    sandbox = open_dataset("sandbox", None, ("PER", "GPE"), DROPPED)
    for method in (sandbox.size, sandbox.sentences):
        with pytest.raises(DataError, match=r"sandbox x-eng train: .*neither keeps the type (LOC|ORG) "):
            method("x-eng", "train")
    assert sandbox.size("x-eng", "text") and open_dataset("sandbox", None, (), ()).size("x-eng", "train")


def test_splits_of_the_sandbox_are_disjoint_as_claimed():
    """A plan counts its pools without making them."""
    sandbox = open_dataset("sandbox", None, TYPES, DROPPED)
    held_out = {s.words for split in ("dev", "test") for s in sandbox.sentences("x-eng", split)}
    unlabeled = pool(sandbox, "x-eng", "train")
    assert len(unlabeled) == pool_size(sandbox, "x-eng", "train")
    assert not held_out & {s.words for s in unlabeled} and not any(s.tags for s in unlabeled)
    assert leaks(sandbox, "x-eng") == 0
