"""Single clauses, as the sandbox's entailment and questions need them: what they say, less, more or other than that.

Which split a clause belongs to is decided by its event alone: the verb, and the heads of all phrases that it needs. So what
is said in one split, with more or fewer details, is said in no other. Of `sandbox.sentences` the splits are other ones.
"""

from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from zlib import crc32

from engine.data.sandbox import SHARES
from engine.data.sandbox.meaning import PLAIN_FRAMES, Clause, Draw, Frame, Meaning, Name, Noun
from engine.data.sandbox.realize import Realizer, Token

FRAMES = {frame.verb: frame for frame in PLAIN_FRAMES}  # "be" has several: the last, which none of the below looks at
Phrase = Noun | Name
Put = Callable[[Phrase], Clause]


def keys(said: Clause | Phrase | None) -> tuple[str, ...]:
    """The content keys."""
    match said:
        case Noun():
            found = (said.key, said.adjective, said.number, *keys(said.possessor))
        case Name():
            found = (*said.keys, said.title, *keys(said.role))
        case Clause():
            parts = (phrase for phrase, *_ in phrases(said))
            time = keys(said.time[1]) if said.time else ()
            found = (said.verb, *(key for part in parts for key in keys(part)), said.adverb, *time)
        case None:
            found = ()
    return tuple(key for key in found if key)


def clear(clause: Clause, most: int) -> bool:
    """Whether no content key is said twice, and at most so many are."""
    said = keys(clause)
    return len(said) == len({*said}) <= most


def in_split(clause: Clause, split: str) -> bool:
    optional = _optional(clause)
    parts = (clause.subject, clause.object, *(phrase for adposition, phrase in clause.obliques if adposition not in optional))
    heads = [part.keys if isinstance(part, Name) else (part.key,) for part in parts if part]
    start, stop = SHARES[split]
    return start <= crc32(" ".join((clause.verb, *(key for head in heads for key in head))).encode()) % 24 < stop


def phrases(clause: Clause) -> Iterator[tuple[Phrase, Put, tuple[str, ...]]]:
    """Subject, object and obliques; with each, what makes the clause with another in its place, and the roles that fit there."""
    frame = FRAMES[clause.verb]
    yield clause.subject, lambda new: clause._replace(subject=new), frame.subject
    if clause.object:
        yield clause.object, lambda new: clause._replace(object=new), frame.object
    for adposition, phrase in clause.obliques:
        yield phrase, partial(_at, clause, adposition), next(roles for there, roles, _ in frame.obliques if there == adposition)


def _at(clause: Clause, adposition: str, new: Phrase) -> Clause:
    return clause._replace(obliques=tuple((there, new if there == adposition else phrase) for there, phrase in clause.obliques))


def weaker(clause: Clause) -> list[Clause]:
    """The clause without one of its details: adverb, time, an oblique that its verb can do without, a noun's attribute.

    It follows from the clause, and the clause does not follow from it. Definite nouns stay as they are ("the king" need not
    be "the old king"), and so do titles and appositions, which a negation does not deny.
    """
    made = [clause._replace(adverb="")] if clause.adverb else []
    made += [clause._replace(time=None)] if clause.time else []
    optional = _optional(clause)
    made += [
        clause._replace(obliques=tuple(other for other in clause.obliques if other != oblique))
        for oblique in clause.obliques
        if oblique[0] in optional
    ]
    for phrase, put, _ in phrases(clause):
        if isinstance(phrase, Noun) and not phrase.definite:
            made += [put(phrase._replace(**{name: empty})) for name, empty in _ATTRIBUTES if getattr(phrase, name)]
    return made


def _optional(clause: Clause) -> set[str]:
    return {adposition for adposition, _, may_miss in FRAMES[clause.verb].obliques if may_miss}


def richer(draw: Draw, clause: Clause) -> Clause | None:
    """The clause with one more detail, of those that `weaker` takes away. None where it has no room for one."""
    makers: list[Callable[[], Clause]] = []
    if not clause.adverb:
        makers.append(lambda: clause._replace(adverb=draw.content("adverb")))
    if not clause.time:
        makers.append(lambda: clause._replace(time=draw.time(), fronted=draw.random() < 0.5))
    there = {adposition for adposition, _ in clause.obliques}
    for adposition, roles, may_miss in FRAMES[clause.verb].obliques:
        if may_miss and adposition not in there:
            makers.append(
                lambda adposition=adposition, roles=roles: clause._replace(
                    obliques=(*clause.obliques, (adposition, draw.phrase(draw.pick(roles))))
                )
            )
    for phrase, put, _ in phrases(clause):
        if isinstance(phrase, Noun) and not phrase.definite and not phrase.adjective:
            makers.append(lambda phrase=phrase, put=put: put(phrase._replace(adjective=draw.content("adjective"))))
    return draw.pick(makers)() if makers else None


def another(draw: Draw, clause: Clause, only: int | None = None) -> Clause:
    """The clause with another phrase (`only` that of this number) in the place of one, with which it shares no word."""
    choices = [*phrases(clause)]
    phrase, put, roles = draw.pick(choices) if only is None else choices[only]
    while True:
        new = draw.phrase(draw.pick(roles))
        if not {*keys(new)} & {*keys(phrase)}:
            return put(new)


def sayings(stream: Random, split: str) -> Iterator[tuple[Draw, Frame, Clause]]:
    """Endless clauses of a split, none of them negative; with each its frame, and the stream to draw more from."""
    draw = Draw(stream.random, [])
    while True:
        draw.keys.clear()  # they are read off the clauses
        frame = draw.pick(PLAIN_FRAMES)
        clause = draw.filled(frame)._replace(negative=False)
        if in_split(clause, split):
            yield draw, frame, clause


def written(realizer: Realizer, clause: Clause, end: str = ".") -> list[Token]:
    """The sentence's tokens, with a final sign of its own."""
    tokens = realizer.sentence(Meaning(clause, "", None, ()))
    return [*tokens[:-1], tokens[-1]._replace(word=end)]


def plain(tokens: list[Token]) -> tuple[str, list[int]]:
    """The text as people write it, punctuation attached, and where in it each token begins."""
    text, starts = "", []
    for token in tokens:
        text += " " if text and token.word not in (".", ",", "?") else ""
        starts.append(len(text))
        text += token.word
    return text, starts


_ATTRIBUTES = (("adjective", ""), ("number", ""), ("possessor", None))
