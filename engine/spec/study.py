"""A study: the question with its axes, and `Cell`, one point of its design."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from engine.errors import StudyError, did_you_mean
from engine.languages import language
from engine.records import record
from engine.spec.checks import LARGEST, one_of, require, typed
from engine.spec.site import Resources
from engine.spec.training import Recipe

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
# By translation: of labeled source text to train on, or of the test text. Each alone, or followed by a projection's name.
PROTOCOLS = ("translate-train", "translate-test")
METHODS = ("direct", *ADAPTED, *STUDENTS, *PROTOCOLS, "in-language")
FORMS = ("slots", "sentinel", "spans", "encoder", "text")
WRITTEN = ("spans", "text")  # forms whose answer is text, and no distribution that a student could learn from
TASKS = ("ner", "nli", "qa")
FORMS_OF = {"ner": ("slots", "sentinel", "spans", "encoder"), "nli": ("slots", "encoder"), "qa": ("text",)}
METHODS_OF = {"ner": METHODS, "nli": ("direct", "teacher-student", "multi-teacher", "in-language"), "qa": ("direct", "in-language")}
SCORE_OF = {"ner": "span F1", "nli": "accuracy", "qa": "F1"}  # what the table calls f1
FAMILIES = ("mt5", "encoder", "tiny")
POOLS = ("train", "text")
PERTURBATIONS = ("none", "names", "context", "both", "mask", "random")  # and those with a language:
SWAPS = {"places": "LOC", "given": "PER"}  # and the entity type that each is of
# Measures on languages, which become columns (docs/methods.md); "all" is those of them that the data and methods allow.
MEASURES = ("lm", "overlap", "alignment", "identity", "teachers")
AXES = ("dataset", "model", "form", "methods", "sources", "targets", "volumes", "shots", "perturbations", "seeds")


@record(kw_only=True)
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
        volume = f" volume={self.volume}" if takes_volume(self.method) else ""
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
    `volumes`: unlabeled target sentences, of students, or translated ones, of translate-train; `shots`: labeled ones, with which direct transfer goes on.
    `perturbations`: of the target's test text (`engine.data.perturb`).
    `translator`: of translate-train and translate-test: "sandbox", its exact translations; "parallel" or "parallel:NAME", look-up
    in the parallel corpora of --data; or a translation model (NLLB), a folder or a hub id.
    `pool`: the unlabeled text, "train" (the target's train split without its labels) or "text" (general text).
    `measures`: on the languages, of MEASURES, or "all".
    `types`: the entity types scored; `dropped_types`: types read as O; any other is an error.
    `task`: "ner", "nli" (pairs of sentences, three labels) or "qa" (questions, answered from a context); `FORMS_OF` and
    `METHODS_OF` say what serves each.

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
    measures: tuple[str, ...] = ()
    translator: str = "sandbox"
    recipes: Mapping[str, Recipe] | None = None
    resources: Resources | None = None

    def __post_init__(self) -> None:
        typed(self)
        require(
            re.fullmatch(r"(?!(?:con|prn|aux|nul|com\d|lpt\d)$)[A-Za-z0-9][A-Za-z0-9_-]{0,63}", self.name, re.IGNORECASE) is not None,
            f"name={self.name!r}: a study's name is 1 to 64 letters, digits, '-' or '_', begins with one of the "
            "first two, and is no device's (con, nul, ...), for it names a folder",
        )
        for axis in AXES:
            object.__setattr__(self, axis, _axis(axis, getattr(self, axis)))
        one_of("task", self.task, TASKS)
        one_of("pool", self.pool, POOLS)
        for method in self.methods:
            known = protocol(method)[0] or method
            one_of("methods", known, METHODS)
            one_of("methods", known, METHODS_OF[self.task], why=f" with task={self.task}")
        for form in self.form:
            one_of("form", form, FORMS)
            one_of("form", form, FORMS_OF[self.task], why=f" with task={self.task}")
        for names in ("measures", "types", "dropped_types"):
            object.__setattr__(self, names, _axis(names, getattr(self, names)))
        for measure in self.measures:
            one_of("measures", measure, (*MEASURES, "all"))
        require("all" not in self.measures or len(self.measures) == 1, f"measures={self.measures}: 'all' stands alone")
        if self.task != "ner":
            require(not self.measures, f"measures={','.join(self.measures)} with task={self.task}: they are of NER alone. Leave them out")
            one_of("pool", self.pool, ("train",), why=f" with task={self.task}")
            for perturbation in self.perturbations:
                one_of("perturbations", perturbation, ("none",), why=f" with task={self.task}")
        for perturbation in self.perturbations:
            swap, _, code = perturbation.partition(":")
            if code:
                one_of("perturbations", swap, tuple(SWAPS), why=f" in {perturbation!r}")
                language(code)
                type_ = SWAPS[swap]
                require(type_ in self.types, f"perturbations={perturbation!r} with types={self.types}: it swaps {type_}, which is not scored")
            else:
                one_of("perturbations", perturbation, (*PERTURBATIONS, *(f"{swap}:CODE" for swap in SWAPS)))
        require(bool(self.types), "types is empty: name the entity types that are scored, such as LOC, ORG and PER")
        both = ", ".join(sorted({*self.types} & {*self.dropped_types}))
        require(not both, f"dropped_types has {both}, and so has types: a type is either scored or read as O")
        recipes = self.recipes or {}
        require(isinstance(recipes, Mapping), f"recipes={recipes!r}: maps a model's family ({', '.join(FAMILIES)}) to its Recipe")
        for family, recipe in recipes.items():
            one_of("recipes", family, FAMILIES)
            require(isinstance(recipe, Recipe), f"recipes[{family!r}]={recipe!r}: must be a Recipe")
        require(self.resources is None or isinstance(self.resources, Resources), f"resources={self.resources!r}: must be Resources")
        for code in {*self.targets, *(code for sources in self.sources for code in sources)}:
            language(code)

    @property
    def checkpoints(self) -> set[str]:
        """The folders and hub ids that it names: its models, translator and aligners."""
        projections = [each for recipe in (self.recipes or {}).values() for each in (recipe.projection, *recipe.projections.values())]
        return {*self.model, self.translator, *(each.alignment.checkpoint for each in projections)} - {""}

    def varied(self, **changes: Any) -> "Study":
        """The same study with some fields changed, checked anew."""
        return type(self)(**{f.name: getattr(self, f.name) for f in fields(self)} | changes)


def protocol(method: str) -> tuple[str, str]:
    """The protocol of a method by translation and the name of its projection: both empty for another method."""
    for name in PROTOCOLS:
        if method == name or method.startswith(f"{name}-"):
            return name, method[len(name) + 1 :]
    return "", ""


def takes_volume(method: str) -> bool:
    """Whether a method trains on so much text of the target: unlabeled, or translated into it."""
    return method in STUDENTS or protocol(method)[0] == "translate-train"


def parse_axis(text: str) -> tuple[str, tuple[str, ...]]:
    """Read "AXIS=V1,V2" of the command line. Raises StudyError for an unknown axis or no value."""
    axis, _, values = text.partition("=")
    known = (*AXES, "measures")  # which makes no cells, and is worth setting all the same
    if axis not in known:
        raise StudyError(f"--set {text}: {axis!r} is no axis.{did_you_mean(axis, known)} Axes: {', '.join(known)}.")
    if not values:
        raise StudyError(f"--set {text}: gives the axis {axis} no value. Write --set {axis}=VALUE, several with commas between.")
    return axis, tuple(value.strip() for value in values.split(","))


def _axis(name: str, values: Any) -> tuple[Any, ...]:
    """An axis as a tuple of its values: text becomes numbers or sorted source sets where the axis has those."""
    if isinstance(values, str | int):
        values = (values,)
    require(
        isinstance(values, Iterable) and not isinstance(values, bytes | Mapping),
        f"axis {name}={values!r}: takes one value or several, as in {name}=(A, B)",
    )
    values = tuple(values)
    if name in ("volumes", "shots", "seeds"):
        values = tuple(_whole_number(name, value) for value in values)
    elif name == "sources":
        values = tuple(_source_set(value) for value in values)
    else:
        require(all(isinstance(value, str) and value for value in values), f"axis {name}={values!r}: takes names")
    require(
        bool(values) or name in ("form", "measures", "types", "dropped_types"),
        f"axis {name} is empty, so the study has no cells. Give it at least one value.",
    )
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    require(not twice, f"axis {name} has {', '.join(twice)} more than once. Each value makes cells of its own: list it once.")
    return values


def _source_set(value: Any) -> tuple[str, ...]:
    codes = tuple(value.split("+")) if isinstance(value, str) else tuple(value) if isinstance(value, tuple | list) else ()
    require(bool(codes) and all(isinstance(code, str) and code for code in codes), f"axis sources={value!r}: a source set is one or more codes, as in eng+deu")
    require(len(set(codes)) == len(codes), f"axis sources={value!r}: a language stands twice in one source set")
    return tuple(sorted(codes))


def _whole_number(name: str, value: Any) -> int:
    try:
        number = int(str(value))
    except ValueError:
        raise StudyError(f"axis {name}={value!r}: takes whole numbers") from None
    require(0 <= number <= LARGEST, f"axis {name}={value!r}: must be from 0 to {LARGEST}")
    return number
