"""How models are trained, as far as it decides the numbers: `Training` and its kin, and a study's `Recipe` of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from engine.fingerprint import Part
from engine.languages import language
from engine.spec.checks import one_of, require, typed
from engine.spec.projection import MATCHINGS, Projection


@dataclass(frozen=True, kw_only=True)
class Training(Part):
    """How a model is trained, as far as it decides the numbers.

    `steps`: updates. `batch_size`: sentences (windows of long ones) per update, over all workers. `warmup`: share of the steps in which the
    learning rate rises linearly. `clip`: largest norm of the gradient. `freeze_layers`: that many bottom layers of the
    encoder, with the embeddings, keep their weights (Wu et al. 2020 keep 3). `max_tokens`: longest input, in
    subwords; longer sentences are windowed. `similar_lengths`: that many batches are drawn together and cut by length;
    1 draws each batch at random. More pads less where a model is so small that one pass costs more than its padding;
    on real text it costs F1 (docs/first-real-study.md).
    """

    steps: int
    batch_size: int = 32
    learning_rate: float = 5e-5
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    freeze_embeddings: bool = False
    freeze_layers: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    max_tokens: int = 256
    similar_lengths: int = 1

    def __post_init__(self) -> None:
        typed(self)
        for name in ("steps", "batch_size", "max_tokens", "similar_lengths"):
            require(getattr(self, name) >= 1, f"{name}={getattr(self, name)}: must be at least 1")
        require(self.learning_rate > 0, f"learning_rate={self.learning_rate}: must be above 0")
        require(self.clip > 0, f"clip={self.clip}: must be above 0")
        require(0 <= self.warmup < 1, f"warmup={self.warmup}: is a share of the steps, 0 <= warmup < 1")
        require(self.freeze_layers >= 0, f"freeze_layers={self.freeze_layers}: must not be negative")
        one_of("schedule", self.schedule, ("constant", "linear", "cosine"))
        one_of(
            "precision",
            self.precision,
            ("fp32", "bf16"),
            why=" (fp16 gives NaN on mT5)" if self.precision == "fp16" else "",
        )


@dataclass(frozen=True, kw_only=True)
class Pretraining(Training):
    """Continued (or, for the tiny model, first) training on unlabeled text.

    `objective`: "span-corruption" (mT5, Xue et al. 2021), "masked-lm" (BERT, Devlin et al. 2019) or "denoise" (a
    sentinel before every word, a share of words masked, slot i predicts word i: the form of our tagging).
    `languages`: whose text; the same for every cell, so that one more target does not change it, and empty where each
    cell has its own. `sentences`: at most this many of each language.
    """

    objective: Literal["span-corruption", "masked-lm", "denoise"]
    languages: tuple[str, ...] = ()
    sentences: int
    masked: float = 0.15

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("objective", self.objective, ("span-corruption", "masked-lm", "denoise"))
        require(0 < self.masked < 1, f"masked={self.masked}: is a share of the words, 0 < masked < 1")
        require(self.sentences >= 1, f"sentences={self.sentences}: must be at least 1")
        for code in self.languages:
            language(code)


@dataclass(frozen=True, kw_only=True)
class Distillation(Training):
    """Training of a student on a teacher's soft labels.

    `loss`: "mse" between the probabilities, averaged over words and tags (Wu et al. 2020, eq. 2), or "kl", the
    Kullback-Leibler divergence from teacher to student.
    """

    loss: Literal["mse", "kl"] = "mse"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("loss", self.loss, ("mse", "kl"))


@dataclass(frozen=True, kw_only=True)
class Similarity(Part):
    """How the language identification of Wu et al. 2020 is trained (section 3.3; their script's values).

    `rank`: of the bilinear form. `penalty`: of language embeddings that are not orthonormal (their gamma). `sentences`:
    at most this many of each source.
    """

    rank: int = 64
    penalty: float = 0.01
    learning_rate: float = 1e-4
    epochs: int = 10
    batch_size: int = 32
    sentences: int = 2_000

    def __post_init__(self) -> None:
        typed(self)
        for name in ("rank", "epochs", "batch_size", "sentences"):
            require(getattr(self, name) >= 1, f"{name}={getattr(self, name)}: must be at least 1")
        require(self.learning_rate > 0, f"learning_rate={self.learning_rate}: must be above 0")
        require(self.penalty >= 0, f"penalty={self.penalty}: must not be negative")


@dataclass(frozen=True, kw_only=True)
class Translation(Part):
    """How a translation model translates. `beams`: 1 is greedy. `max_tokens`: longest sentence, in subwords, on either side."""

    beams: int = 4
    max_tokens: int = 256
    precision: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        typed(self)
        for name in ("beams", "max_tokens"):
            require(getattr(self, name) >= 1, f"{name}={getattr(self, name)}: must be at least 1")
        one_of("precision", self.precision, ("fp32", "bf16"))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The trainings of a study. `pretrain` is None where the checkpoint is used as it is.

    `adapt`: how pretraining goes on for the methods "adapted-...", on the cell's languages. `fewshot`: how a model goes on
    with labeled target sentences, where the axis `shots` has any. `alpha`: a language with n labeled sentences in a
    source set is drawn with a probability in proportion to n**alpha: 1 takes each sentence once, 0 each language as often
    (Xue et al. 2021, section 3.1, pretrain with 0.3). `projection`: how translate-train and translate-test project labels;
    `projections`: how translate-train-NAME and translate-test-NAME do, by NAME. "heuristic", "ilp" and "greedy" are there
    without being named: `projection` with that matching.
    """

    finetune: Training
    distill: Distillation
    pretrain: Pretraining | None = None
    adapt: Pretraining | None = None
    fewshot: Training | None = None
    similarity: Similarity = field(default_factory=Similarity)
    alpha: float = 1.0
    translation: Translation = field(default_factory=Translation)
    projection: Projection = field(default_factory=Projection)
    projections: Mapping[str, Projection] = field(default_factory=dict)

    def __post_init__(self) -> None:
        typed(self)
        named = self.pretrain is None or bool(self.pretrain.languages)
        require(named, "pretrain.languages is empty: name those whose text is pretrained on")
        of_cells = self.adapt is None or not self.adapt.languages
        require(of_cells, "adapt.languages is not empty: the methods adapted-... take the cell's own languages")
        require(0 <= self.alpha <= 1, f"alpha={self.alpha}: is an exponent of the languages' sizes, 0 <= alpha <= 1")

    def projection_named(self, name: str) -> Projection:
        """The projection of a method's suffix, `projection` for an empty one. Raises StudyError for an unknown name."""
        if not name or name in self.projections:
            return self.projections[name] if name else self.projection
        one_of("projection", name, (*MATCHINGS, *self.projections), why=" in the methods")
        return replace(self.projection, matching=name)
