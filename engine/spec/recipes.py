"""What each kind of step does: its recipe holds all that decides its output, and nothing else."""

from dataclasses import dataclass
from typing import ClassVar

from engine.fingerprint import Part
from engine.records import record
from engine.spec.projection import Projection
from engine.spec.training import Distillation, Pretraining, Similarity, Training, Translation

# One number a kind of step. Raise it when the kind's code changes what it puts out: its steps, and all after them,
# then count as stale.
RECIPE_VERSION = {
    "pretrain": 3, "finetune": 5, "fewshot": 1, "label": 3, "similarity": 1, "distill": 5, "evaluate": 3,
    "lm": 1, "overlap": 1, "alignment": 1, "teachers": 1,
    "translate": 1, "project": 1, "score": 1,
}  # fmt: skip
OBJECTIVE_VERSION = {"span-corruption": 1}  # added to the version of the steps that go by this objective


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
    task: ClassVar[str] = "ner"


@dataclass(frozen=True)
class TaskSplit(Split):
    """One split of a dataset of another task than NER, which has no entity types."""

    task: str = "nli"


@record()
class PretrainRecipe:
    """Text of several languages -> a base model. `base`: a checkpoint, or the fingerprint of another pretrain step."""

    kind = "pretrain"
    base: Checkpoint | str
    data: tuple[Split, ...]
    training: Pretraining
    seed: int


@dataclass(frozen=True)
class Projected(Part):
    """The first `volume` of the sentences that some project steps, known by their fingerprints, have labeled."""

    steps: tuple[str, ...]
    volume: int
    types: tuple[str, ...]
    task: ClassVar[str] = "ner"


@record()
class FinetuneRecipe:
    """Labeled text -> a tagger. `base`: a checkpoint, or the fingerprint of a pretrain step."""

    kind = "finetune"
    base: Checkpoint | str
    form: str
    data: tuple[Split, ...] | Projected
    alpha: float
    training: Training
    seed: int


@record()
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


@record()
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


@record()
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


@record()
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


@dataclass(frozen=True)
class Taken(Part):
    """The first `volume` sentences of a pool, or all that it has."""

    pool: Split
    volume: int


@dataclass(frozen=True)
class TranslatedText(Part):
    """The first `volume` of what some translate steps, known by their fingerprints, have written."""

    steps: tuple[str, ...]
    volume: int


@dataclass(frozen=True)
class TextPerturbation(Perturbation):
    """A perturbation that goes by words and letters as Unicode has them, or for a model that read more than labeled text.

    `read`: that text. A class of its own, so that the steps of the other perturbations are the same as ever.
    """

    read: tuple[Taken | TranslatedText, ...]


@record()
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


@record()
class LanguageModelRecipe:
    """At most `sentences` of a pool -> how well the base, before any fine-tuning, fills in what its own objective masks."""

    kind = "lm"
    base: Checkpoint | str
    objective: str
    pool: Split
    sentences: int
    masked: float
    max_tokens: int
    precision: str
    seed: int


@record()
class OverlapRecipe:
    """Two languages' unlabeled text, at most `sentences` of each, and labeled text -> what they share.

    `base`: whose tokenizer it is. `source`, `target`: pools. `train`, `test`: the source's and the target's labeled split.
    """

    kind = "overlap"
    base: Checkpoint | str
    source: Split
    target: Split
    train: Split
    test: Split
    sentences: int
    seed: int


@record()
class AlignmentRecipe:
    """At most `sentences` of two languages' parallel text -> how alike the base embeds them.

    `corpus`: "sandbox", or "parallel" for those of a data folder; `version`: what fixes its content.
    """

    kind = "alignment"
    base: Checkpoint | str
    corpus: str
    version: str
    source: str
    target: str
    sentences: int
    max_tokens: int
    precision: str
    seed: int


@record()
class TeachersRecipe:
    """Soft labels of `volume` sentences, by label recipe with volume 0 -> how sure the teachers are, and how far they agree."""

    kind = "teachers"
    labels: tuple[str, ...]
    volume: int


@record()
class TranslateRecipe:
    """A labeled split, or a parallel corpus's side of one language -> its sentences with their translations into `target`.

    `translator`: "sandbox", "parallel..." with the hash of the corpus, or a translation model, which `settings` are for.
    `held_out`: of a corpus's own sentences, the split of `target` that they may not have, with dev's; its version is both's.
    """

    kind = "translate"
    translator: Checkpoint
    data: Split
    target: str
    settings: Translation | None
    held_out: Split | None


@record()
class ProjectRecipe:
    """Sentences with translations -> the translations, or `backwards` the originals, labeled.

    `translations`: the fingerprint of their step. `predicted`: the labels are not the sentences' own, but what `model`,
    a tagger trained from `base`, gives them. `aligner`: the encoder that aligns words; the projection itself names none, for
    a folder's path is not what decides. All three are None where nothing asks them.
    """

    kind = "project"
    base: Checkpoint | str | None
    translations: str
    backwards: bool
    predicted: bool
    model: str | None
    aligner: Checkpoint | str | None
    projection: Projection
    max_tokens: int
    precision: str


@record()
class ScoreRecipe:
    """A labeled split, and the tags that a project step gave its sentences -> counts, as an evaluation's."""

    kind = "score"
    projected: str
    data: Split


def recipe_version(recipe: "StepRecipe") -> int:
    """The version of what a recipe's step puts out: its kind's, and its objective's where it has one."""
    objective = recipe.training.objective if recipe.kind == "pretrain" else recipe.objective if recipe.kind == "lm" else ""
    return RECIPE_VERSION[recipe.kind] + OBJECTIVE_VERSION.get(objective, 0)


StepRecipe = (
    PretrainRecipe | FinetuneRecipe | FewshotRecipe | LabelRecipe | SimilarityRecipe | DistillRecipe | EvaluateRecipe
    | LanguageModelRecipe | OverlapRecipe | AlignmentRecipe | TeachersRecipe
    | TranslateRecipe | ProjectRecipe | ScoreRecipe
)  # fmt: skip
