"""How entities are carried over to a translation: `WordAlignment`, which words say the same, and `Projection`."""

from dataclasses import dataclass, field, fields
from typing import Literal

from engine.fingerprint import Part
from engine.spec.checks import one_of, require, typed

ALIGNERS = ("embedding", "eflomal", "fast-align", "gold")
EXTRACTIONS = ("argmax", "itermax", "match", "softmax")
MATCHINGS = ("heuristic", "ilp", "greedy")
CANDIDATES = ("ngrams", "ner")
# Fields of `Projection` that matching="heuristic" does not read.
SCORED = (
    "candidates", "max_words", "score", "weights", "alpha", "ner_threshold", "nmt_threshold", "n_proj", "bound",
)  # fmt: skip
SCORES = ("align", "ner", "ner_spans", "nmt", "fused")


@dataclass(frozen=True, kw_only=True)
class WordAlignment(Part):
    """How the words of a sentence and of its translation are aligned (`engine.projection.aligners`).

    `aligner`: "embedding", by similarity of an encoder's states; "eflomal" and "fast-align", by counting in the sentence
    pairs themselves (extra `align`); "gold", what the sandbox knows. Of "embedding": `checkpoint`, empty for the study's
    own model; `layer`, whose states, 0 for the embeddings and -1 for the last; `units`, what is compared, subwords (two
    words align where any of their subwords do) or words, by the mean of their subwords' states; `extraction`, how pairs
    are taken from the similarities, and `threshold`, of "softmax", which both directions' probabilities must exceed.
    """

    aligner: Literal["embedding", "eflomal", "fast-align", "gold"] = "embedding"
    checkpoint: str = ""
    layer: int = 8
    units: Literal["words", "subwords"] = "subwords"
    extraction: Literal["argmax", "itermax", "match", "softmax"] = "argmax"
    threshold: float = 1e-3

    def __post_init__(self) -> None:
        typed(self)
        one_of("aligner", self.aligner, ALIGNERS)
        one_of("units", self.units, ("words", "subwords"))
        one_of("extraction", self.extraction, EXTRACTIONS)
        require(0 <= self.threshold < 1, f"threshold={self.threshold}: is a probability, 0 <= threshold < 1")
        require(
            self.aligner == "embedding" or not self.checkpoint,
            f"checkpoint={self.checkpoint!r} with aligner={self.aligner!r}: only the aligner 'embedding' has one",
        )


# As published: Jalili Sabet et al. 2020 (argmax, on subwords); Dou & Neubig 2021, without and with their fine-tuning.
SIMALIGN = WordAlignment(checkpoint="google-bert/bert-base-multilingual-cased")
AWESOME = WordAlignment(checkpoint="google-bert/bert-base-multilingual-cased", extraction="softmax")
AWESOME_TUNED = WordAlignment(checkpoint="aneuraz/awesome-align-with-co", extraction="softmax")


@dataclass(frozen=True, kw_only=True)
class Projection(Part):
    """How the entities of a labeled sentence are found in its translation (`engine.projection.project`).

    `matching`: "heuristic" (García-Ferrero et al. 2022) follows the alignment alone: runs of aligned words, merged over
    gaps of up to `gap` words, and kept where they have more than `length_ratio` of the entity's words. "ilp" (Politov et
    al. 2025) and "greedy" give the entities those spans of the translation that score highest together: at most `n_proj`
    spans each, or at least so many (`bound`).
    `candidates`: which spans, "ngrams" of up to `max_words` words, or "ner", what a tagger finds in the translation.
    `score`: "align", by aligned words; "ner", by the tagger's probability of the entity's type, times `alpha` for each
    word but the first, and "ner_spans", of any type; "nmt", by a translation model; "fused", the sum of "align", "ner_spans" and "nmt"
    with `weights`. A tagger's score below `ner_threshold`, or a translation model's below `nmt_threshold`, counts as 0.
    """

    alignment: WordAlignment = field(default_factory=WordAlignment)
    matching: Literal["heuristic", "ilp", "greedy"] = "heuristic"
    gap: int = 1
    length_ratio: float = 0.8
    candidates: Literal["ngrams", "ner"] = "ngrams"
    max_words: int = 10
    score: Literal["align", "ner", "ner_spans", "nmt", "fused"] = "align"
    weights: tuple[float, float, float] = (0.5, 0.5, 1.0)
    alpha: float = 1.15
    ner_threshold: float = 0.05
    nmt_threshold: float = 0.1
    n_proj: int = 1
    bound: Literal["at most", "at least"] = "at most"

    def __post_init__(self) -> None:
        typed(self)
        one_of("matching", self.matching, MATCHINGS)
        one_of("candidates", self.candidates, CANDIDATES)
        one_of("score", self.score, SCORES)
        one_of("bound", self.bound, ("at most", "at least"))
        for name in ("n_proj", "max_words"):
            require(getattr(self, name) >= 1, f"{name}={getattr(self, name)}: must be at least 1")
        for name in ("gap", "length_ratio", "ner_threshold", "nmt_threshold"):
            require(getattr(self, name) >= 0, f"{name}={getattr(self, name)}: must not be negative")
        require(self.alpha > 0, f"alpha={self.alpha}: must be above 0")
        known = len(self.weights) == 3 and min(self.weights) >= 0 and max(self.weights) > 0
        require(known, f"weights={self.weights}: takes three, of align, ner_spans and nmt; none negative, not all 0")
        for unread in fields(self) if self.matching == "heuristic" else ():
            value = getattr(self, unread.name)
            require(
                unread.name not in SCORED or value == unread.default,
                f"{unread.name}={value!r} with matching='heuristic': it follows the alignment alone. "
                "Leave it out, or take matching='ilp' or 'greedy'.",
            )

    @property
    def scores(self) -> dict[str, float]:
        """The scores that are summed, each with its weight."""
        weights = zip(("align", "ner_spans", "nmt"), self.weights, strict=True)
        return {name: weight for name, weight in weights if weight} if self.score == "fused" else {self.score: 1.0}

    @property
    def needs_tagger(self) -> bool:
        """Whether a tagger's probabilities for the translation are needed."""
        return self.candidates == "ner" or not {"ner", "ner_spans"}.isdisjoint(self.scores)

    @property
    def needs_translation_scores(self) -> bool:
        """Whether a translation model's scores of the candidates are needed."""
        return "nmt" in self.scores
