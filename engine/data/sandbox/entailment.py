"""Pairs of sandbox sentences whose label is known, because both are made from meanings.

A hypothesis is drawn first, each second one negative, then a premise for each label. So each hypothesis stands once with
every label, and nothing in it tells which. That only one sentence of a pair is negative tells something, but not all.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from random import Random

from engine.data import sandbox
from engine.data.examples import Pair
from engine.data.sandbox.clauses import Clause, Draw, another, clear, in_split, plain, richer, sayings, weaker, written
from engine.tasks.nli import LABELS

VERSION = 1  # raise it with any change of what is generated
SIZES = {"train": 9000, "dev": 600, "test": 1200}  # pairs
MOST = {"hypothesis": 7, "premise": 9}  # content keys
TRIES = 100
ONCE = ("verb/born", "verb/die")  # what each does in one place alone: of two places one is wrong
SUBJECT, PLACE = 0, 1  # their phrases
OFTEN = 3  # times as often as another way a premise of these is made so
VAGUE = ("verb/be", "verb/live")  # whether one can be or live in two is not for us to say
PARAMETERS = (SIZES, MOST, TRIES, ONCE, OFTEN, VAGUE, LABELS)
Maker = Callable[[], Clause | None]


def version(language: str, split: str) -> str:
    """Hash of all that decides a split's pairs; costs milliseconds. Raises DataError as `size` does."""
    size(language, split)
    return sandbox.hashed(VERSION, PARAMETERS, sandbox.version(language, split))


def size(language: str, split: str) -> int:
    """Pairs of a split. Raises DataError for an unknown language or split."""
    return sandbox.known_size(SIZES, language, split)


@lru_cache(maxsize=32)
def examples(language: str, split: str) -> list[Pair]:
    """The pairs of a split: each hypothesis with each of the three labels, in turn.

    Takes seconds the first time; the list is kept, so do not change it. Raises DataError as `size` does.
    """
    realizer = sandbox.realizer(language)

    def say(clause: Clause) -> str:
        return plain(written(realizer, clause))[0]

    pairs: dict[str, list[Pair]] = {}
    drawn = _drawn(Random(f"entailment {language} {split}"), split)
    while len(pairs) * len(LABELS) < size(language, split):
        hypothesis, premises = next(drawn)
        said = say(hypothesis)
        pairs[said] = [Pair(say(premise), said, label) for label, premise in zip(LABELS, premises, strict=True)]
    return [pair for of_one in pairs.values() for pair in of_one]


def _drawn(stream: Random, split: str) -> Iterator[tuple[Clause, list[Clause]]]:
    """Hypotheses, each with a premise for every label."""
    negative = False
    for draw, _, clause in sayings(stream, split):
        if not clear(clause, MOST["hypothesis"]) or negative and not weaker(clause):
            continue
        hypothesis = clause._replace(negative=negative)
        premises = [_made(draw, makers, split) for makers in _premises(draw, hypothesis)]
        if all(premises):
            yield hypothesis, premises
            negative = not negative


def _made(draw: Draw, makers: list[Maker], split: str) -> Clause | None:
    """What one of the makers makes, chosen at random among those that make what belongs to this split; None without one."""
    for maker in sorted(makers, key=lambda _: draw.random()):
        premises = (maker() for _ in range(TRIES))
        fit = (premise for premise in premises if premise and in_split(premise, split) and clear(premise, MOST["premise"]))
        if premise := next(fit, None):
            return premise
    return None


def _premises(draw: Draw, hypothesis: Clause) -> tuple[list[Maker], list[Maker], list[Maker]]:
    """For each of LABELS the ways to make a premise of it, by what the hypothesis says, B or not B.

    With B+ richer and B- weaker than B by a detail, B' the same of another participant, B* in another place (of `ONCE`):

    hypothesis  entailment   neutral              contradiction
    B           B+           B-, not B+, B'       not B, not B-, B*
    not B       not B-, B*   B-, not B+, not B'   B, B+

    A negation denies its whole clause: that it was not read slowly follows from that it was not read.
    """
    said = hypothesis._replace(negative=False)
    less = weaker(said)

    def no(maker: Maker) -> Maker:
        return lambda: (made := maker()) and made._replace(negative=True)

    def same() -> Clause:
        return said

    def more() -> Clause | None:
        return richer(draw, said)

    def fewer() -> Clause:
        return draw.pick(less)

    def others() -> Clause:
        return another(draw, said, SUBJECT if said.verb in ONCE else None)

    def elsewhere() -> Clause:
        return another(draw, said, PLACE)

    weak = [fewer] if less else []
    once = [elsewhere] * OFTEN if said.verb in ONCE else []
    different = [others] if said.verb not in VAGUE else []
    if hypothesis.negative:
        return [*map(no, weak), *once], [fewer, no(more), *map(no, different)], [same, more]
    return [more], [*weak, no(more), *different], [no(same), *map(no, weak), *once]
