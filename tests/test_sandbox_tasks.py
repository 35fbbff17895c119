"""The sandbox's pairs and questions: labels that follow from the meanings, answers that stand in the text, splits apart."""

from collections import Counter, defaultdict
from hashlib import sha256
from itertools import islice
from random import Random

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from engine.data import sandbox
from engine.data.example_corpora import example_leaks, open_task_dataset
from engine.data.sandbox import entailment, questions
from engine.data.sandbox.clauses import keys, phrases, plain, written
from engine.data.sandbox.lexicon import QUESTION_WORDS
from engine.data.sandbox.meaning import Clause, Name, Noun
from engine.errors import DataError
from engine.languages import SANDBOX_CODES
from engine.tasks import qa

# sha256 of the first 50 examples of dev in x-eng and x-tur, by VERSION. Where these change, results of the old examples do
# not compare with new ones: raise that module's VERSION.
GOLDEN = {
    "entailment": {1: "cc73ed3a6840023ab1f03b5a5eba8cdb0921b03bee851ca7899e3302a571cd42"},
    "questions": {1: "84ebce4fc65c9e3e0833b7f61d2584f05dcda30b3aa1183518423d01b56d6754"},
}
ANA, KARIM = Name("PER", ("given/0",)), Name("PER", ("given/1",))
TOWN = Name("LOC", ("place/0",))
SEEN = Clause("verb/meet", ANA, KARIM, (("adposition/in", TOWN),), time=("adposition/in", Noun("1950")))


@pytest.mark.parametrize("module", [entailment, questions])
def test_same_everywhere(module):
    text = "\n".join(str(example) for language in ("x-eng", "x-tur") for example in module.examples(language, "dev")[:50])
    name = module.__name__.rpartition(".")[2]
    assert sha256(text.encode()).hexdigest() == GOLDEN[name][module.VERSION]


@pytest.mark.parametrize(("task", "module"), [("nli", entailment), ("qa", questions)])
def test_through_the_interface(task, module):
    dataset = open_task_dataset(task, "sandbox", None)
    assert dataset.splits("x-eng") == ("train", "dev", "test")
    made = dataset.examples("x-eng", "dev")
    assert len(made) == dataset.size("x-eng", "dev") == module.SIZES["dev"] and len({example.key for example in made}) == len(made)
    assert dataset.disjoint and example_leaks(dataset, "x-eng") == 0
    with pytest.raises(DataError, match="no split 'text' of x-eng. Did you mean 'test'"):
        dataset.version("x-eng", "text")
    with pytest.raises(DataError, match="'eng' is no sandbox language. Did you mean 'x-eng'"):
        dataset.examples("eng", "dev")


@pytest.mark.parametrize("module", [entailment, questions])
def test_version_changes_with_what_decides_the_examples(module, monkeypatch):
    versions = {module.version(f"x-{code}", split) for code in SANDBOX_CODES for split in module.SIZES}
    assert len(versions) == len(SANDBOX_CODES) * len(module.SIZES)
    before = module.version("x-eng", "train")
    for target, name, value in (
        (module, "VERSION", module.VERSION + 1),
        (module, "PARAMETERS", ()),
        (sandbox, "GENERATOR_VERSION", sandbox.GENERATOR_VERSION + 1),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(target, name, value)
            assert module.version("x-eng", "train") != before


@pytest.mark.parametrize("module", [entailment, questions])
def test_no_sentence_is_in_two_splits(module, monkeypatch):
    """Not a premise, a hypothesis, or a sentence of a text, in any order of the two splits."""
    monkeypatch.setattr(module, "SIZES", {"train": 1500, "dev": 300, "test": 300})
    found = defaultdict(set)
    for split in module.SIZES:
        for example in module.examples.__wrapped__("x-fra", split):
            texts = example.key if module is entailment else example.context.split(". ")
            found[split] |= {text.rstrip(".") for text in texts}
    assert not found["train"] & found["test"] and not found["train"] & found["dev"] and not found["dev"] & found["test"]


# ------------------------------------------------------------------------------------------------ entailment


def details(clause):
    """All that a clause says, as a set: the more it says, the more is in it."""
    found = {("verb", clause.verb), ("adverb", clause.adverb), ("time", clause.time)} - {("adverb", ""), ("time", None)}
    slots = ["subject", *(["object"] if clause.object else []), *(adposition for adposition, _ in clause.obliques)]
    for slot, (phrase, *_) in zip(slots, phrases(clause), strict=True):
        if isinstance(phrase, Noun) and not phrase.definite:
            found |= {(slot, name, value) for name, value in phrase._asdict().items() if value}
        else:
            found.add((slot, phrase))
    return found


def label(premise, hypothesis):
    """What follows, by comparing what the two say."""
    more, less = details(premise), details(hypothesis)
    apart = False
    if premise.verb in entailment.ONCE and premise.subject == hypothesis.subject:
        apart = dict(premise.obliques)["adposition/in"] != dict(hypothesis.obliques)["adposition/in"]
    match premise.negative, hypothesis.negative:
        case False, False:
            return "entailment" if more >= less else "contradiction" if apart else "neutral"
        case True, True:
            return "entailment" if more <= less else "neutral"
        case False, True:
            return "contradiction" if more >= less else "entailment" if apart else "neutral"
        case True, False:
            return "contradiction" if more <= less else "neutral"


@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_follow_from_the_meanings(split):
    kinds = Counter()
    for hypothesis, premises in islice(entailment._drawn(Random(7), split), 1200 if split == "train" else 200):
        assert [label(premise, hypothesis) for premise in premises] == [*entailment.LABELS]
        for name, premise in zip(entailment.LABELS, premises, strict=True):
            assert premise != hypothesis and premise.past == hypothesis.past
            size = (details(premise) > details(hypothesis)) - (details(premise) < details(hypothesis))
            kinds[name, premise.negative, hypothesis.negative, size] += 1
    if split == "train":  # each way to make a premise was met: polarity alone, or length alone, does not give the label
        assert len(kinds) == 14 and min(kinds.values()) > 10


def test_the_hypothesis_alone_tells_nothing():
    """Each stands once with each label. So a classifier of hypotheses is at chance, however good; one of premises is near."""
    pairs = entailment.examples("x-eng", "train")
    labels = defaultdict(list)
    for pair in pairs:
        labels[pair.hypothesis].append(pair.label)
    assert all(sorted(found) == sorted(entailment.LABELS) for found in labels.values())
    scores = {}
    for part in ("hypothesis", "premise"):
        words = CountVectorizer(token_pattern=r"\S+", binary=True)
        seen = words.fit_transform(getattr(pair, part) for pair in pairs)
        model = LogisticRegression(C=0.1).fit(seen, [pair.label for pair in pairs])
        test = entailment.examples("x-eng", "test")
        scores[part] = model.score(words.transform(getattr(pair, part) for pair in test), [pair.label for pair in test])
    assert scores["hypothesis"] == pytest.approx(1 / 3)
    assert scores["premise"] < 0.42


# ------------------------------------------------------------------------------------------------ questions


@pytest.mark.parametrize("code", ["eng", "fin", "yor", "zul"])
def test_answers_stand_in_the_text(code):
    made = questions.examples(f"x-{code}", "dev")
    asked = {sandbox.realizer(f"x-{code}").lexicon.form(key) for key in QUESTION_WORDS}
    assert len(asked) == len(QUESTION_WORDS)
    for question in made:
        [(answer, offset)] = question.answers
        assert question.context[offset : offset + len(answer)] == answer == answer.strip(" .,")
        assert question.context.count(". ") == 2 * questions.VERBS - 1 and question.question.endswith("?")
        assert qa.score(answer, [answer]).exact == 1
    starts = Counter(question.context[: question.answers[0][1]].count(". ") for question in made)
    assert len(starts) == 2 * questions.VERBS and min(starts.values()) > len(made) / 8  # in no sentence above all


def test_one_sentence_alone_answers():
    for draw, pairs in islice(questions._texts(Random(3), "train"), 300):
        assert len({clause.verb for clause, _ in pairs}) == len(pairs) == questions.VERBS
        for clause, twin in pairs:
            assert clause.verb == twin.verb
            asked, phrase = questions._asked(draw, clause)
            kept = {key for part, *_ in phrases(asked) for key in keys(part)} - {*QUESTION_WORDS}
            assert kept and not kept & {*keys(twin)}  # so what is kept tells the two apart
            assert not {*keys(phrase)} & {*keys(asked)}


class Stream:
    """Draws the numbers it was given, then 0.9s."""

    def __init__(self, *numbers):
        self.numbers = [*numbers]

    def __call__(self):
        return self.numbers.pop(0) if self.numbers else 0.9


@pytest.mark.parametrize("code", SANDBOX_CODES)
def test_the_question_word_stands_and_inflects_like_its_phrase(code):
    realizer = sandbox.realizer(f"x-{code}")
    said = [token.says[0] for token in written(realizer, SEEN)]
    for number, (key, word) in enumerate({"given/0": "who", "given/1": "who", "place/0": "where"}.items()):
        draw = questions.Draw(Stream(0.9, number / 4 + 0.1), [])
        clause, phrase = questions._asked(draw, SEEN)
        tokens = written(realizer, clause, "?")
        assert phrase.keys == (key,) and tokens[-1].word == "?"
        assert [token.says[0] for token in tokens] == [f"function/{word}" if other == key else other for other in said]
        for affix in realizer.affixes.values():
            plain_form, marked = realizer.lexicon.spelled(f"function/{word}"), realizer.lexicon.spelled(f"function/{word}", (affix,))
            assert marked != plain_form
    clause, phrase = questions._asked(questions.Draw(Stream(0.9, 0.99), []), SEEN)
    assert phrase == Noun("1950") and clause.time is None and clause.adverb == "function/when"


def test_an_answer_takes_the_case_that_it_has_in_the_text():
    realizer = sandbox.realizer("x-tur")
    sentences = [(SEEN, written(realizer, SEEN))]
    context, starts = plain(sentences[0][1])
    answer, offset = questions._answer(realizer, TOWN, SEEN, sentences, context, starts)
    bare = realizer.lexicon.spelled("place/0")
    assert answer.startswith(bare) and len(answer) > len(bare) and context[offset:].startswith(answer + " ")
