"""Steps of students: soft labels of their teachers, what weights these, the distillation, and the teachers' own score."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

from engine.compiler.material import Material
from engine.compiler.transfer import Transfer
from engine.fingerprint import fingerprint
from engine.graph import Needs, Step, roles
from engine.spec import (
    MIXTURES,
    Cell,
    DistillRecipe,
    EvaluateRecipe,
    LabelRecipe,
    Perturbation,
    SimilarityRecipe,
    Weights,
    recipe_version,
)


class Students:
    """Makes the steps of cells on one dataset and model."""

    def __init__(self, material: Material, transfer: Transfer) -> None:
        self.material, self.transfer = material, transfer
        self.study, self.recipe = material.study, material.recipe
        for name in ("labels", "_compare", "any_volume"):
            setattr(self, name, cache(getattr(self, name)))

    def similarity(self, cell: Cell) -> Step | None:
        """The step that compares the target with each source, for the cells whose teachers are weighted by it."""
        if MIXTURES.get(cell.method) is None:
            return None
        return self._compare(MIXTURES[cell.method][0], cell.sources, cell.target, cell.seed)

    def _compare(self, measure: str, sources: tuple[str, ...], target: str, seed: int) -> Step:
        (base, base_needs), training, volume = self.material.base(), self.recipe.distill, max(self.study.volumes)
        recipe = SimilarityRecipe(
            base, measure, tuple(self.material.pool(code, self.study.pool, 0) for code in sources),
            self.material.pool(target, self.study.pool, volume), volume, self.recipe.similarity, training.max_tokens,
            training.precision, seed,
        )  # fmt: skip
        return self.material.step(recipe, f"{self.material.name}-{measure}-{'+'.join(sources)}-{target}-{volume}-s{seed}", base_needs)

    def labels(self, teachers: tuple[Step, ...], sets: tuple[tuple[str, ...], ...], target: str, seed: int) -> tuple[Step, ...]:
        """The steps, one a teacher with its source set, that label the pool for the study's largest volume."""
        return tuple([self._labels(teacher, sources, target, seed) for teacher, sources in zip(teachers, sets, strict=True)])

    def _labels(self, teacher: Step, sources: tuple[str, ...], target: str, seed: int) -> Step:
        volume = max(self.study.volumes)
        pool = self.material.students_pool(target)
        (base, base_needs), training = self.material.base(), self.recipe.distill
        recipe = LabelRecipe(base, teacher.fingerprint, pool, volume, training.max_tokens, training.precision, seed)
        needs = (("teacher", teacher.artifact), *base_needs)
        return self.material.step(recipe, f"{self.material.name}-{'+'.join(sources)}-{target}-{volume}-s{seed}", needs)

    def students(self, cells: Sequence[Cell], labels: tuple[Step, ...], similarity: Step | None) -> Iterator[Step]:
        """The steps that distill students of these labels, for cells that differ in nothing but the volume."""
        (base, base_needs), pool = self.material.base(), self.material.students_pool(cells[0].target)
        teachers, weights = tuple(map(self.any_volume, labels)), self._weights(cells[0], similarity)
        needs = (*roles("labels", labels), *_need_of(similarity), *base_needs)
        for cell in cells:
            distill = DistillRecipe(base, teachers, weights, cell.form, pool, cell.volume, self.recipe.distill, cell.seed)
            yield self.material.step(distill, self._about_student(cell, cell.volume), needs)

    def teachers_evaluation(
        self, cell: Cell, teachers: Sequence[Step], similarity: Step | None, perturbation: Perturbation | None
    ) -> Step:
        """The evaluation on the target's test split of what a student learns from: one teacher, or the mixture."""
        if len(teachers) == 1:
            return self.transfer.evaluation(teachers[0], cell.target, perturbation)
        (base, base_needs), training, test = self.material.base(), self.recipe.finetune, self.material.split(cell.target, "test")
        volume = cell.volume if similarity else 0
        # Of either level by the weights of the language, so that the gain is over one teacher.
        weights = replace(self._weights(cell, similarity), level="domain") if similarity else None
        recipe = EvaluateRecipe(
            base, tuple(teacher.fingerprint for teacher in teachers), weights, volume, test, perturbation, training.max_tokens,
            training.precision,
        )  # fmt: skip
        needs = (*roles("model", teachers), *_need_of(similarity), *base_needs)
        return self.material.step(recipe, f"teachers-{self._about_student(cell, volume)}", needs)

    def _about_student(self, cell: Cell, volume: int) -> str:
        mixture = cell.method if cell.method in MIXTURES else ""
        return "-".join(filter(None, (self.material.name, mixture, "+".join(cell.sources), cell.target, str(volume), f"s{cell.seed}")))

    def _weights(self, cell: Cell, similarity: Step | None) -> Weights | None:
        return None if similarity is None else Weights(self.any_volume(similarity), MIXTURES[cell.method][1])

    def any_volume(self, step: Step) -> str:
        """Stands for a step that goes through a pool, however much of it."""
        recipe = replace(step.recipe, volume=0)
        return fingerprint([recipe.kind, recipe_version(recipe), recipe])


def _need_of(similarity: Step | None) -> Needs:
    return (("similarity", similarity.artifact),) if similarity else ()
