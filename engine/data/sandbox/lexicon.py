"""A language's words: proto-forms, handed down a family tree through regular sound changes, borrowed, and spelled.

Forms are strings of one character a phoneme: letters as in IPA but S (sh), C (ch), N (ng), x (kh), y and q (front
rounded u and o). Every draw is a byte of a hash of what it is about, so no form depends on which was asked for first.
"""

import re
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b

from engine.data.sandbox.meaning import CONCEPTS
from engine.data.sandbox.typology import typologies

# Out of 256, in one unit of age (typology.py): how often a word, a name or a grammatical word gives way to a new one.
# Languages that parted 9 units ago, as x-eng and x-nld, share about 0.7 of their words; of different families, 0.1.
REPLACED = {"word": 5, "name": 4, "closed": 2}
CHANGE_EVERY = 9  # units of age between two sound changes of one branch
LOANS = 30  # out of 256: words borrowed from a neighbor at no distance; none from LOAN_KM on
LOAN_KM = 3000
NAME_KINDS = ("given", "family", "place", "brand", "common")
# Of the questions of questions.py, which the other texts have none of: their forms give way to those of all concepts.
QUESTION_WORDS = ("function/who", "function/what", "function/where", "function/when")
CLOSED_KINDS = ("function", "adposition", "prefix", "suffix", "ending")
CAPITALIZED = (*NAME_KINDS, "org", "firm", "part", "month", "day", "feast", "title")
# Most names of these kinds have their kind's ending, as in -son, -ville and -corp: related languages share it.
ENDINGS = {"family": "ending/clan", "place": "ending/town", "brand": "ending/maker"}
ENDED = 192  # out of 256

PLAIN_ONSETS = tuple("ptkbdgmnslrfvhz" + "ptkmnslr" + "kmnr")  # names have only these: they travel well
ONSETS = (*PLAIN_ONSETS, *PLAIN_ONSETS, *"jwSCxSCx", "tr", "kr", "pl", "")
PLAIN_VOWELS = tuple("aeiou")
VOWELS = tuple("aaaaaeeeeeiiiioooouuuyq")
CODAS = (*[""] * 14, *"nrlsmtkN")
V = "[aeiouyq]"  # a vowel, in a pattern
SOUND_CHANGES = [
    ("^p", "f"), ("^k(?=[ei])", "C"), ("t(?=i)", "C"), ("s(?=[ei])", "S"), ("^b", "v"), ("z", "r"), ("^g", "h"),
    ("a$", "o"), ("e(?!$)", "i"), ("^w", "v"), (f"(?<=...){V}$", ""), (f"(?<={V})p(?={V})", "b"),
    (f"(?<={V})t(?={V})", "d"), (f"(?<={V})k(?={V})", "g"), ("u(?=.*i)", "y"), ("o(?=.*[ie])", "q"),
    (f"l(?!{V}|$)", "u"), ("^h", ""), ("^s(?=[tpk])", "es"), ("k(?!.*k)", "x"), ("m$", "n"), ("o(?!$)", "u"),
    ("a(?=.*a)", "e"), ("d$", "t"), ("b$", "p"), ("^j", "z"), (f"(?<={V})s(?={V})", "z"), (f"(?<={V})n$", ""),
]  # fmt: skip
# What a language lacks (no feature of these holds) it replaces.
MERGERS = [
    ("x", "h", ("INV_VOICELESS_VELAR_FRICATIVE",)),
    ("h", "", ("INV_VOICELESS_GLOTTAL_FRICATIVE", "INV_VOICED_GLOTTAL_FRICATIVE")),
    ("f", "p", ("INV_VOICELESS_LABIODENTAL_FRICATIVE",)),
    ("z", "s", ("P_VOICED_FRICATIVES",)),
    ("v", "w", ("INV_VOICED_LABIODENTAL_FRICATIVE",)),
    ("w", "v", ("INV_VOICED_LABIAL_VELAR_APPROXIMANT", "INV_VOICED_BILABIAL_FRICATIVE")),
    ("S", "s", ("INV_PLACE_ALVEOPALATAL", "INV_VOICELESS_POSTALVEOLAR_FRICATIVE", "INV_PLACE_RETROFLEX")),
    ("b", "p", ("P_VOICED_PLOSIVES",)),
    ("d", "t", ("P_VOICED_PLOSIVES",)),
    ("g", "k", ("P_VOICED_PLOSIVES",)),
    ("y", "i", ("P_FRONT_ROUND_VOWELS",)),
    ("q", "e", ("P_FRONT_ROUND_VOWELS",)),
    ("N", "n", ("INV_VELAR_NASAL",)),
]
# Spelling habits, from phoneme to letters, over a common base.
SPELLING = {"S": "sh", "C": "ch", "N": "ng", "x": "kh", "y": "ü", "q": "ö"}
HABITS = {
    "deu": {"S": "sch", "C": "tsch", "x": "ch", "v": "w"},
    "eng": {"j": "y"},
    "fin": {"C": "ts", "S": "s", "y": "y"},
    "fra": {"S": "ch", "C": "tch", "k": "c", "u": "ou", "y": "u", "q": "eu", "j": "y"},
    "hin": {"j": "y", "w": "v"},
    "hun": {"S": "s", "s": "sz", "C": "cs"},
    "nld": {"S": "sj", "C": "tj", "x": "ch", "y": "u", "q": "eu"},
    "pol": {"S": "sz", "C": "cz", "x": "ch", "v": "w", "w": "ł"},
    "rus": {"j": "y"},
    "spa": {"k": "c", "j": "y", "x": "j"},
    "swa": {"j": "y", "N": "ng'"},
    "swe": {"S": "sj", "C": "tj", "y": "y", "w": "v"},
    "tam": {"j": "y", "r": "rr"},
    "tur": {"S": "ş", "C": "ç", "j": "y"},
    "yor": {"S": "ṣ", "j": "y", "e": "ẹ"},
    "zul": {"C": "tsh", "j": "y"},
}
PARAMETERS = (
    *(REPLACED, CHANGE_EVERY, LOANS, LOAN_KM, CLOSED_KINDS, ENDINGS, ENDED, CAPITALIZED),
    *(PLAIN_ONSETS, ONSETS, PLAIN_VOWELS, VOWELS, CODAS, SOUND_CHANGES, MERGERS, SPELLING, HABITS),
)


class Lexicon:
    """The words of one language, by key; made as they are asked for, and kept."""

    def __init__(self, code: str) -> None:
        self._code = code
        self._letters = str.maketrans(SPELLING | HABITS[code])
        self._forms: dict[str, str] = {}
        self._spelled: dict[tuple[str, tuple[str, ...]], str] = {}
        taken: set[str] = set()
        for key in (*(f"{kind}/{concept}" for kind, concepts in CONCEPTS.items() for concept in concepts), *QUESTION_WORDS):
            form = self.form(key)
            while form in taken:  # no two concepts sound alike
                form += _syllable(_bytes("homonym", code, form))
            taken.add(form)
            self._forms[key] = form

    def form(self, key: str) -> str:
        """The phonemes of a word, name or affix."""
        form = self._forms.get(key)
        if form is None:
            form = _adapted(_descended(key, self._code), typologies()[self._code].traits)
            ending = ENDINGS.get(key.split("/")[0])
            if ending and _bytes("ending", key)[0] < ENDED:
                form += self.form(ending)
            self._forms[key] = form
        return form

    def spelled(self, key: str, affixes: tuple[str, ...] = ()) -> str:
        """The letters of a word with its affixes, given by key, from the inside out. Names are capitalized."""
        word = self._spelled.get((key, affixes))
        if word is None:
            word = self._spelled[key, affixes] = self._spell(key, affixes)
        return word

    def _spell(self, key: str, affixes: tuple[str, ...]) -> str:
        if key.isdigit():
            return key
        form, before = self.form(key), ""
        for affix in affixes:
            if affix.startswith("prefix/"):
                before = self.form(affix) + before
            else:
                form += _linked(form[-1], self.form(affix))
        word = form.translate(self._letters)
        if key.split("/")[0] in CAPITALIZED:
            word = word[0].upper() + word[1:]
        return before.translate(self._letters) + word


def cognates(a: str, b: str) -> float:
    """Share of the concepts whose words in two languages (ISO codes) go back to one form, inherited or borrowed."""
    keys = [f"{kind}/{concept}" for kind, concepts in CONCEPTS.items() for concept in concepts]
    return sum(_root(key, a) == _root(key, b) for key in keys) / len(keys)


def _root(key: str, code: str) -> tuple[str, int]:
    lender, index = _origin(key, code)
    return _history(lender)[index]


def _descended(key: str, code: str) -> str:
    """The form that has come down to the language, before it is fitted to the language's sounds.

    Words undergo each branch's sound changes from their origin on; names keep their sounds.
    """
    lender, start = _origin(key, code)
    history = _history(lender)
    form = _proto(key, *history[start])
    if key.split("/")[0] not in (*NAME_KINDS, "ending"):
        for clade, age in history[start + 1 :]:
            if age % CHANGE_EVERY == 0:
                pattern, replacement = SOUND_CHANGES[_bytes("change", clade, age)[0] % len(SOUND_CHANGES)]
                form = re.sub(pattern, replacement, form) or form
    return form


@cache
def _history(code: str) -> list[tuple[str, int]]:
    """(branch, age) for each unit of age, from the world's to one before today."""
    lineage = typologies()[code].lineage
    starts = [lineage[0].age + 1, *(clade.age for clade in lineage)]
    return [
        (clade.members, age)
        for clade, start in zip(lineage, starts, strict=False)
        for age in range(start - 1, clade.age - 1, -1)
    ]


def _origin(key: str, code: str) -> tuple[str, int]:
    """The point of a history from which the language's form comes down: (whose history, index)."""
    typology = typologies()[code]
    kind = key.split("/")[0]
    rate = REPLACED["name" if kind in NAME_KINDS else "closed" if kind in CLOSED_KINDS else "word"]
    if _bytes("loan", key, code)[0] < LOANS * (LOAN_KM - typology.km) // LOAN_KM:
        code = typology.neighbor
    history = _history(code)
    replaced = {clade: _bytes("replaced", key, clade) for clade, _ in history}
    renewals = [index for index, (clade, age) in enumerate(history) if index == 0 or replaced[clade][age] < rate]
    return code, renewals[-1]


def _proto(key: str, clade: str, age: int) -> str:
    """A new form: one or two syllables for a grammatical word, two or three for others, one at most for affixes."""
    kind = key.split("/")[0]
    draws = _bytes("proto", key, clade, age)
    if kind == "suffix":
        return _one_of(VOWELS, draws[0]) + (_one_of(CODAS, draws[1]) or "n")
    if kind == "prefix":
        return _one_of(ONSETS, draws[0]) + _one_of(VOWELS, draws[1])
    if kind == "ending":
        return _one_of(PLAIN_ONSETS, draws[0]) + _one_of(PLAIN_VOWELS, draws[1]) + _one_of("nrlsmtk", draws[2])
    count = 1 + draws[0] % 4 // 3 if kind in ("function", "adposition") else 2 + draws[0] % 4 // 3
    onsets, vowels = (PLAIN_ONSETS, PLAIN_VOWELS) if kind in NAME_KINDS else (ONSETS, VOWELS)
    return "".join(_syllable(draws[3 * i + 1 :], onsets, vowels) for i in range(count))


def _syllable(draws: bytes, onsets: tuple[str, ...] = ONSETS, vowels: tuple[str, ...] = VOWELS) -> str:
    return _one_of(onsets, draws[0]) + _one_of(vowels, draws[1]) + _one_of(CODAS, draws[2])


def _one_of(sounds: Sequence[str], draw: int) -> str:
    return sounds[draw % len(sounds)]


def _linked(last: str, suffix: str) -> str:
    """The suffix as it follows a sound: two vowels do not meet."""
    if last in V and suffix[0] in V:
        return suffix[1:] or "j" + suffix
    return suffix


def _adapted(form: str, traits: frozenset[str]) -> str:
    """The form with the sounds that the language has."""
    for phoneme, replacement, features in MERGERS:
        if phoneme in form and traits.isdisjoint(features):
            form = form.replace(phoneme, replacement) or form
    return form


def _bytes(*about: object) -> bytes:
    return blake2b("/".join(map(str, about)).encode()).digest()
