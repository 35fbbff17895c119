"""A meaning put into a language's words: order, affixes and function words after the grammar, tags, what aligns."""

from typing import NamedTuple

from engine.data.sandbox.grammar import Grammar
from engine.data.sandbox.lexicon import Lexicon
from engine.data.sandbox.meaning import CONCEPTS, Clause, Meaning, Name, Noun

EARLY_ADJECTIVES = {f"adjective/{concept}" for concept in CONCEPTS["adjective"][:6]}  # where adjectives have two sides
CALENDAR = ("month", "day", "feast")


class Token(NamedTuple):
    """A word, its tag, and what it says: tokens of two languages' realizations align where that is equal."""

    word: str
    tag: str
    says: tuple[str, ...]


class Realizer:
    """One language's grammar and lexicon at work."""

    def __init__(self, grammar: Grammar, lexicon: Lexicon) -> None:
        self.grammar = grammar
        self.lexicon = lexicon
        sides = dict.fromkeys(("genitive", "oblique"), grammar.case)
        sides["accusative"] = grammar.case if grammar.accusative else ""
        sides |= {"past": grammar.tense, "present": grammar.tense, "plural": grammar.plural}
        sides |= {"negative": grammar.negation, "definite": grammar.definite, "origin": "suffix"}
        self.affixes = {what: f"{side}/{what}" for what, side in sides.items() if side in ("prefix", "suffix")}

    def sentence(self, meaning: Meaning) -> list[Token]:
        """The tokens of one sentence, with an initial capital and a full stop of its own."""
        tokens = self.clause(meaning.first, self.grammar.main)
        if meaning.second:
            tokens += [Token(",", "O", ("comma",)), self.word(meaning.conjunction)]
            tokens += self.clause(meaning.second, self.grammar.main)
        tokens.append(Token(".", "O", ("stop",)))
        first = tokens[0]
        tokens[0] = first._replace(word=first.word[0].upper() + first.word[1:])
        return tokens

    def clause(self, clause: Clause, order: str) -> list[Token]:
        grammar = self.grammar
        parts = {"S": self.phrase(clause.subject, ""), "V": self.verb(clause), "O": self.object(clause)}
        time = self.oblique(*clause.time) if clause.time else []
        around = [token for adposition, phrase in clause.obliques for token in self.oblique(adposition, phrase)]
        if clause.adverb:
            around.append(self.word(clause.adverb))
        if not clause.fronted:
            around += time
        if order[-1] == "V":
            parts["O"] = parts["O"] + around if grammar.oblique_after_object else around + parts["O"]
        elif grammar.oblique_before_verb:
            parts["V"] = around + parts["V"]
        else:
            parts[order[-1]] = parts[order[-1]] + around
        return (time if clause.fronted else []) + [token for part in order for token in parts[part]]

    def object(self, clause: Clause) -> list[Token]:
        if clause.object is None:
            return []
        if not isinstance(clause.object, Clause):
            return self.phrase(clause.object, "" if clause.verb == "verb/be" else "accusative")
        that = [self.word("function/that", clause.verb)]
        tokens = self.clause(clause.object, self.grammar.embedded)
        return tokens + that if self.grammar.complementizer_after else that + tokens

    def verb(self, clause: Clause) -> list[Token]:
        marks = ("past" if clause.past else "present", *(("negative",) if clause.negative else ()))
        verb = [self.word(clause.verb, marks=marks)]
        if clause.negative and "negative" not in self.affixes:
            verb.insert(self.grammar.negation == "after", self.word("function/not", clause.verb))
        return verb

    def oblique(self, adposition: str, phrase: Noun | Name) -> list[Token]:
        tokens = self.phrase(phrase, "oblique")
        tokens.insert(len(tokens) if self.grammar.postpositions else 0, self.word(adposition, _head(phrase)))
        return tokens

    def phrase(self, phrase: Noun | Name, case: str) -> list[Token]:
        """A noun phrase; `case`: "", "accusative", "genitive" or "oblique"."""
        return self.name(phrase, case) if isinstance(phrase, Name) else self.noun(phrase, case)

    def noun(self, noun: Noun, case: str) -> list[Token]:
        """The noun, and around it, outward: adjective, number, possessor, article."""
        grammar, key = self.grammar, noun.key
        marks = [mark for mark, holds in (("plural", noun.plural), ("definite", noun.definite), (case, case)) if holds]
        tokens = [self.word(key, marks=tuple(marks))]
        if noun.plural and grammar.plural == "word":
            tokens.append(self.word("function/plural", key))
        if noun.adjective:
            origin = () if noun.adjective.startswith("adjective/") else ("origin",)
            early = grammar.adjective == "before" or grammar.adjective == "both" and noun.adjective in EARLY_ADJECTIVES
            tokens.insert(0 if early else len(tokens), self.word(noun.adjective, marks=origin))
        if noun.number:
            tokens.insert(0 if grammar.numeral == "before" else len(tokens), self.word(noun.number))
        if noun.possessor:
            tokens = self.possessed(tokens, noun.possessor, key)
        article = self.article(noun)
        if article:
            tokens.insert(0 if grammar.article == "before" else len(tokens), self.word(article, key))
        return tokens

    def possessed(self, tokens: list[Token], possessor: Name, key: str) -> list[Token]:
        """Possessor and possessed; where both orders are used, persons come first. A linker stands between them."""
        linker = [self.word("function/of", key)] if self.grammar.linker else []
        first = self.grammar.possessor == "before" or self.grammar.possessor == "both" and possessor.type == "PER"
        owner = self.phrase(possessor, "genitive")
        return owner + linker + tokens if first else tokens + linker + owner

    def article(self, noun: Noun) -> str:
        if noun.key.isdigit() or noun.key.split("/")[0] in CALENDAR:
            return ""
        if noun.definite:
            return "function/the" if self.grammar.definite == "word" else ""
        return "function/a" if self.grammar.indefinite and not noun.plural and not noun.number else ""

    def name(self, name: Name, case: str) -> list[Token]:
        """An entity with its tags; the case goes to its last word, or to its first where it is a prefix."""
        tokens = self.named(name.keys, case)
        tags = [f"{'I' if i else 'B'}-{name.type}" for i in range(len(tokens))]
        tokens = [Token(token.word, tag, token.says) for token, tag in zip(tokens, tags, strict=True)]
        if name.title:
            tokens.insert(0, self.word(name.title))
        if name.role:
            opening, closing = (Token(",", "O", (comma, name.keys[0])) for comma in ("comma", "closing comma"))
            tokens += [opening, *self.noun(name.role, case), closing]
        return tokens

    def named(self, keys: tuple[str, ...], case: str) -> list[Token]:
        """The words of an entity in order: "Bank of Karsin" like a possessor, "North Karsin" like an adjective."""
        kind = keys[0].split("/")[0]
        if kind == "org":
            return self.possessed([self.word(keys[0], marks=(case,))], Name("ORG", keys[1:]), keys[0])
        if kind == "part" and self.grammar.adjective == "after":
            keys = keys[::-1]
        bearer = 0 if self.grammar.case == "prefix" else len(keys) - 1
        return [self.word(key, marks=(case,) if i == bearer else ()) for i, key in enumerate(keys)]

    def word(self, key: str, *of: str, marks: tuple[str, ...] = ()) -> Token:
        """An untagged word. `of`: the key of what a function word belongs to; `marks`: categories, where marked."""
        affixes = tuple([self.affixes[mark] for mark in marks if mark in self.affixes])
        return Token(self.lexicon.spelled(key, affixes), "O", (key, *of))


def _head(phrase: Noun | Name) -> str:
    return phrase.keys[0] if isinstance(phrase, Name) else phrase.key
