"""What the sandbox's sentences say: trees of concepts that belong to no language, drawn from a seeded stream.

A tree holds keys such as "thing/book" or "place/17"; which form a key has is lexicon.py's affair, the order of words
realize.py's. Which types of entity a verb takes is fixed, and some names are persons, places and organizations at
once, so that a name's type must at times be read off its verb or adposition.
"""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple, TypeVar

T = TypeVar("T")

# Concepts by class. Any change here changes the generated text: raise GENERATOR_VERSION.
_CONCEPTS = """
person     teacher doctor king child farmer woman man friend writer soldier singer judge worker neighbor
place      city village river island country valley mountain harbor
body       company school factory church office team
thing      book letter house song car table picture machine bridge ship
food       bread fish apple milk meat
animal     dog horse cat bird cow
topic      war peace law price plan news
adjective  old new big small good bad red white black long young rich poor strong quiet famous
adverb     often soon again slowly here today yesterday quickly
number     two three four five six seven eight nine ten
title      professor president minister captain
month      january march april june july august october december
day        monday tuesday friday saturday sunday
feast      newyear harvest midsummer
org        bank university ministry party hospital museum institute council
firm       group union works
part       north south great upper
function   the a of that and but because not plural
adposition in on to from with about for against near after
"""
# verb, subject, object, obliques. Roles: PER LOC ORG CLUB (an organization known by its town's name), a class of
# CONCEPTS, CLAUSE, "-" for none; "/" parts alternatives, "?" marks what may be missing.
FRAMES = """
visit      PER/person        LOC/place          with:PER?
live       PER/person        -                  in:LOC
travel     PER/person        -                  to:LOC from:LOC?
arrive     PER/person        -                  in:LOC/place
die        PER               -                  in:LOC
born       PER               -                  in:LOC
marry      PER               PER                in:LOC?
meet       PER               PER/person         in:LOC/place?
thank      PER/person        PER                -
love       PER/person        PER/animal         -
write      PER               thing              about:PER/topic?
read       PER/person        thing              in:place?
say        PER               CLAUSE             -
believe    PER/person        CLAUSE             -
report     ORG               CLAUSE             -
work       PER/person        -                  for:ORG
join       PER               ORG                -
lead       PER               ORG/body           -
found      PER               ORG/body           in:LOC?
hire       ORG               PER/person         -
buy        ORG               ORG/body           -
accuse     ORG               PER                -
produce    ORG               thing/food         in:LOC?
open       ORG               body               in:LOC
defeat     CLUB              CLUB               in:LOC?
play       CLUB              -                  against:CLUB
sign       CLUB              PER                from:CLUB?
elect      LOC/place         PER                -
border     LOC               LOC                -
lie        LOC               -                  near:LOC/place
grow       LOC/place         -                  -
discuss    ORG/body          topic              with:ORG/body
eat        person/animal     food               in:place?
see        person/PER        animal/thing/person  in:LOC/place?
sleep      animal/person     -                  in:place/thing
build      person            thing/place        in:LOC?
sell       person            food/thing         to:person
cross      person/animal     place              -
break      animal/person     thing              -
bring      PER/person        thing/food         to:PER
call       PER               PER                -
be         PER/person        person             -
be         LOC               place              -
be         ORG               body               -
"""
CONCEPTS = {kind: concepts for kind, *concepts in map(str.split, _CONCEPTS.strip().splitlines())}
CONCEPTS["verb"] = list(dict.fromkeys(line.split()[0] for line in FRAMES.strip().splitlines()))

NAMES = {"given": 80, "family": 200, "place": 200, "brand": 120}  # how many of each kind there are
COMMON_EVERY = 8  # each eighth family name, place and brand is one and the same name
POSSESSORS = {"thing": "PER", "person": "ORG", "place": "LOC", "body": "LOC"}
KEYS = range(3, 15)  # content keys of a sentence: it comes to 4 to about 25 words, full stop included
PARAMETERS = (CONCEPTS, FRAMES, NAMES, COMMON_EVERY, POSSESSORS, [*KEYS])


class Noun(NamedTuple):
    """A common noun phrase. `adjective`: a key, a place's key for "from there", or ""; `number`: a key, digits, or ""."""

    key: str
    plural: bool = False
    definite: bool = False
    adjective: str = ""
    number: str = ""
    possessor: "Name | None" = None


class Name(NamedTuple):
    """An entity. `keys`: its words; a "part/", "org/" or "firm/" among them is translated. `title` and `role`
    (an apposition) stand beside it and are no part of it."""

    type: str
    keys: tuple[str, ...]
    title: str = ""
    role: Noun | None = None


class Clause(NamedTuple):
    """A verb and its arguments. `obliques`: (adposition's key, phrase). `time` opens the clause if `fronted`."""

    verb: str
    subject: "Noun | Name"
    object: "Noun | Name | Clause | None" = None
    obliques: tuple[tuple[str, "Noun | Name"], ...] = ()
    adverb: str = ""
    time: tuple[str, Noun] | None = None
    fronted: bool = False
    past: bool = True
    negative: bool = False


class Meaning(NamedTuple):
    """One sentence: a clause, or two with a conjunction's key between them. `keys`: its content keys, in drawing order."""

    first: Clause
    conjunction: str
    second: Clause | None
    keys: tuple[str, ...]


def meanings(stream: Random) -> Iterator[Meaning]:
    """Endless meanings, none of which has the same content key twice (so that words can be aligned by key)."""
    while True:
        keys: list[str] = []
        draw = Draw(stream.random, keys)
        first = draw.clause(embedding=True)
        conjunction, second = "", None
        if stream.random() < 0.2:
            conjunction, second = draw.pick(("function/and", "function/but", "function/because")), draw.clause()
        if len(keys) in KEYS and len(set(keys)) == len(keys):
            yield Meaning(first, conjunction, second, tuple(keys))


class Frame(NamedTuple):
    """A line of FRAMES. `obliques`: (adposition's key, roles, whether it may be missing)."""

    verb: str
    subject: tuple[str, ...]
    object: tuple[str, ...]
    obliques: tuple[tuple[str, tuple[str, ...], bool], ...]


class Draw:
    """One sentence being drawn. `keys` collects each content key as it is drawn."""

    def __init__(self, random: Callable[[], float], keys: list[str]) -> None:
        self.random = random
        self.keys = keys

    def clause(self, embedding: bool = False) -> Clause:
        return self.filled(self.pick(_FRAMES if embedding else PLAIN_FRAMES))

    def filled(self, frame: "Frame") -> Clause:
        """A clause of the frame's verb."""
        random = self.random
        verb, subject, object_, obliques = frame
        self.keys.append(verb)
        arguments = self.phrase(self.pick(subject)), self.phrase(self.pick(object_)) if object_ else None
        around = tuple(
            (adposition, self.phrase(self.pick(roles)))
            for adposition, roles, optional in obliques
            if not optional or random() < 0.4
        )
        adverb = self.content("adverb") if random() < 0.15 else ""
        time = self.time() if random() < 0.2 else None
        return Clause(verb, *arguments, around, adverb, time, random() < 0.5, random() < 0.7, random() < 0.08)

    def phrase(self, role: str) -> "Noun | Name | Clause":
        if role == "CLAUSE":
            return self.clause()
        if role in _NAME_MAKERS:
            return _NAME_MAKERS[role](self)
        return self.noun(role)

    def noun(self, role: str, possessed: float = 0.2) -> Noun:
        random = self.random
        key = self.content(role)
        plural, definite, adjective, number, possessor = random() < 0.25, random() < 0.5, "", "", None
        if random() < 0.35:
            adjective = self.name("place") if random() < 0.15 else self.content("adjective")
        if plural and random() < 0.4:
            number = self.content("number") if random() < 0.7 else self.digits(11, 500)
        if role in POSSESSORS and random() < possessed:
            possessor = self.phrase(POSSESSORS[role])
        return Noun(key, plural, definite, adjective, number, possessor)

    def person(self) -> Name:
        random = self.random
        shape = random()
        given = (self.name("given"),) if shape < 0.75 else ()
        family = (self.name("family"),) if shape >= 0.3 else ()
        title = self.content("title") if family and random() < 0.2 else ""
        role = self.noun("person", possessed=0.5) if random() < 0.06 else None
        return Name("PER", given + family, title, role)

    def location(self) -> Name:
        place = (self.name("place"),)
        return Name("LOC", (self.content("part"), *place) if self.random() < 0.12 else place)

    def organization(self) -> Name:
        shape = self.random()
        if shape < 0.4:
            return Name("ORG", (self.content("org"), self.name("place")))
        if shape < 0.7:
            return Name("ORG", (self.name("brand"), self.content("firm")))
        return Name("ORG", (self.name("brand"),))

    def club(self) -> Name:
        return Name("ORG", (self.name("place"),))

    def time(self) -> tuple[str, Noun]:
        random = self.random
        if random() < 0.4:
            return "adposition/in", Noun(self.digits(1800, 2030))
        kind, adposition = self.pick(
            (("month", "adposition/in"), ("day", "adposition/on"), ("feast", "adposition/after"))
        )
        return adposition, Noun(self.content(kind))

    def content(self, kind: str) -> str:
        key = self.pick(_KEYS[kind])
        self.keys.append(key)
        return key

    def digits(self, low: int, high: int) -> str:
        number = str(low + int(self.random() * (high - low)))
        self.keys.append(number)
        return number

    def name(self, kind: str) -> str:
        """A name of the kind: the first ones are common and the last ones rare."""
        share = self.random()
        index = int(NAMES[kind] * share * share)
        shared = kind != "given" and index % COMMON_EVERY == COMMON_EVERY - 1
        key = f"common/{index // COMMON_EVERY}" if shared else f"{kind}/{index}"
        self.keys.append(key)
        return key

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self.random() * len(choices))]


def _frame(line: str) -> Frame:
    verb, subject, object_, *obliques = line.split()
    around = [oblique.partition(":") for oblique in obliques if oblique != "-"]
    return Frame(
        f"verb/{verb}",
        tuple(subject.split("/")),
        tuple(object_.split("/")) if object_ != "-" else (),
        tuple(
            (f"adposition/{adposition}", tuple(roles.rstrip("?").split("/")), roles.endswith("?"))
            for adposition, _, roles in around
        ),
    )


_FRAMES = [_frame(line) for line in FRAMES.strip().splitlines()]
PLAIN_FRAMES = [frame for frame in _FRAMES if frame.object != ("CLAUSE",)]
_KEYS = {kind: [f"{kind}/{concept}" for concept in concepts] for kind, concepts in CONCEPTS.items()}
_NAME_MAKERS = {"PER": Draw.person, "LOC": Draw.location, "ORG": Draw.organization, "CLUB": Draw.club}
