"""The plan: study minus store. What is done, failed, missing and stale, what is left to run, and what that will cost.

Imports neither torch nor ray.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain

from engine.graph import CellWork, Graph, Step
from engine.models.sizes import Size, describe, describe_translator
from engine.records import without_collection
from engine.spec import (
    AlignmentRecipe,
    EvaluateRecipe,
    LanguageModelRecipe,
    OverlapRecipe,
    ProjectRecipe,
    ScoreRecipe,
    SimilarityRecipe,
    StepRecipe,
    TeachersRecipe,
    TranslateRecipe,
)
from engine.store import Store
from engine.store.parts import Rows
from engine.work import MEASURING, TRAINING, Unit

TOKENS_PER_SENTENCE = 40  # subwords of an average sentence in the corpora the engine was built on (10 in the sandbox)
TEST_SENTENCES = 1_000
TRAIN_SENTENCES, CORPUS_SENTENCES = 10_000, 2_000  # that are translated
GPU_FLOPS = 120e12  # what one A100 sustains on such models in bf16: 38% of its 312e12
CPU_FLOPS = 40e9  # what one CPU core sustains in fp32
PROJECTION_SECONDS = 0.0005  # a sentence's labels carried over, on a core
GENERATION = 10  # words written one after the other sustain about a tenth of the rate (assumed, not measured)
CPU_STEP_SECONDS = 0.04  # a tiny model's update on one core costs calls, not arithmetic
BY_TRANSLATION = (TranslateRecipe, ProjectRecipe, ScoreRecipe)


@dataclass(frozen=True)
class Plan:
    """Every cell in exactly one of `done`, `failed`, `missing`, `stale`; and the steps left to run, in order.

    `orphans`: those of the missing that have rows, and no evaluation any more that these were made of. `damaged`: files of
    results/ that do not count, with what is wrong.
    """

    graph: Graph
    done: list[CellWork]
    failed: list[CellWork]
    missing: list[CellWork]
    stale: list[CellWork]
    to_run: list[Step]
    units: list[Unit]
    unshared_steps: int
    seconds: float
    unshared_seconds: float
    orphans: list[CellWork]
    damaged: Mapping[str, str]

    @property
    def open(self) -> list[CellWork]:
        """The cells without current rows."""
        return [*self.failed, *self.missing, *self.stale]


@without_collection()
def make_plan(graph: Graph, store: Store, on_gpu: bool, thorough: bool = False) -> Plan:
    """Compare a study with the store. `on_gpu`: what the estimate of time is for.

    `thorough`: see whether the evaluations of finished cells are there, and not only their rows.
    """
    rows, damaged = store.survey()
    done, failed, missing, stale = _status(graph, rows)
    there = store.artifacts() if thorough or failed or missing or stale else set()
    orphans = [work for work in done if work.scored not in there] if thorough else []
    if orphans:
        done, missing = [work for work in done if work.scored in there], missing + orphans
    left = [*failed, *missing, *stale]
    alone = Counter(chain.from_iterable(graph.missing(work.artifacts, there) for work in left))
    to_run = [step for name, step in graph.steps.items() if name in alone]
    costs = {step.artifact: seconds(step, on_gpu) for step in to_run}
    return Plan(
        graph, done, failed, missing, stale, to_run, _units(to_run, left, costs, rows), alone.total(),
        sum(costs.values()), sum(costs[name] * number for name, number in alone.items()), orphans, damaged,
    )  # fmt: skip


def _status(
    graph: Graph, cells: Mapping[str, Rows]
) -> tuple[list[CellWork], list[CellWork], list[CellWork], list[CellWork]]:
    """Sort the cells by what results/ says of them."""
    if not cells:
        return [], [], list(graph.cells), []
    done, failed, missing, stale = [], [], [], []
    for work in graph.cells:
        rows = cells.get(work.key)
        if rows is None:
            missing.append(work)
        elif rows.fingerprint != work.fingerprint:
            stale.append(work)
        else:
            (done if rows.done else failed).append(work)
    return done, failed, missing, stale


def _units(to_run: list[Step], left: Iterable[CellWork], costs: Mapping[str, float], rows: Mapping[str, Rows]) -> list[Unit]:
    """Group the steps: a model's evaluations go with the training of it; the cells with the last of their steps."""
    numbers: dict[str, int] = {}  # a unit's name -> its place
    members: list[tuple[list[Step], list[CellWork], set[int]]] = []  # the third: the units that go before
    home: dict[str, int] = {}  # artifact -> the unit that makes it

    def number_of(name: str) -> int:
        if (number := numbers.setdefault(name, len(members))) == len(members):
            members.append(([], [], set()))
        return number

    for step in to_run:
        model = _evaluated(step)
        number = home.get(model, -1)
        if number < 0:
            number = number_of(f"evaluate {model}" if model else step.artifact)
        home[step.artifact] = number
        steps, _, before = members[number]
        steps.append(step)
        before.update([home.get(need, -1) for _, need in step.needs])
    for work in left:
        made = [home.get(name, -1) for name in work.artifacts]
        number = max(made)  # what it needs is before it
        _, cells, before = members[number if number >= 0 else number_of("rows")]
        cells.append(work)
        before.update(made)
    names, units = list(numbers), []
    for number, (steps, cells, before) in enumerate(members):
        after = frozenset([names[other] for other in before if other not in (number, -1)])
        written = {work.key: rows[work.key].finished for work in cells if work.key in rows} if rows else {}
        units.append(Unit(names[number], tuple(steps), tuple(cells), after, sum([costs[step.artifact] for step in steps]), written))
    return units


def _evaluated(step: Step) -> str:
    """The model of an evaluation that goes with the training of it: of this model alone, on a text that is there. Else "".

    An evaluation's first need is its model (`engine.compiler.transfer`).
    """
    if step.recipe.kind != "evaluate":
        return ""
    (_, model), *others = step.needs
    waits = any(role.startswith(("model", "translated")) for role, _ in others)
    return "" if waits else model


def seconds(step: Step, on_gpu: bool) -> float:
    """Estimate a step's time on one GPU (or one CPU core): operations over the rate a device sustains.

    Training takes 6 operations a parameter and token, inference 2 (Kaplan et al. 2020, section 2.1); embeddings look up
    and are not counted.
    """
    size, recipe = _size(step.model), step.recipe
    if isinstance(recipe, BY_TRANSLATION):
        return _translation_seconds(recipe, size, GPU_FLOPS if on_gpu else CPU_FLOPS)
    body = size.body - (size.decoder if getattr(recipe, "form", "") == "encoder" else 0)
    if step.kind in TRAINING:
        sentences, factor, calls = recipe.training.steps * recipe.training.batch_size, 6, recipe.training.steps
    else:
        sentences = _answered(recipe)
        factor, calls = 2, sentences / 64 / 2
    rate = GPU_FLOPS if on_gpu else CPU_FLOPS
    arithmetic = factor * body * sentences * TOKENS_PER_SENTENCE / rate
    return arithmetic if on_gpu else max(arithmetic, calls * CPU_STEP_SECONDS)


def _translation_seconds(recipe: TranslateRecipe | ProjectRecipe | ScoreRecipe, size: Size, rate: float) -> float:
    """A translation model's time, or a projection's with its aligner and tagger; what is looked up or counted takes none."""
    match recipe:
        case TranslateRecipe(settings=settings) if settings is not None:
            translator = describe_translator(recipe.translator.name)
            sentences = TEST_SENTENCES if recipe.data.split == "test" else TRAIN_SENTENCES
            body = translator.body - translator.decoder + settings.beams * GENERATION * translator.decoder
            return 2 * body * sentences * TOKENS_PER_SENTENCE / rate
        case ProjectRecipe():
            sentences = TEST_SENTENCES if recipe.backwards else CORPUS_SENTENCES if recipe.predicted else TRAIN_SENTENCES
            passes = 2 * (recipe.projection.alignment.aligner == "embedding") + recipe.predicted + recipe.projection.needs_tagger
            return sentences * (PROJECTION_SECONDS + passes * 2 * size.body * TOKENS_PER_SENTENCE / rate)
        case _:
            return 0.0


def _answered(recipe: StepRecipe) -> int:
    """Sentences that go through a model without training it."""
    match recipe:
        case SimilarityRecipe():
            return recipe.volume + len(recipe.sources) * recipe.training.sentences
        case EvaluateRecipe():
            return len(recipe.models) * TEST_SENTENCES
        case LanguageModelRecipe():
            return recipe.sentences
        case AlignmentRecipe():
            return 2 * recipe.sentences
        case OverlapRecipe() | TeachersRecipe():
            return 0  # they count
        case _:
            return recipe.volume


_size = cache(describe)  # which reads a folder's config.json each time


def summary(plan: Plan, on_gpu: bool, limit: int = 12) -> list[str]:
    """Return the plan as lines of text: counts, names of stale and failed cells, what sharing saves, the cost."""
    numbers = Counter(step.kind for step in plan.to_run)
    order = (*TRAINING, "label", "similarity", "translate", "project", "evaluate", "score", *MEASURING)
    kinds = {kind: numbers[kind] for kind in order if kind in numbers}
    states = ", ".join(f"{len(getattr(plan, state))} {state}" for state in ("done", "failed", "missing", "stale"))
    steps = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    methods = ", ".join(f"{number} {method}" for method, number in Counter(work.cell.method for work in plan.graph.cells).items())
    lines = [f"{len(plan.graph.cells)} cells: {states}", f"by method: {methods}", f"{len(plan.to_run)} to run" + (f": {steps}" if steps else "")]
    if plan.to_run:
        saved = 1 - plan.seconds / plan.unshared_seconds
        lines.append(
            f"sharing: {plan.unshared_steps} steps if each cell did its own, {len(plan.to_run)} shared; it saves "
            f"{saved:.0%} of the time"
        )
        device = f"of one GPU (A100 at {GPU_FLOPS / 1e12:.0f} TFLOP/s)" if on_gpu else "of one CPU core"
        time = f"{plan.seconds / 3600:.2f} hours" if plan.seconds >= 3600 else f"{plan.seconds / 60:.1f} minutes"
        lines.append(f"estimated cost: {time} {device}")
    for status, cells in (("stale", plan.stale), ("failed", plan.failed), ("rows without their artifact", plan.orphans)):
        lines += [f"  {status}: {work.cell}" for work in cells[:limit]]
        if len(cells) > limit:
            lines.append(f"  ... and {len(cells) - limit} more {status}")
    return lines
