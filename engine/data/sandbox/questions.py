"""Questions on short sandbox texts, each with its one answer.

A text is made of pairs of sentences of the same verb, whose participants differ; the question is one of its sentences with
a word for who, what, where or when in the place of a participant or of the time, so that one of the two, and no other
sentence, answers it. The question word stands where its phrase stood and takes its case: nothing in lang2vec says which
languages move it. The answer is what the text says there, verbatim: a name without its title, a noun with all that is its.
"""

from collections.abc import Iterator
from functools import lru_cache
from random import Random

from engine.data import sandbox
from engine.data.examples import Question
from engine.data.sandbox.clauses import Phrase, clear, in_split, keys, phrases, plain, sayings, written
from engine.data.sandbox.lexicon import QUESTION_WORDS
from engine.data.sandbox.meaning import Clause, Draw, Name
from engine.data.sandbox.realize import Realizer, Token

VERSION = 1  # raise it with any change of what is generated
SIZES = {"train": 8000, "dev": 500, "test": 1000}
VERBS = 2  # of a text: each in two sentences
MOST = 8  # content keys of a sentence
TRIES = 100
DROPPED = 0.5  # adverbs and times that the question does without
PARAMETERS = (SIZES, VERBS, MOST, TRIES, DROPPED, QUESTION_WORDS)
WHO, WHAT, WHERE, WHEN = QUESTION_WORDS


def version(language: str, split: str) -> str:
    """Hash of all that decides a split's questions; costs milliseconds. Raises DataError as `size` does."""
    size(language, split)
    return sandbox.hashed(VERSION, PARAMETERS, sandbox.version(language, split))


def size(language: str, split: str) -> int:
    """Questions of a split. Raises DataError for an unknown language or split."""
    return sandbox.known_size(SIZES, language, split)


@lru_cache(maxsize=32)
def examples(language: str, split: str) -> list[Question]:
    """The questions of a split, one for each verb of a text.

    Takes seconds the first time; the list is kept, so do not change it. Raises DataError as `size` does.
    """
    count, realizer = size(language, split), sandbox.realizer(language)
    made: dict[tuple[str, str], Question] = {}
    for draw, pairs in _texts(Random(f"questions {language} {split}"), split):
        order = sorted((draw.random(), clause) for pair in pairs for clause in pair)
        sentences = [(clause, written(realizer, clause)) for _, clause in order]
        context, starts = plain([token for _, tokens in sentences for token in tokens])
        for asked, _ in pairs:
            clause, phrase = _asked(draw, asked)
            question = plain(written(realizer, clause, "?"))[0]
            answer = _answer(realizer, phrase, asked, sentences, context, starts)
            made.setdefault((context, question), Question(f"{language}-{split}-{len(made)}", context, question, (answer,)))
        if len(made) >= count:
            break
    return list(made.values())[:count]


def _texts(stream: Random, split: str) -> Iterator[tuple[Draw, list[tuple[Clause, Clause]]]]:
    """Endless texts, as pairs of clauses, and the stream to draw more from."""
    pairs: dict[str, tuple[Clause, Clause]] = {}
    for draw, frame, clause in sayings(stream, split):
        if not clear(clause, MOST) or not (clause.object or clause.obliques):
            continue
        twins = (draw.filled(frame)._replace(negative=False) for _ in range(TRIES))
        twin = next((twin for twin in twins if in_split(twin, split) and clear(twin, MOST) and not _shared(clause, twin)), None)
        if twin is None:
            continue
        pairs[clause.verb] = clause, twin
        if len(pairs) == VERBS:
            yield draw, [*pairs.values()]
            pairs = {}


def _shared(one: Clause, two: Clause) -> set[str]:
    """The words that participants of both have."""
    first, second = ({key for phrase, *_ in phrases(clause) for key in keys(phrase)} for clause in (one, two))
    return first & second


def _asked(draw: Draw, clause: Clause) -> tuple[Clause, Phrase]:
    """What is asked of a clause, and the phrase that is asked for."""
    said = clause._replace(adverb="" if draw.random() < DROPPED else clause.adverb)
    choices = [(put, phrase) for phrase, put, _ in phrases(said)]
    number = int(draw.random() * (len(choices) + bool(clause.time)))
    if number == len(choices):
        return said._replace(time=None, adverb=WHEN), clause.time[1]
    put, phrase = choices[number]
    asked = put(Name("", (_word(phrase, oblique=number > bool(clause.object)),)))
    return asked._replace(time=None if draw.random() < DROPPED else clause.time), phrase


def _word(phrase: Phrase, oblique: bool) -> str:
    kind = phrase.type if isinstance(phrase, Name) else phrase.key.split("/")[0]
    if kind in ("PER", "person"):
        return WHO
    return WHERE if oblique and kind in ("LOC", "place") else WHAT


def _answer(
    realizer: Realizer, phrase: Phrase, asked: Clause, sentences: list[tuple[Clause, list[Token]]], context: str, starts: list[int]
) -> tuple[str, int]:
    """The phrase as the text has it, and where."""
    words = realizer.named(phrase.keys, "") if isinstance(phrase, Name) else realizer.noun(phrase, "")
    parts = {token.says for token in words}
    tokens = [(clause is asked and token.says in parts, len(token.word)) for clause, sentence in sentences for token in sentence]
    found = [(start, start + length) for (inside, length), start in zip(tokens, starts, strict=True) if inside]
    first, last = found[0][0], found[-1][1]
    return context[first:last], first
