"""From a study to its graph: what steps each cell needs. Pure: reads the versions of data and models, trains nothing.

`material`: what all methods share; `transfer`, `students`, `translations`: the steps of the methods; `measures`: those that
measure languages.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from engine.cells import expand
from engine.compiler.material import Material, content
from engine.compiler.measures import Measured, Measures
from engine.compiler.students import Students
from engine.compiler.transfer import Transfer
from engine.compiler.translations import Translations
from engine.errors import StudyError
from engine.graph import CellWork, Graph, Step, roles
from engine.models.sizes import short_name
from engine.records import without_collection
from engine.spec import MIXTURES, STUDENTS, Cell, Perturbation, Study, Taken, TextPerturbation, TranslatedText, protocol

_BUT_VOLUME = attrgetter("dataset", "model", "form", "method", "sources", "target", "shots", "perturbation", "seed")


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
    graph, cells = Graph(), expand(study)
    compilers = {
        (name, model): _Compiler(study, graph, name, path, data)
        for name in study.dataset
        for model, path in models.items()
    }
    for (dataset, model, *_), alike in groupby(cells, _BUT_VOLUME):
        compilers[dataset, model].add(list(alike))
    return graph


# What is done to the test text for a model that read this text besides labeled one.
_Perturbed = Callable[[tuple[Taken | TranslatedText, ...]], Perturbation | None]


class _Made(NamedTuple):
    """A cell's model and its score; its teacher's score, what stands for its unlabeled text, and measures on its teachers."""

    trained: Step
    scored: Step
    teacher: Step | None
    pool_data: str | None
    measured: Sequence[Measured] = ()


class _Compiler:
    """Adds the steps of cells to a graph: of those on one dataset and model."""

    def __init__(self, study: Study, graph: Graph, dataset: str, model: str, data: str | None) -> None:
        self.graph, self.material = graph, Material(study, graph, dataset, model, data)
        self.transfer = Transfer(self.material)
        self.students = Students(self.material, self.transfer)
        self.translations, self.measures = Translations(self.material), Measures(self.material)

    def add(self, cells: Sequence[Cell]) -> None:
        """Add cells that differ in nothing but the volume, and their steps."""
        cell = cells[0]
        measured = self.measures.of(cell)  # before the training, so that rows wait for nothing
        sets = tuple([(code,) for code in cell.sources]) if cell.method in MIXTURES else (cell.sources,)
        trained = tuple([self.transfer.trained(cell, sources) for sources in sets])
        on_sources = [self.transfer.evaluation(model, code) for model, codes in zip(trained, sets, strict=True) for code in codes]
        labeled = cell.sources if not cell.shots else (*cell.sources, cell.target)
        perturbed: _Perturbed = lambda read: None  # as most cells are: 100,000 of them need not hash what they read
        if cell.perturbation != "none":
            perturbed = partial(self.transfer.perturbation, cell.perturbation, labeled, cell.shots, cell.target, cell.seed)
        scored_on_sources = tuple([step.artifact for step in on_sources])
        train_data = tuple([content(self.material.split(code, "train")) for code in labeled])
        test_data = content(self.material.split(cell.target, "test"))
        if cell.method in STUDENTS:
            all_made = self._distilled(cells, sets, trained, perturbed)
        elif by_translation := protocol(cell.method)[0]:
            all_made = (self._translated(cell, by_translation, trained[0], perturbed) for cell in cells)
        else:
            all_made = (self._transferred(cell, trained[0], perturbed) for cell in cells)
        for cell, made in zip(cells, all_made, strict=True):
            measures = tuple([(role, step.artifact) for role, step in (*measured, *made.measured)])
            self.graph.cells.append(CellWork(
                cell, made.trained.artifact, made.scored.artifact, made.teacher and made.teacher.artifact, scored_on_sources,
                train_data, made.pool_data, test_data, measures,
            ))  # fmt: skip

    def _transferred(self, cell: Cell, model: Step, perturbed: _Perturbed) -> _Made:
        model, read = self.transfer.fewshot(model, cell) if cell.shots else model, self.transfer.adapted_data(cell)
        pool_data = " ".join(content(taken.pool) for taken in read) or None
        return _Made(model, self.transfer.evaluation(model, cell.target, perturbed(read)), None, pool_data)

    def _distilled(
        self, cells: Sequence[Cell], sets: tuple[tuple[str, ...], ...], teachers: tuple[Step, ...], perturbed: _Perturbed
    ) -> Iterator[_Made]:
        target, similarity = cells[0].target, self.students.similarity(cells[0])
        pool, labels = self.material.students_pool(target), self.students.labels(teachers, sets, target, cells[0].seed)
        pool_data = content(pool)
        students = self.students.students(cells, labels, similarity)
        for cell in cells:
            perturbation = perturbed((Taken(pool, cell.volume),))
            on_teacher = self.students.teachers_evaluation(cell, teachers, similarity, perturbation)
            student = next(students)  # after its teachers' score, which waits for no student
            measured = self.measures.of_teachers(cell, labels, student.recipe.labels)
            on_student = self.transfer.evaluation(student, target, perturbation)
            yield _Made(student, on_student, on_teacher, pool_data, measured)

    def _translated(self, cell: Cell, by_translation: str, teacher: Step, perturbed: _Perturbed) -> _Made:
        if by_translation == "translate-test":  # never perturbed
            on_teacher = self.transfer.evaluation(teacher, cell.target)
            return _Made(teacher, self.translations.scored_test(cell, teacher), on_teacher, None)
        student, corpora = self.translations.student(cell, teacher)
        texts = self.translations.train_texts(cell)
        perturbation = perturbed((TranslatedText(tuple([text.fingerprint for text in texts]), cell.volume),))
        read = roles("translated", texts) if isinstance(perturbation, TextPerturbation) and perturbation.read else ()
        on_student, on_teacher = (self.transfer.evaluation(model, cell.target, perturbation, read) for model in (student, teacher))
        return _Made(student, on_student, on_teacher, corpora)
