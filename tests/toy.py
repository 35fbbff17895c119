"""Made-up labeled sentences for tests that need text but no language: names follow "mr" (PER) or "in" (LOC)."""

from random import Random

from engine.data.sentences import Sentence

TYPES = ("LOC", "ORG", "PER")


def toy_sentences(n: int, seed: int = 0) -> list[Sentence]:
    """Return `n` sentences of 4 to 9 words over some 200 syllable words, with 0 to 2 capitalised names each."""
    random = Random(seed)
    return [_sentence(random) for _ in range(n)]


def _sentence(random: Random) -> Sentence:
    words, tags = [], []
    for _ in range(random.randint(2, 4)):
        words.append(_word(random))
        tags.append("O")
        kind = random.choice(("PER", "LOC", None))
        if kind:
            name = [_word(random).capitalize() for _ in range(random.randint(1, 2))]
            words += ["mr" if kind == "PER" else "in", *name]
            tags += ["O", f"B-{kind}", *[f"I-{kind}"] * (len(name) - 1)]
    return Sentence(tuple(words), tuple(tags))


def _word(random: Random) -> str:
    return "".join(random.choice("bdklmnrst") + random.choice("aeiou") for _ in range(random.randint(1, 2)))
