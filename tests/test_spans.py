"""The form `spans`: what is written is read again and found in the sentence; what a model writes is what it would alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_study import STUDY, mini, run_here
from toy import TYPES, toy_sentences
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, T5Tokenizer

from engine.cells import expand
from engine.compiler import compile_study
from engine.data.sentences import Sentence
from engine.errors import StudyError
from engine.models.load import new_tagger
from engine.models.predict import write as written
from engine.models.saved import export, load_tagger, save_tagger
from engine.models.spans import SpanWriter
from engine.models.speller import Speller
from engine.models.tagger import save_model
from engine.models.windows import Subwords
from engine.spec import Projection, Training, WordAlignment
from engine.study import load_study
from engine.tasks.ner import count, f1, tag_set
from engine.tasks.spans import Tagged, named, place, position_free, read, tagged, write
from engine.train.loop import PlainBackend
from engine.train.losses import cross_entropy
from engine.train.tagging import fit, tag_ids

TAGS = tag_set(TYPES)
TEXT = toy_sentences(40)
KNOWN = TEXT[:10]
thorough = settings(deadline=None, max_examples=100, derandomize=True)


@st.composite
def sentences(draw: st.DrawFn, repeated: bool = True) -> Sentence:
    letters = st.characters(exclude_categories=("Z", "C"))
    words = draw(st.lists(st.text(letters, min_size=1, max_size=4).filter(lambda word: word != "$$"), min_size=1, max_size=9, unique=not repeated))
    marks = draw(st.lists(st.sampled_from(TAGS), min_size=len(words), max_size=len(words)))
    valid = [tag.replace("I-", "B-") if i == 0 or marks[i - 1][2:] != tag[2:] else tag for i, tag in enumerate(marks)]
    return Sentence(tuple(words), tuple(valid))


@thorough
@given(sentences())
def test_an_answer_reads_as_it_was_written(sentence):
    entities = named(sentence.words, sentence.tags)
    assert read(write(entities), TYPES) == (entities, True)
    found, missing = place(entities, sentence.words)
    assert not missing  # each is somewhere in the sentence
    assert sorted(named(sentence.words, tagged(found, len(sentence.words)))) == sorted(entities)


@thorough
@given(sentences(repeated=False))
def test_words_that_stand_once_are_found_where_they_stood(sentence):
    letters = "".join(sentence.words)
    found, _ = place(named(sentence.words, sentence.tags), sentence.words)
    ambiguous = any(letters.count(word) > 1 for word in sentence.words)
    assert ambiguous or tagged(found, len(sentence.words)) == sentence.tags


def test_what_stands_twice_is_found_in_order():
    words = ("Ada", "met", "Ada", "in", "New", "York", ",", "York")
    find = lambda *entities: place(entities, words)
    assert find(("PER", "Ada")) == ([("PER", 0, 0)], [])
    assert find(("PER", "Ada"), ("PER", "Ada")) == ([("PER", 0, 0), ("PER", 2, 2)], [])
    assert find(("LOC", "NewYork"), ("LOC", "York")) == ([("LOC", 4, 5), ("LOC", 7, 7)], [])
    assert find(("LOC", "York"), ("PER", "Ada")) == ([("PER", 0, 0), ("LOC", 5, 5)], [])  # from the start again
    assert find(("PER", "Ad"), ("PER", "Ada met Bo"), ("PER", "Ada"), ("PER", "Ada"), ("PER", "Ada"))[1] == [
        ("PER", "Ad"), ("PER", "Ada met Bo"), ("PER", "Ada"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "entities", "whole"),
    [
        ("", [], True),
        ("PER: Ada $$ LOC: New  York", [("PER", "Ada"), ("LOC", "New York")], True),
        ("PER: Ada $$", [("PER", "Ada")], False),
        ("Ada", [], False),
        ("PER:", [], False),
        ("ANIMAL: cat $$ PER: Ada", [("PER", "Ada")], False),
        ("PER: 10:30", [("PER", "10:30")], True),
    ],
)
def test_what_cannot_be_read_is_said_so(answer, entities, whole):
    assert read(answer, TYPES) == (entities, whole)


def test_the_position_free_metric_drops_what_has_a_colon_and_counts_as_often_as_it_is_named():
    gold = [[("PER", "Ada"), ("PER", "Ada"), ("ORG", "a:b")]]
    assert position_free(gold, [[("PER", "Ada"), ("LOC", "x:y")]]) == {"PER": pytest.approx(2 / 3), "ALL": pytest.approx(2 / 3)}
    assert position_free(gold, [[("PER", "Ada")] * 3])["ALL"] == pytest.approx(0.8)
    assert position_free([[]], [[]]) == {"ALL": 0.0}


@thorough
@given(st.lists(st.tuples(sentences(repeated=False), st.randoms(use_true_random=False)), min_size=1, max_size=4))
def test_without_repetition_and_colons_it_is_seqevals(drawn):
    gold = [Sentence(tuple(f"w{i}" for i in range(len(s.words))), s.tags) for s, _ in drawn]
    predicted = [random.sample(s.tags, len(s.tags)) for s, random in drawn]
    ours = position_free(
        [named(s.words, s.tags) for s in gold], [named(s.words, tags) for s, tags in zip(gold, predicted, strict=True)]
    )
    assert ours["ALL"] == pytest.approx(f1(*count([s.tags for s in gold], predicted)["ALL"])[2])


def test_an_entity_that_is_nowhere_is_a_false_positive():
    counts = count([("B-PER", "O")], [("B-PER", "O")], [["LOC", "PER"]])
    assert counts == {"LOC": (0, 1, 0), "PER": (1, 1, 0), "ALL": (1, 2, 0)}


def test_mt5_spells_the_answer_as_it_was_published(shared):
    tokenizer = T5Tokenizer.from_pretrained(shared / "models" / "mt5-tokenizer")
    speller = Speller(tokenizer, Subwords(tokenizer), ("tag:", "PER:", "$$"))
    ids = [*speller.ids["PER:"], *speller.words(["Ada", "O'Neil"]), *speller.ids["$$"], *speller.ids["PER:"], *speller.words(["ﬁ"])]
    assert ids == tokenizer("PER: Ada O'Neil $$ PER: fi", add_special_tokens=False)["input_ids"]
    assert speller.text(ids) == "PER: Ada O'Neil $$ PER: fi" and speller.normal("ﬁ") == "fi"


@pytest.fixture(scope="module")
def writer(tiny: str) -> SpanWriter:
    """Trained on a few sentences until it knows them."""
    return trained_on(tiny, KNOWN, steps=180)


def trained_on(checkpoint: str, known: list[Sentence], steps: int) -> SpanWriter:
    writer = new_tagger(checkpoint, "spans", TAGS, seed=0)
    training = Training(steps=steps, batch_size=10, learning_rate=5e-3, schedule="cosine", weight_decay=0.0)
    fit(writer, known, tag_ids(known, TAGS), cross_entropy, training, 0, 0, PlainBackend())
    return writer.eval()


def answered(writer: SpanWriter, some: list[Sentence], batch_size: int = 16, room: int = 64) -> list[Tagged]:
    return writer.answers(some, *written(writer, some, room, batch_size))


def test_it_learns_sentences_by_heart(writer):
    """Most of them: how sums round decides which, and that differs with the number of threads."""
    right = [answer == Tagged(sentence.tags) for answer, sentence in zip(answered(writer, KNOWN), KNOWN, strict=True)]
    assert sum(right) >= 7


def test_it_writes_what_the_whole_model_would(writer, tiny, tmp_path):
    save_tagger(writer, tmp_path / "saved")
    assert answered(load_tagger(tmp_path / "saved", tiny), TEXT[:10]) == answered(writer, TEXT[:10])
    export(tmp_path / "saved", tiny, tmp_path / "whole")
    library = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "whole").eval()
    library.lm_head = torch.nn.Linear(library.config.d_model, library.config.vocab_size, bias=False)
    library.lm_head.weight = torch.nn.Parameter(library.shared.weight * library.config.d_model**-0.5)  # as T5 ties them
    for window, ids in zip(*written(writer, KNOWN, 64, 3), strict=True):
        theirs = library.generate(torch.tensor([window.input_ids]), max_new_tokens=len(ids) + 4, do_sample=False, num_beams=1)
        assert theirs[0, 1 : len(ids) + 1].tolist() == ids


def test_a_head_of_its_own_is_trained_saved_and_exported(tiny, tmp_path):
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny)  # as mT5's checkpoints are: the head is not the embeddings
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(torch.randn(model.lm_head.weight.shape, generator=torch.Generator().manual_seed(1)))
    untied, saved, whole = (str(tmp_path / name) for name in ("untied", "saved", "whole"))
    save_model(model, AutoTokenizer.from_pretrained(tiny), Path(untied))
    writer = trained_on(untied, KNOWN[:2], steps=60)
    assert answered(writer, KNOWN[:2]) == [Tagged(sentence.tags) for sentence in KNOWN[:2]]
    save_tagger(writer, Path(saved))
    assert answered(load_tagger(Path(saved), untied), KNOWN[:2]) == answered(writer, KNOWN[:2])
    export(Path(saved), untied, Path(whole))
    before, after = (AutoModelForSeq2SeqLM.from_pretrained(folder).lm_head.weight for folder in (untied, whole))
    changed = set((before != after).any(-1).nonzero().flatten().tolist())
    assert changed == set(writer.vocabulary.ids.tolist()) and len(changed) < len(before)


@settings(deadline=None, max_examples=6, derandomize=True)
@given(order=st.permutations(range(8)), batch_size=st.integers(1, 8))
def test_batches_and_order_change_nothing(writer, order, batch_size):
    mixed = [Sentence(TEXT[i].words + TEXT[i + 8].words[:4]) for i in range(8)]  # sentences that it does not know
    alone = [answered(writer, [sentence], 1)[0] for sentence in mixed]
    assert answered(writer, [mixed[i] for i in order], batch_size) == [alone[i] for i in order]


def test_an_answer_has_only_pieces_of_the_training_text_and_of_its_sentence(writer, tiny, tmp_path):
    save_tagger(writer, tmp_path)
    again = load_tagger(tmp_path, tiny)
    strange = [*TEXT, Sentence(("Zzyzx", "qwq")), Sentence(("Qaqaq", "Zzyzx", "bado"))]
    known = set(again.outputs.tolist())
    for window, ids in zip(*written(again, strange, 64, 2), strict=True):
        assert set(ids) <= known | set(window.input_ids)


def test_long_sentences_are_windowed(writer):
    long = Sentence(sum((sentence.words for sentence in TEXT[:6]), ()))
    windows, _ = written(writer, [long], 24, 4)
    assert len(windows) > 1 and sum(len(window.slots) for window in windows) == len(long.words)
    (answer,) = answered(writer, [long], room=24)
    assert len(answer.tags) == len(long.words)


def test_a_study_of_it_runs(tmp_path):
    file = tmp_path / "small.py"
    file.write_text(STUDY)
    study = load_study(file, local=True).varied(form=("spans",), methods=("direct",), volumes=(0,), shots=(4,))
    frame = run_here(study, tmp_path / "out")
    assert set(frame["form"]) == {"spans"} and set(frame["status"]) == {"done"} and len(frame) == 4
    assert frame["position_free_f1"].is_between(0, 1).all()
    assert (frame["parse_failures"] > 0).all()  # twelve updates teach no syntax


def test_a_student_of_translated_text_learns_to_write(tiny, tmp_path):
    """The corpus is labeled by what the direct model writes; what it was taught are hard tags."""
    study = mini(tmp_path, tiny, "mt5").varied(form="spans", methods="translate-train", volumes=50)
    frame = run_here(study, tmp_path / "out", {Path(tiny).name: tiny}, str(tmp_path))
    assert frame["status"].to_list() == ["done"] * 4 and frame["parse_failures"].null_count() == 0
    by_ner = replace(study.recipes["mt5"], projection=Projection(matching="ilp", score="ner", alignment=WordAlignment(layer=1)))
    with pytest.raises(StudyError, match="score='ner' with form=spans: it is made of the tags' probabilities"):
        compile_study(study.varied(recipes={"mt5": by_ner}), str(tmp_path))


def test_what_is_written_teaches_no_student(tmp_path):
    file = tmp_path / "small.py"
    file.write_text(STUDY)
    with pytest.raises(StudyError, match="form=spans: a student learns a distribution"):
        expand(load_study(file, local=True).varied(form=("spans",)))
