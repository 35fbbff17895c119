"""A study's cells as work: the steps that they need. Cells share steps: equal recipes are one step.

How a cell becomes steps, `engine.compiler` knows. The plan (`engine.plan`) takes away what the store has.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from engine.fingerprint import fingerprint
from engine.records import record
from engine.spec import Cell, Checkpoint, StepRecipe, recipe_version, takes_volume
from engine.store import slug

Needs = tuple[tuple[str, str], ...]  # (role, artifact)
Base = tuple[Checkpoint | str, Needs]  # what a training starts from, and the need of it


@record(eq=False)  # a graph has each once, and to compare recipes field by field takes long
class Step:
    """One piece of work. `needs`: role -> the artifact that must be there first and fills the role."""

    recipe: StepRecipe
    fingerprint: str
    artifact: str
    needs: Needs
    about: str  # the readable part of the artifact's name
    model: str  # as the study names it: what the estimate of cost asks about

    @classmethod
    def of(cls, recipe: StepRecipe, about: str, needs: Needs, model: str) -> "Step":
        """The step of a recipe."""
        stamp = fingerprint([recipe.kind, recipe_version(recipe), recipe])
        return cls(recipe, stamp, f"{recipe.kind}-{slug(about)}-{stamp}", needs, about, model)

    @property
    def kind(self) -> str:
        return self.recipe.kind


@record(eq=False)
class CellWork:
    """A cell and the artifacts that its rows are made of.

    `trained`: the finetune, fewshot or distill step that was scored. `scored`: its evaluation on the target. `teacher`: its
    teacher's on the same split. `on_sources`: the transferring model's on its sources' test splits. `measures`: those of its
    languages, each with its role (`engine.measured`).
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
        return fingerprint([name[-12:] for name in names])  # what their own fingerprints are

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


def base_of(model: Step) -> Base:
    """What a model was trained from, and how a step that loads it needs it."""
    return model.recipe.base, tuple([need for need in model.needs if need[0] == "base"])


def roles(role: str, steps: Sequence[Step]) -> Needs:
    """Needs that fill one role together: "labels 0", "labels 1", ..."""
    return tuple([(f"{role} {number}", step.artifact) for number, step in enumerate(steps)])
