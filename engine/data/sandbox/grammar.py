"""From lang2vec's syntax features to the few choices that a sandbox grammar makes. What it makes of them: realize.py."""

from dataclasses import dataclass
from typing import Literal

Affix = Literal["prefix", "suffix", ""]
Side = Literal["before", "after", "both"]


@dataclass(frozen=True, slots=True)
class Grammar:
    """The choices of one language; "" where it does not mark a category.

    `main`, `embedded`: order of subject, verb and object; they differ where lang2vec has two orders (as in German).
    `adjective`, `possessor`, `numeral`, `article`: their side of the noun. `oblique_after_object`: matters only
    before a final verb. `case`: affixes on a noun, or on a name's last (suffix) or first (prefix) word. `linker`: a word
    between possessor and noun where case does not mark the possessor. `negation`: a word's side, or an affix.
    """

    main: str
    embedded: str
    postpositions: bool
    adjective: Side
    possessor: Side
    numeral: Side
    article: Side
    definite: Literal["word", "suffix", ""]
    indefinite: bool
    case: Affix
    accusative: bool
    linker: bool
    plural: Literal["prefix", "suffix", "word", ""]
    tense: Affix
    negation: Literal["before", "after", "prefix", "suffix"]
    oblique_before_verb: bool
    oblique_after_object: bool
    complementizer_after: bool


def grammar(traits: frozenset[str]) -> Grammar:
    """The grammar that follows from the features that hold."""

    def has(name: str) -> bool:
        return f"S_{name}" in traits

    def affix(name: str) -> Affix:
        return "suffix" if has(f"{name}_SUFFIX") else "prefix" if has(f"{name}_PREFIX") else ""

    def side(what: str, of: str = "NOUN") -> Side:
        before, after = has(f"{what}_BEFORE_{of}"), has(f"{what}_AFTER_{of}")
        return "both" if before and after else "after" if after else "before"

    orders = [order for order in ("SVO", "SOV", "VSO", "VOS", "OVS", "OSV") if has(order)] or ["SVO"]
    case = affix("CASE")
    return Grammar(
        main=orders[0],
        embedded=orders[-1],
        postpositions=side("ADPOSITION") == "after",
        adjective=side("ADJECTIVE"),
        possessor=side("POSSESSOR"),
        numeral=side("NUMERAL"),
        article=side("ARTICLE_WORD"),
        definite="word" if has("DEFINITE_WORD") else "suffix" if has("DEFINITE_AFFIX") else "",
        indefinite=has("INDEFINITE_WORD"),
        case=case,
        accusative=bool(case) and has("OBJECT_DEPMARK"),
        linker=not case and has("POSSESSIVE_DEPMARK"),
        plural=affix("PLURAL") or ("word" if has("PLURAL_WORD") else ""),
        tense=affix("TAM"),
        negation=_negation(has("NEGATIVE_WORD"), has("NEGATIVE_WORD_BEFORE_VERB"), has("NEGATIVE_PREFIX")),
        oblique_before_verb=has("OBLIQUE_BEFORE_VERB"),
        oblique_after_object=has("OBLIQUE_AFTER_OBJECT"),
        complementizer_after=side("COMPLEMENTIZER_WORD", "CLAUSE") == "after",
    )


def _negation(word: bool, before: bool, prefix: bool) -> Literal["before", "after", "prefix", "suffix"]:
    if word:
        return "before" if before else "after"
    return "prefix" if prefix else "suffix"
