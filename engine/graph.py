"""A study's cells as work: the steps that they need. Cells share steps: equal recipes are one step.

Pure: reads the versions of data and models, trains nothing, knows no store. The plan (`engine.plan`) takes away what
the store has.
"""
import gc
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from engine.cells import expand
from engine.data.corpora import pool_size, pool_version
from engine.data.example_corpora import open_task_dataset, pool_examples
from engine.data.union import Union, open_union
from engine.errors import DataError, StudyError
from engine.fingerprint import fingerprint
from engine.measures import Measures
from engine.models import recipes
from engine.models.sizes import TINY_CHECKPOINT, checkpoint, describe, short_name
from engine.spec import (
    ADAPTED,
    MIXTURES,
    RECIPE_VERSION,
    STUDENTS,
    Cell,
    Checkpoint,
    DistillRecipe,
    EvaluateRecipe,
    FewshotRecipe,
    FinetuneRecipe,
    LabelRecipe,
    Perturbation,
    PretrainRecipe,
    Recipe,
    SimilarityRecipe,
    Split,
    StepRecipe,
    Study,
    TaskSplit,
    Weights,
    protocol,
    takes_volume,
)
from engine.store import slug
from engine.translated import Translations

Base = tuple[Checkpoint | str, tuple[tuple[str, str], ...]]  # what a training starts from, and the need of it
PRETRAIN_SEED = 0  # one base model for all seeds, as one downloaded checkpoint would be


@dataclass(frozen=True, eq=False, slots=True)  # a graph has each once, and to compare recipes field by field takes long
class Step:
    """One piece of work. `needs`: role -> the artifact that must be there first and fills the role."""

    recipe: StepRecipe
    fingerprint: str
    artifact: str
    needs: tuple[tuple[str, str], ...]
    about: str  # the readable part of the artifact's name
    model: str  # as the study names it: what the estimate of cost asks about

    @classmethod
    def of(cls, recipe: StepRecipe, about: str, needs: tuple[tuple[str, str], ...], model: str) -> "Step":
        """The step of a recipe."""
        stamp = fingerprint([recipe.kind, RECIPE_VERSION[recipe.kind], recipe])
        return cls(recipe, stamp, f"{recipe.kind}-{slug(about)}-{stamp}", needs, about, model)

    @property
    def kind(self) -> str:
        return self.recipe.kind


@dataclass(frozen=True, eq=False, slots=True)
class CellWork:
    """A cell and the artifacts that its rows are made of.

    `trained`: the finetune, fewshot or distill step that was scored. `scored`: its evaluation on the target. `teacher`: its
    teacher's on the same split. `on_sources`: the transferring model's on its sources' test splits. `measures`: those of its
    languages, each with its role (`engine.measures`).
    """

    cell: Cell
    trained: str
    scored: str
    teacher: str | None
    on_sources: tuple[str, ...]
    train_data: tuple[str, ...]
    pool_data: str | None
    test_data: str
    measures: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """Stands for the cell, whatever its recipe."""
        return fingerprint(self.cell)

    @property
    def fingerprint(self) -> str:
        """Stands for all that decides the cell's rows."""
        names = (self.scored, self.teacher or "", *self.on_sources, *(name for _, name in self.measures))
        return fingerprint([name.rpartition("-")[2] for name in names])

    @property
    def artifacts(self) -> tuple[str, ...]:
        measures = tuple([name for _, name in self.measures])
        return (self.trained, self.scored, *((self.teacher,) if self.teacher else ()), *self.on_sources, *measures)

    @property
    def about(self) -> str:
        cell = self.cell
        volume = str(cell.volume) if takes_volume(cell.method) else ""
        shots = f"{cell.shots}shots" if cell.shots else ""
        perturbed = cell.perturbation if cell.perturbation != "none" else ""
        return slug(cell.method, "+".join(cell.sources), cell.target, volume, shots, perturbed, f"s{cell.seed}")


@dataclass
class Graph:
    """All steps of a study by artifact name, each after those it needs, and its cells."""

    steps: dict[str, Step] = field(default_factory=dict)
    cells: list[CellWork] = field(default_factory=list)

    def missing(self, artifacts: tuple[str, ...], there: AbstractSet[str]) -> dict[str, None]:
        """Those of the artifacts, and of all that they need, which are not `there`.

        What only made something that is there is not needed again.
        """
        found: dict[str, None] = {}
        waiting = list(artifacts)
        for name in waiting:  # grows
            if name not in found and name not in there:
                found[name] = None
                waiting += [need for _, need in self.steps[name].needs]
        return found


@contextmanager
def without_collection() -> Iterator[None]:
    """Make many objects that all stay: Python would look through them again and again, a quarter of the time, for garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@without_collection()
def compile_study(study: Study, data: str | None) -> Graph:
    """Return the steps and cells of a study on the data of the folder `data`.

    Every split that the study uses is read and checked here. Raises StudyError, DataError or ModelError where the study
    cannot be run: an unknown dataset or split, a malformed file, a volume larger than the pool.
    """
    models = {short_name(model): model for model in study.model}
    if len(models) < len(study.model):
        raise StudyError(
            f"axis model={','.join(study.model)}: two have the same name in the results table, which shows a folder's "
            "own name and a hub id without its revision. Rename a folder, or study one revision at a time."
        )
    graph = Graph()
    cells = expand(study)
    compilers = {
        (name, model): _Compiler(study, graph, *_open(study, name, data), path, data)
        for name in study.dataset
        for model, path in models.items()
    }
    for cell in cells:
        compilers[cell.dataset, cell.model].add(cell)
    return graph


def _open(study: Study, name: str, data: str | None) -> tuple[Union, Union | None]:
    """What is labeled for the study's task, and where plain text comes from, if it comes from anywhere."""
    if study.task == "ner":
        return (union := open_union(name, data, study.types, study.dropped_types)), union
    text = open_union(name, data, (), ()) if name == "sandbox" else None
    return Union(name, (open_task_dataset(study.task, name, data),)), text


class _Compiler:
    """Adds the steps of cells to a graph: of those on one dataset and model, whose files it reads once."""

    def __init__(
        self, study: Study, graph: Graph, union: Union, text: Union | None, model: str, data: str | None
    ) -> None:
        self.study, self.graph, self.union, self.text, self.model = study, graph, union, text, model
        self.name = short_name(model)
        self.checkpoint = checkpoint(model)
        self.recipe: Recipe = (recipes.OF_TASK[study.task] | dict(study.recipes or {}))[describe(model).family]
        if self.checkpoint == TINY_CHECKPOINT and union.name != "sandbox":
            raise StudyError(
                f"model=tiny with dataset={union.name}: the tiny model is made from the sandbox's text and reads nothing "
                "else. Name a pretrained model: --set model=FOLDER, or a hub id."
            )
        if self.checkpoint == TINY_CHECKPOINT and self.recipe.pretrain is None:
            raise StudyError("model=tiny with a recipe without `pretrain`: the tiny model is made by that step. Give one.")
        # What cells share is made once; a study of 100,000 cells asks for it that often.
        for name in ("_base", "_adapted", "_teacher", "_evaluate", "_labels", "_compare", "_split", "_perturbation", "_pool", "_train_data",
                     "_any_volume"):  # fmt: skip
            setattr(self, name, cache(getattr(self, name)))
        self.measures = Measures(
            study, self.recipe, describe(model).family, self.name, data, union.serving, self._base, self._pool, self._split, self._step,
        )  # fmt: skip
        self.translations = Translations(study, self.recipe, model, data, union.serving, self._step, self._split, self._base)

    def add(self, cell: Cell) -> None:
        measured = self.measures.of(cell) if self.study.measures else []  # before the training, so that rows wait for nothing
        sets = [(code,) for code in cell.sources] if cell.method in MIXTURES else [cell.sources]
        base = self._adapted(cell.method, cell.sources, cell.target, cell.seed) if cell.method in ADAPTED else None
        teachers = [self._teacher(cell.form, sources, cell.seed, base) for sources in sets]
        on_sources = tuple([self._evaluate(teacher, code).artifact for teacher, codes in zip(teachers, sets, strict=True) for code in codes])
        labeled = cell.sources if not cell.shots else (*cell.sources, cell.target)
        perturbation = self._perturbation(cell.perturbation, labeled, cell.shots, cell.target, cell.seed)
        by_translation, _ = protocol(cell.method)
        if by_translation:
            on_teacher = self._evaluate(teachers[0], cell.target, perturbation).artifact
            trained, pool_data = teachers[0], None
            if by_translation == "translate-train":
                trained, pool_data = self.translations.student(cell, teachers[0])
        elif cell.method in STUDENTS:
            similarity = self._similarity(cell)
            on_teacher = self._evaluate_together(cell, teachers, similarity, perturbation).artifact
            labels = [self._labels(teacher, codes, cell.target, cell.seed) for teacher, codes in zip(teachers, sets, strict=True)]
            trained, pool_data = self._student(cell, labels, similarity)
            if self.study.measures:
                measured += self.measures.of_teachers(cell, labels, tuple(map(self._any_volume, labels)))
        else:
            (trained,), on_teacher, pool_data = teachers, None, self._adapted_data(cell)
            trained = self._fewshot(trained, cell) if cell.shots else trained
        if by_translation == "translate-test":
            scored = self.translations.scored_test(cell, trained)
        else:
            scored = self._evaluate(trained, cell.target, perturbation)
        self.graph.cells.append(CellWork(
            cell, trained.artifact, scored.artifact, on_teacher, on_sources, self._train_data(labeled), pool_data,
            _content(self._split(cell.target, "test")), tuple((role, step.artifact) for role, step in measured),
        ))  # fmt: skip

    def _base(self) -> Base:
        if self.recipe.pretrain is None:
            return self.checkpoint, ()
        data = tuple(self._pool(code, "text", 0) for code in self.recipe.pretrain.languages)
        recipe = PretrainRecipe(self.checkpoint, data, self.recipe.pretrain, PRETRAIN_SEED)
        step = self._step(recipe, self.name, ())
        return step.fingerprint, (("base", step.artifact),)

    def _adapted(self, method: str, sources: tuple[str, ...], target: str, seed: int) -> Base:
        """The base after its pretraining went on, on text of the cell's languages."""
        training = self._of_recipe("adapt", method)
        (base, needs), codes = self._base(), _adapted_to(method, sources, target)
        data = tuple(self._pool(code, self.study.pool, 0) for code in codes)
        step = self._step(PretrainRecipe(base, data, training, seed), f"{self.name}-{'+'.join(codes)}-s{seed}", needs)
        return step.fingerprint, (("base", step.artifact),)

    def _adapted_data(self, cell: Cell) -> str | None:
        if cell.method not in ADAPTED:
            return None
        codes = _adapted_to(cell.method, cell.sources, cell.target)
        return " ".join(_content(self._pool(code, self.study.pool, 0)) for code in codes)

    def _fewshot(self, model: Step, cell: Cell) -> Step:
        """The step that goes on with labeled sentences of the target."""
        training, train = self._of_recipe("fewshot", f"shots={cell.shots}"), self._split(cell.target, "train")
        size = (dataset := self.union.serving(cell.target)).size(cell.target, "train")
        if size is not None and cell.shots > size:
            raise DataError(
                f"shots={cell.shots}: {dataset.name} {cell.target} train has {size} sentences. Lower the number."
            )
        (base, base_needs) = _base_of(model)
        recipe = FewshotRecipe(base, model.fingerprint, cell.form, train, cell.shots, training, cell.seed)
        needs = (*_roles("model", [model]), *base_needs)
        return self._step(recipe, f"{model.about}-{cell.target}-{cell.shots}", needs)

    def _of_recipe(self, name: str, for_what: str) -> Any:
        """A training that a recipe may leave out."""
        training = getattr(self.recipe, name)
        if training is None:
            family = describe(self.model).family
            raise StudyError(
                f"{for_what} with model={self.model}: the study's recipe of the family {family!r} has no `{name}`. Give one: "
                f"recipes={{{family!r}: Recipe(..., {name}=...)}}."
            )
        return training

    def _teacher(self, form: str, sources: tuple[str, ...], seed: int, base: Base | None = None) -> Step:
        base, needs = base or self._base()
        train = tuple(self._split(code, "train") for code in sources)
        alpha = self.recipe.alpha if len(sources) > 1 else 1.0
        recipe = FinetuneRecipe(base, form, train, alpha, self.recipe.finetune, seed)
        return self._step(recipe, f"{self.name}-{'+'.join(sources)}-s{seed}", needs)

    def _student(self, cell: Cell, labels: Sequence[Step], similarity: Step | None) -> tuple[Step, str]:
        """The step that distills the cell's student of these labels, and what stands for its pool."""
        base, base_needs = self._base()
        pool = self._students_pool(cell.target)
        distill = DistillRecipe(
            base, tuple(map(self._any_volume, labels)), self._weights(cell, similarity), cell.form, pool, cell.volume, self.recipe.distill, cell.seed
        )
        needs = (*_roles("labels", labels), *_need_of(similarity), *base_needs)
        return self._step(distill, self._about_student(cell, cell.volume), needs), _content(pool)

    def _similarity(self, cell: Cell) -> Step | None:
        """The step that compares the target with each source, for the cells whose teachers are weighted by it."""
        if MIXTURES.get(cell.method) is None:
            return None
        return self._compare(MIXTURES[cell.method][0], cell.sources, cell.target, cell.seed)

    def _compare(self, measure: str, sources: tuple[str, ...], target: str, seed: int) -> Step:
        (base, base_needs), training, volume = self._base(), self.recipe.distill, max(self.study.volumes)
        recipe = SimilarityRecipe(
            base, measure, tuple(self._pool(code, self.study.pool, 0) for code in sources),
            self._pool(target, self.study.pool, volume), volume, self.recipe.similarity, training.max_tokens,
            training.precision, seed,
        )  # fmt: skip
        return self._step(recipe, f"{self.name}-{measure}-{'+'.join(sources)}-{target}-{volume}-s{seed}", base_needs)

    def _labels(self, teacher: Step, sources: tuple[str, ...], target: str, seed: int) -> Step:
        volume = max(self.study.volumes)
        pool = self._students_pool(target)
        (base, base_needs), training = self._base(), self.recipe.distill
        recipe = LabelRecipe(base, teacher.fingerprint, pool, volume, training.max_tokens, training.precision, seed)
        needs = (("teacher", teacher.artifact), *base_needs)
        return self._step(recipe, f"{self.name}-{'+'.join(sources)}-{target}-{volume}-s{seed}", needs)

    def _about_student(self, cell: Cell, volume: int) -> str:
        mixture = cell.method if cell.method in MIXTURES else ""
        return slug(self.name, mixture, "+".join(cell.sources), cell.target, str(volume), f"s{cell.seed}")

    def _perturbation(
        self, kind: str, labeled: tuple[str, ...], shots: int, target: str, seed: int
    ) -> Perturbation | None:
        """What is done to the target's test text for a model of these languages' labels."""
        code = kind.partition(":")[2]
        if kind in ("none", "mask", "random"):
            return None if kind == "none" else Perturbation(kind, (), 0, (), seed)
        if code:
            return Perturbation(kind, (), 0, (self._split(code, "train"),), seed)
        # Names and words of dev are new to every method; those of train are not to in-language training and to students.
        train = tuple(self._split(source, "train") for source in labeled)
        return Perturbation(kind, train, shots, (self._split(target, "dev"),), seed)

    def _evaluate(self, model: Step, language: str, perturbation: Perturbation | None = None) -> Step:
        """The evaluation of a model on the language's test split."""
        (base, base_needs), training, test = _base_of(model), self.recipe.finetune, self._split(language, "test")
        recipe = EvaluateRecipe(base, (model.fingerprint,), None, 0, test, perturbation, training.max_tokens, training.precision)
        needs = (*_roles("model", [model]), *base_needs)
        return self._step(recipe, f"{model.kind}-{model.about}-on-{language}", needs)

    def _evaluate_together(
        self, cell: Cell, teachers: Sequence[Step], similarity: Step | None, perturbation: Perturbation | None
    ) -> Step:
        """The evaluation on the target's test split of what a student learns from: one teacher, or the mixture."""
        if len(teachers) == 1:
            return self._evaluate(teachers[0], cell.target, perturbation)
        (base, base_needs), training, test = self._base(), self.recipe.finetune, self._split(cell.target, "test")
        volume = cell.volume if similarity else 0
        # Of either level by the weights of the language, so that the gain is over one teacher.
        weights = replace(self._weights(cell, similarity), level="domain") if similarity else None
        recipe = EvaluateRecipe(
            base, tuple(teacher.fingerprint for teacher in teachers), weights, volume, test, perturbation, training.max_tokens,
            training.precision,
        )  # fmt: skip
        needs = (*_roles("model", teachers), *_need_of(similarity), *base_needs)
        return self._step(recipe, f"teachers-{self._about_student(cell, volume)}", needs)

    def _weights(self, cell: Cell, similarity: Step | None) -> Weights | None:
        return None if similarity is None else Weights(self._any_volume(similarity), MIXTURES[cell.method][1])

    def _any_volume(self, step: Step) -> str:
        """Stands for a step that goes through a pool, however much of it."""
        recipe = replace(step.recipe, volume=0)
        return fingerprint([recipe.kind, RECIPE_VERSION[recipe.kind], recipe])

    def _step(self, recipe: StepRecipe, about: str, needs: tuple[tuple[str, str], ...]) -> Step:
        step = Step.of(recipe, about, needs, self.model)
        return self.graph.steps.setdefault(step.artifact, step)

    def _split(self, language: str, split: str) -> Split:
        """A labeled split, read whole and checked."""
        dataset = self.union.serving(language)
        dataset.size(language, split)
        if self.study.task != "ner":
            return TaskSplit(dataset.name, language, split, dataset.version(language, split), (), task=self.study.task)
        types, dropped = tuple(sorted(self.study.types)), tuple(sorted(self.study.dropped_types))
        return Split(dataset.name, language, split, dataset.version(language, split), types, dropped)

    def _train_data(self, sources: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_content(self._split(code, "train")) for code in sources)

    def _students_pool(self, language: str) -> Split:
        """What a student of the study's largest volume reads. Of pairs it is the train split without its labels."""
        split, volume = self.study.pool, max(self.study.volumes)
        if self.study.task == "ner":
            return self._pool(language, split, volume)
        dataset = self.union.serving(language)
        size = None if dataset.size(language, split) is None else len(pool_examples(dataset, language, split))
        _require_volume(volume, size, f"{dataset.name} {language} {split}")
        return TaskSplit(dataset.name, language, split, pool_version(dataset, language, split), (), task=self.study.task)

    def _pool(self, language: str, split: str, volume: int) -> Split:
        """An unlabeled pool, read whole and checked, of at least `volume` sentences. Its tags are not part of it."""
        if self.text is None:
            raise StudyError(f"dataset={self.union.name} with task={self.study.task} has no unlabeled text, which `pretrain` needs.")
        dataset = self.text.serving(language)
        _require_volume(volume, pool_size(dataset, language, split), f"{dataset.name} {language} {split}")
        return Split(dataset.name, language, split, pool_version(dataset, language, split), ())


def _require_volume(volume: int, size: int | None, pool: str) -> None:
    if size is not None and volume > size:
        raise DataError(
            f"volume {volume} is larger than the pool: {pool} has {size} sentences (those of dev and test left out). Lower "
            "the volume, or use pool='text' in the study."
        )


def _adapted_to(method: str, sources: tuple[str, ...], target: str) -> tuple[str, ...]:
    """Whose text a method's pretraining goes on with."""
    both = tuple(sorted((*sources, target)))
    return {"adapted-sources": sources, "adapted-target": (target,), "adapted-both": both}[method]


def _base_of(model: Step) -> Base:
    """What a model was trained from, and how a step that loads it needs it."""
    return model.recipe.base, tuple(need for need in model.needs if need[0] == "base")


def _roles(role: str, steps: Sequence[Step]) -> tuple[tuple[str, str], ...]:
    """Needs that fill one role together: "labels 0", "labels 1", ..."""
    return tuple((f"{role} {number}", step.artifact) for number, step in enumerate(steps))


def _need_of(similarity: Step | None) -> tuple[tuple[str, str], ...]:
    return (("similarity", similarity.artifact),) if similarity else ()


def _content(split: Split) -> str:
    """Stands for a split's sentences: a version alone may be that of all languages of a dataset."""
    return f"{split.language} {split.version}"
