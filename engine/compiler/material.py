"""What the cells on one dataset and model share: its splits and pools, read and checked once, its base, and the steps made."""

from functools import cache
from typing import Any

from engine.data.corpora import Dataset, pool_size, pool_version
from engine.data.example_corpora import open_task_dataset, pool_examples
from engine.data.union import Union, open_union
from engine.errors import DataError, StudyError
from engine.graph import Base, Graph, Needs, Step
from engine.models import recipes
from engine.models.sizes import TINY_CHECKPOINT, checkpoint, describe, short_name
from engine.spec import PretrainRecipe, Recipe, Split, StepRecipe, Study, TaskSplit

PRETRAIN_SEED = 0  # one base model for all seeds, as one downloaded checkpoint would be


class Material:
    """One dataset and model of a study. `data`: the folder given as --data. Steps go into `graph`.

    Raises StudyError, DataError or ModelError where they cannot be read or do not go together.
    """

    def __init__(self, study: Study, graph: Graph, dataset: str, model: str, data: str | None) -> None:
        self.study, self.graph, self.model, self.data = study, graph, model, data
        self.dataset, self._text = open_labeled(study, dataset, data)
        self.name, self.size = short_name(model), describe(model)
        self.family = self.size.family
        self.checkpoint = checkpoint(model)
        self.recipe: Recipe = (recipes.OF_TASK[study.task] | dict(study.recipes or {}))[self.family]
        self._check_tiny()
        self._check_lengths()
        for name in ("base", "split", "pool", "students_pool"):  # once for all cells, of which there may be 100,000
            setattr(self, name, cache(getattr(self, name)))

    def _check_tiny(self) -> None:
        if self.checkpoint != TINY_CHECKPOINT:
            return
        if self.dataset.name != "sandbox":
            raise StudyError(
                f"model=tiny with dataset={self.dataset.name}: the tiny model is made from the sandbox's text and reads nothing "
                "else. Name a pretrained model: --set model=FOLDER, or a hub id."
            )
        if self.recipe.pretrain is None:
            raise StudyError("model=tiny with a recipe without `pretrain`: the tiny model is made by that step. Give one.")

    def _check_lengths(self) -> None:
        positions = self.size.positions
        for name in ("finetune", "distill", "adapt", "fewshot"):
            training = getattr(self.recipe, name)
            if positions and training and training.max_tokens > positions:
                raise StudyError(
                    f"max_tokens={training.max_tokens} in `{name}` with model={self.model}: it has places for {positions} "
                    f"subwords. Give the recipe of the family {self.family!r} at most so many."
                )

    def serving(self, language: str) -> Dataset:
        """The dataset that the language's labeled text is from."""
        return self.dataset.serving(language)

    def base(self) -> Base:
        """What trainings start from: the checkpoint, or what the study's recipe makes of it."""
        if self.recipe.pretrain is None:
            return self.checkpoint, ()
        data = tuple(self.pool(code, "text", 0) for code in self.recipe.pretrain.languages)
        recipe = PretrainRecipe(self.checkpoint, data, self.recipe.pretrain, PRETRAIN_SEED)
        step = self.step(recipe, self.name, ())
        return step.fingerprint, (("base", step.artifact),)

    def training(self, name: str, for_what: str) -> Any:
        """A training that a recipe may leave out."""
        training = getattr(self.recipe, name)
        if training is None:
            raise StudyError(
                f"{for_what} with model={self.model}: the study's recipe of the family {self.family!r} has no `{name}`. Give one: "
                f"recipes={{{self.family!r}: Recipe(..., {name}=...)}}."
            )
        return training

    def step(self, recipe: StepRecipe, about: str, needs: Needs) -> Step:
        """The step of a recipe, one for all cells that need it."""
        step = Step.of(recipe, about, needs, self.model)
        return self.graph.steps.setdefault(step.artifact, step)

    def split(self, language: str, split: str) -> Split:
        """A labeled split, read whole and checked."""
        dataset = self.serving(language)
        dataset.size(language, split)
        if self.study.task != "ner":
            return TaskSplit(dataset.name, language, split, dataset.version(language, split), (), task=self.study.task)
        types, dropped = tuple(sorted(self.study.types)), tuple(sorted(self.study.dropped_types))
        return Split(dataset.name, language, split, dataset.version(language, split), types, dropped)

    def students_pool(self, language: str) -> Split:
        """What a student of the study's largest volume reads. Of pairs it is the train split without its labels."""
        split, volume = self.study.pool, max(self.study.volumes)
        if self.study.task == "ner":
            return self.pool(language, split, volume)
        dataset = self.serving(language)
        size = None if dataset.size(language, split) is None else len(pool_examples(dataset, language, split))
        _require_volume(volume, size, f"{dataset.name} {language} {split}")
        return TaskSplit(dataset.name, language, split, pool_version(dataset, language, split), (), task=self.study.task)

    def pool(self, language: str, split: str, volume: int) -> Split:
        """An unlabeled pool, read whole and checked, of at least `volume` sentences. Its tags are not part of it."""
        if self._text is None:
            raise StudyError(f"dataset={self.dataset.name} with task={self.study.task} has no unlabeled text, which `pretrain` needs.")
        dataset = self._text.serving(language)
        _require_volume(volume, pool_size(dataset, language, split), f"{dataset.name} {language} {split}")
        return Split(dataset.name, language, split, pool_version(dataset, language, split), ())


def content(split: Split) -> str:
    """Stands for a split's sentences: a version alone may be that of all languages of a dataset."""
    return f"{split.language} {split.version}"


def open_labeled(study: Study, name: str, data: str | None) -> tuple[Union, Union | None]:
    """What is labeled for the study's task, and where plain text comes from, if it comes from anywhere."""
    if study.task == "ner":
        return (union := open_union(name, data, study.types, study.dropped_types)), union
    text = open_union(name, data, (), ()) if name == "sandbox" else None
    return Union(name, (open_task_dataset(study.task, name, data),)), text


def _require_volume(volume: int, size: int | None, pool: str) -> None:
    if size is not None and volume > size:
        raise DataError(
            f"volume {volume} is larger than the pool: {pool} has {size} sentences (those of dev and test left out). Lower "
            "the volume, or use pool='text' in the study."
        )
