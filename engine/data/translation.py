"""Translations without a model: what a translator is, and those that look translations up. One with a model: `engine.models.translate`.

The sandbox's own translations are exact, and their word alignment is known. A parallel corpus has those of its sentences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.data.corpora import Dataset, held_out, text_of
from engine.data.parallel import ParallelCorpus
from engine.data.sentences import Sentence
from engine.errors import DataError

SANDBOX, PARALLEL = "sandbox", "parallel"
Alignment = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Translated:
    """A sentence, the words of its translation, and the pairs of words that say the same, where they are known."""

    original: Sentence
    translation: tuple[str, ...]
    alignment: Alignment | None = None

    def turned(self) -> "Translated":
        """The translation, without tags, with the original as its translation."""
        pairs = self.alignment if self.alignment is None else tuple(sorted((j, i) for i, j in self.alignment))
        return Translated(Sentence(self.translation), self.original.words, pairs)


class Translator(Protocol):
    """Translates sentences of one language into another."""

    def __call__(self, sentences: Sequence[Sentence], source: str, target: str) -> list[Translated]:
        """Return each sentence with its translation, in order. DataError where it has none."""
        ...


@dataclass(frozen=True)
class SandboxTranslator:
    """The sandbox's exact translations of the sentences of one of its splits."""

    split: str

    def __call__(self, sentences: Sequence[Sentence], source: str, target: str) -> list[Translated]:
        from engine.data import sandbox

        known = {ours.words: (theirs.words, pairs) for ours, theirs, pairs in sandbox.translations(source, target, self.split)}
        return [Translated(sentence, *known[sentence.words]) for sentence in sentences]


@dataclass(frozen=True)
class LookUp:
    """The translations that a parallel corpus has. Sentences are equal where their characters are (`engine.data.corpora`)."""

    corpus: ParallelCorpus

    def __call__(self, sentences: Sequence[Sentence], source: str, target: str) -> list[Translated]:
        known = {text_of(ours): theirs.words for ours, theirs in reversed(self.corpus.pairs(source, target))}
        missing = [sentence for sentence in sentences if text_of(sentence) not in known]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(sentences)} sentences of {source} have no translation into {target} in the parallel "
                f"corpus, the first: {' '.join(missing[0].words)!r}. A look-up translates only what stands in the corpus: use a "
                "translation model, or a corpus that has them."
            )
        return [Translated(sentence, known[text_of(sentence)]) for sentence in sentences]


def corpus_of(translator: str, data: str | None) -> ParallelCorpus | None:
    """The corpora that "parallel" (all of --data) or "parallel:lafand+ntrex" names; None for any other translator."""
    kind, _, names = translator.partition(":")
    return ParallelCorpus(tuple(filter(None, names.split("+"))), data) if kind == PARALLEL else None


def corpus_pairs(corpus: ParallelCorpus, source: str, target: str, tested: Dataset) -> list[Translated]:
    """The corpus's pairs, without those whose target sentence stands in the dataset's dev or test split of the target."""
    unseen = held_out(tested, target)
    pairs = corpus.pairs(source, target)
    return [Translated(ours, theirs.words) for ours, theirs in pairs if text_of(theirs) not in unseen]
