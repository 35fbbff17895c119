"""What a study is: frozen dataclasses, checked on construction. No I/O, no torch, no Ray.

`Study` is the question with its axes, `Cell` one point of its design. `Training` and its kin say how a model is
trained; the `...Recipe` classes say what each kind of step does, and hold all that decides its output and nothing
else. `Resources` and `Site` say how and where it runs: they are never part of identity.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from engine.errors import StudyError, did_you_mean
from engine.fingerprint import Part
from engine.languages import language

# Students of several teachers: how the teachers' answers are weighted (Wu et al. 2020, section 3.3), as the measure of
# a target sentence's similarity to each source, and whether its weights are its own or the mean of all sentences.
MIXTURES: dict[str, tuple[str, str] | None] = {
    "multi-teacher": None,
    "multi-teacher-lid": ("lid", "domain"),
    "multi-teacher-lid-sentence": ("lid", "sentence"),
    "multi-teacher-cosine": ("cosine", "domain"),
    "multi-teacher-l1": ("l1", "domain"),
    "multi-teacher-l2": ("l2", "domain"),
}
STUDENTS = ("teacher-student", *MIXTURES)  # the methods that read unlabeled target text
# Direct transfer from a model whose pretraining goes on first: on the text of the sources, of the target, or of both.
ADAPTED = ("adapted-sources", "adapted-target", "adapted-both")
METHODS = ("direct", *ADAPTED, *STUDENTS, "in-language")
FORMS = ("slots", "sentinel", "encoder")
TASKS = ("ner",)
FAMILIES = ("mt5", "encoder", "tiny")
POOLS = ("train", "text")
PERTURBATIONS = ("none", "names", "context", "both", "mask", "random")  # and those with a language:
SWAPS = {"places": "LOC", "given": "PER"}  # and the entity type that each is of
AXES = ("dataset", "model", "form", "methods", "sources", "targets", "volumes", "shots", "perturbations", "seeds")

# One number a kind of step. Raise it when the kind's code changes what it puts out: its steps, and all after them,
# then count as stale.
RECIPE_VERSION = {
    "pretrain": 3, "finetune": 5, "fewshot": 1, "label": 3, "similarity": 1, "distill": 5, "evaluate": 3,
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------
# How a model is trained


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
        for name in ("steps", "batch_size", "max_tokens", "similar_lengths"):
            _require(getattr(self, name) >= 1, f"{name}={getattr(self, name)}: must be at least 1")
        _require(self.learning_rate > 0, f"learning_rate={self.learning_rate}: must be above 0")
        _require(self.clip > 0, f"clip={self.clip}: must be above 0")
        _require(0 <= self.warmup < 1, f"warmup={self.warmup}: is a share of the steps, 0 <= warmup < 1")
        _require(self.freeze_layers >= 0, f"freeze_layers={self.freeze_layers}: must not be negative")
        _one_of("schedule", self.schedule, ("constant", "linear", "cosine"))
        _one_of(
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
        _one_of("objective", self.objective, ("span-corruption", "masked-lm", "denoise"))
        _require(0 < self.masked < 1, f"masked={self.masked}: is a share of the words, 0 < masked < 1")
        _require(self.sentences >= 1, f"sentences={self.sentences}: must be at least 1")
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
        _one_of("loss", self.loss, ("mse", "kl"))


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
        for name in ("rank", "epochs", "batch_size", "sentences"):
            _require(getattr(self, name) >= 1, f"{name}={getattr(self, name)}: must be at least 1")
        _require(self.learning_rate > 0, f"learning_rate={self.learning_rate}: must be above 0")
        _require(self.penalty >= 0, f"penalty={self.penalty}: must not be negative")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The trainings of a study. `pretrain` is None where the checkpoint is used as it is.

    `adapt`: how pretraining goes on for the methods "adapted-...", on the cell's languages. `fewshot`: how a model goes on
    with labeled target sentences, where the axis `shots` has any. `alpha`: a language with n labeled sentences in a
    source set is drawn with a probability in proportion to n**alpha: 1 takes each sentence once, 0 each language as often
    (Xue et al. 2021, section 3.1, pretrain with 0.3).
    """

    finetune: Training
    distill: Distillation
    pretrain: Pretraining | None = None
    adapt: Pretraining | None = None
    fewshot: Training | None = None
    similarity: Similarity = field(default_factory=Similarity)
    alpha: float = 1.0

    def __post_init__(self) -> None:
        named = self.pretrain is None or bool(self.pretrain.languages)
        _require(named, "pretrain.languages is empty: name those whose text is pretrained on")
        of_cells = self.adapt is None or not self.adapt.languages
        _require(of_cells, "adapt.languages is not empty: the methods adapted-... take the cell's own languages")
        _require(0 <= self.alpha <= 1, f"alpha={self.alpha}: is an exponent of the languages' sizes, 0 <= alpha <= 1")


# ---------------------------------------------------------------------------------------------------------------
# How and where it runs: never identity


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one training step may use. Changing any of it changes no fingerprint.

    `workers`: processes of one step; more than one go through Ray Train and DeepSpeed. `zero_stage`: DeepSpeed's ZeRO
    stage; `offload`: the optimizer's state in the host's memory, by DeepSpeed too; `gradient_checkpointing`: layers
    computed again in the backward pass instead of kept. "auto" takes the cheapest of these that fits the device's
    memory (`engine.train.memory`). `micro_batch`: most sentences of a worker's forward pass, 0 for no limit. `gpus`:
    GPUs per worker, a fraction where several cells share one; with "auto" the first steps of a kind have one each and
    tell how many share one from then on. `threads`: CPU threads per worker, 0 for this machine's cores parted among
    --jobs, and 1 without --jobs.
    """

    workers: int = 1
    zero_stage: Literal["auto", 0, 1, 2, 3] = "auto"
    offload: Literal["auto"] | bool = "auto"
    gradient_checkpointing: Literal["auto"] | bool = "auto"
    micro_batch: int = 0
    gpus: Literal["auto"] | float = 0.0
    threads: int = 0

    def __post_init__(self) -> None:
        _require(self.workers >= 1, f"workers={self.workers}: must be at least 1")
        for name in ("threads", "micro_batch"):
            _require(getattr(self, name) >= 0, f"{name}={getattr(self, name)}: must not be negative")
        _one_of("zero_stage", self.zero_stage, ("auto", 0, 1, 2, 3))
        _one_of("offload", self.offload, ("auto", False, True))
        _one_of("gradient_checkpointing", self.gradient_checkpointing, ("auto", False, True))
        _require(
            self.zero_stage != 0 or self.offload is not True,
            "zero_stage=0 with offload=True: without ZeRO nothing can be offloaded; give a stage from 1 to 3, or 'auto'",
        )
        number = not isinstance(self.gpus, str) and self.gpus >= 0
        _require(self.gpus == "auto" or number, f"gpus={self.gpus!r}: must be 'auto', 0 or more")
        _require(
            self.workers == 1 or self.gpus in ("auto", int(self.whole_gpus)),
            f"gpus={self.gpus} with workers={self.workers}: workers of one step cannot share a GPU; "
            "give each a whole one, or use one worker",
        )

    @property
    def cpus(self) -> int:
        """CPU threads per worker."""
        return self.threads or 1

    @property
    def whole_gpus(self) -> float:
        """GPUs per worker where nothing is known of what it needs."""
        return 1.0 if self.gpus == "auto" else self.gpus

    @property
    def deepspeed(self) -> bool:
        """Whether a training goes through Ray Train and DeepSpeed."""
        return self.workers > 1 or self.offload is True

    @property
    def device(self) -> str:
        """What a worker computes on, as torch names it."""
        return "cuda" if self.gpus else "cpu"


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where this run finds things. `data`: the folder given as --data. `models`: checkpoint name -> folder or hub id."""

    data: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)


# ---------------------------------------------------------------------------------------------------------------
# What each kind of step does: all that decides its output


@dataclass(frozen=True)
class Checkpoint(Part):
    """A pretrained model: its name, and the hash (local folder) or revision (hub) that fixes its weights."""

    name: str
    version: str


@dataclass(frozen=True)
class Split(Part):
    """One split of one language of a dataset, known by the hash of its content and not by its path.

    `types`: the entity types kept; `dropped`: those read as O.
    """

    dataset: str
    language: str
    split: str
    version: str
    types: tuple[str, ...]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PretrainRecipe:
    """Text of several languages -> a base model. `base`: a checkpoint, or the fingerprint of another pretrain step."""

    kind = "pretrain"
    base: Checkpoint | str
    data: tuple[Split, ...]
    training: Pretraining
    seed: int


@dataclass(frozen=True, slots=True)
class FinetuneRecipe:
    """Labeled text -> a tagger. `base`: a checkpoint, or the fingerprint of a pretrain step."""

    kind = "finetune"
    base: Checkpoint | str
    form: str
    data: tuple[Split, ...]
    alpha: float
    training: Training
    seed: int


@dataclass(frozen=True, slots=True)
class FewshotRecipe:
    """A tagger, trained from `base`, and the first `shots` sentences of a labeled split -> a tagger."""

    kind = "fewshot"
    base: Checkpoint | str
    model: str
    form: str
    data: Split
    shots: int
    training: Training
    seed: int


@dataclass(frozen=True, slots=True)
class LabelRecipe:
    """A teacher, trained from `base`, and the first `volume` sentences of a pool -> soft labels for each word."""

    kind = "label"
    base: Checkpoint | str
    teacher: str
    pool: Split
    volume: int
    max_tokens: int
    precision: str
    seed: int


@dataclass(frozen=True, slots=True)
class SimilarityRecipe:
    """Text of `sources`, and the first `volume` sentences of a pool -> each sentence's similarity to each source."""

    kind = "similarity"
    base: Checkpoint | str
    measure: str
    sources: tuple[Split, ...]
    pool: Split
    volume: int
    training: Similarity
    max_tokens: int
    precision: str
    seed: int


@dataclass(frozen=True)
class Weights(Part):
    """How several teachers are weighted.

    `similarity`: the recipe's fingerprint with volume 0, for a sentence's similarity does not depend on how many others
    are looked at with it. `level`: "domain" or "sentence".
    """

    similarity: str
    level: str


@dataclass(frozen=True, slots=True)
class DistillRecipe:
    """Soft labels of `volume` sentences -> a student. `weights`: of several teachers, None for equal ones.

    `labels`: for each teacher the fingerprint of its label recipe with volume 0. That one labels the study's largest volume
    once, and a sentence's label does not depend on how many others are labeled with it.
    """

    kind = "distill"
    base: Checkpoint | str
    labels: tuple[str, ...]
    weights: Weights | None
    form: str
    pool: Split
    volume: int
    training: Distillation
    seed: int


@dataclass(frozen=True)
class Perturbation(Part):
    """What is done to a test text (`engine.data.perturb`).

    `train`: the labeled text that the model was trained on, with `shots` above 0 so many of the target's sentences.
    `other`: where replacements are from. Both are empty where the kind does without.
    """

    kind: str
    train: tuple[Split, ...]
    shots: int
    other: tuple[Split, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class EvaluateRecipe:
    """A tagger, trained from `base`, and a labeled split -> counts per entity type and per sentence.

    Several `models` answer together, each with its weight over the first `volume` sentences of the pool, at the level
    "domain": a test sentence has the weights of its language.
    """

    kind = "evaluate"
    base: Checkpoint | str
    models: tuple[str, ...]
    weights: Weights | None
    volume: int
    data: Split
    perturbation: Perturbation | None
    max_tokens: int
    precision: str


StepRecipe = (
    PretrainRecipe | FinetuneRecipe | FewshotRecipe | LabelRecipe | SimilarityRecipe | DistillRecipe | EvaluateRecipe
)


# ---------------------------------------------------------------------------------------------------------------
# The study


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One point of a study's design; it ends as rows of the results table under these column names."""

    study: str
    task: str
    dataset: str
    model: str
    form: str
    method: str
    sources: tuple[str, ...]
    target: str
    volume: int
    seed: int
    shots: int = 0
    perturbation: str = "none"

    def __str__(self) -> str:
        volume = f" volume={self.volume}" if self.method in STUDENTS else ""
        shots = f" shots={self.shots}" if self.shots else ""
        perturbed = f" {self.perturbation}" if self.perturbation != "none" else ""
        return (
            f"{self.method} {'+'.join(self.sources)}->{self.target}{volume}{shots}{perturbed} seed={self.seed} "
            f"[{self.dataset}, {self.model}, {self.form}]"
        )


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question, its axes and its defaults.

    Each axis takes one value or several. A source set is written "eng+deu". `form` left empty means the model's own:
    slots for mT5, encoder for encoders. `recipes` maps a model's family ("mt5", "encoder", "tiny") to its trainings;
    a family left out has its own (`engine.models.recipes`).
    `volumes`: unlabeled target sentences, of students; `shots`: labeled ones, with which direct transfer goes on.
    `perturbations`: of the target's test text (`engine.data.perturb`).
    `pool`: the unlabeled text, "train" (the target's train split without its labels) or "text" (general text).
    `types`: the entity types scored; `dropped_types`: types read as O; any other is an error.

    Raises StudyError where a value is unknown, an axis is empty or holds a duplicate.
    """

    name: str
    question: str
    hypothesis: str
    dataset: tuple[str, ...]
    model: tuple[str, ...]
    sources: tuple[tuple[str, ...], ...]
    targets: tuple[str, ...]
    volumes: tuple[int, ...] = (0,)
    shots: tuple[int, ...] = (0,)
    perturbations: tuple[str, ...] = ("none",)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    methods: tuple[str, ...] = ("direct", "teacher-student", "in-language")
    form: tuple[str, ...] = ()
    task: str = "ner"
    types: tuple[str, ...] = ("LOC", "ORG", "PER")
    dropped_types: tuple[str, ...] = ("DATE", "MISC")
    pool: str = "train"
    recipes: Mapping[str, Recipe] | None = None
    resources: Resources | None = None

    def __post_init__(self) -> None:
        _require(
            re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", self.name) is not None,
            f"name={self.name!r}: a study's name is 1 to 64 letters, digits, '-' or '_' and begins with one of the "
            "first two, for it names a folder",
        )
        for axis in AXES:
            object.__setattr__(self, axis, _axis(axis, getattr(self, axis)))
        _one_of("task", self.task, TASKS)
        _one_of("pool", self.pool, POOLS)
        for method in self.methods:
            _one_of("methods", method, METHODS)
        for form in self.form:
            _one_of("form", form, FORMS)
        for perturbation in self.perturbations:
            swap, _, code = perturbation.partition(":")
            if code:
                _one_of("perturbations", swap, tuple(SWAPS), why=f" in {perturbation!r}")
                language(code)
                type_ = SWAPS[swap]
                _require(type_ in self.types, f"perturbations={perturbation!r} with types={self.types}: it swaps {type_}, which is not scored")
            else:
                _one_of("perturbations", perturbation, (*PERTURBATIONS, *(f"{swap}:CODE" for swap in SWAPS)))
        _require(bool(self.types), "types is empty: name the entity types that are scored, such as LOC, ORG and PER")
        both = ", ".join(sorted({*self.types} & {*self.dropped_types}))
        _require(not both, f"dropped_types has {both}, and so has types: a type is either scored or read as O")
        for family in self.recipes or {}:
            _one_of("recipes", family, FAMILIES)
        for code in {*self.targets, *(code for sources in self.sources for code in sources)}:
            language(code)

    def varied(self, **changes: Any) -> "Study":
        """The same study with some fields changed, checked anew."""
        return type(self)(**{f.name: getattr(self, f.name) for f in fields(self)} | changes)


def parse_axis(text: str) -> tuple[str, tuple[str, ...]]:
    """Read "AXIS=V1,V2" of the command line. Raises StudyError for an unknown axis or no value."""
    axis, _, values = text.partition("=")
    if axis not in AXES:
        raise StudyError(f"--set {text}: {axis!r} is no axis.{did_you_mean(axis, AXES)} Axes: {', '.join(AXES)}.")
    if not values:
        raise StudyError(f"--set {text}: gives the axis {axis} no value. Write --set {axis}=VALUE, several with commas between.")
    return axis, tuple(value.strip() for value in values.split(","))


def _axis(name: str, values: Any) -> tuple[Any, ...]:
    """An axis as a tuple of its values: text becomes numbers or sorted source sets where the axis has those."""
    if isinstance(values, str | int):
        values = (values,)
    values = tuple(values)
    if name in ("volumes", "shots", "seeds"):
        values = tuple(_whole_number(name, value) for value in values)
    elif name == "sources":
        values = tuple(_source_set(value) for value in values)
    else:
        _require(all(isinstance(value, str) and value for value in values), f"axis {name}={values!r}: takes names")
    _require(
        bool(values) or name == "form",
        f"axis {name} is empty, so the study has no cells. Give it at least one value.",
    )
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    _require(not twice, f"axis {name} has {', '.join(twice)} more than once. Each value makes cells of its own: list it once.")
    return values


def _source_set(value: Any) -> tuple[str, ...]:
    codes = tuple(value.split("+")) if isinstance(value, str) else tuple(value)
    _require(all(codes) and bool(codes), f"axis sources={value!r}: a source set is one or more codes, as in eng+deu")
    _require(len(set(codes)) == len(codes), f"axis sources={value!r}: a language stands twice in one source set")
    return tuple(sorted(codes))


def _whole_number(name: str, value: Any) -> int:
    try:
        number = int(str(value))
    except ValueError:
        raise StudyError(f"axis {name}={value!r}: takes whole numbers") from None
    _require(number >= 0, f"axis {name}={value!r}: must not be negative")
    return number


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise StudyError(message)


def _one_of(name: str, value: Any, choices: tuple[Any, ...], why: str = "") -> None:
    if value not in choices:
        raise StudyError(
            f"{name}={value!r}{why}: must be one of {', '.join(map(str, choices))}."
            + did_you_mean(str(value), map(str, choices))
        )
