"""Measures on languages: which steps a cell's are, shared as any others.

What is computed, the kinds of step `lm`, `overlap`, `alignment`, `similarity` and `teachers` know; what becomes of their
figures in its rows, `engine.measured`. In-language cells have none: there is no transfer to explain.
"""

from collections.abc import Sequence
from functools import cache, cached_property
from itertools import chain

from engine.compiler.material import Material
from engine.data.parallel import ParallelCorpus
from engine.errors import DataError, StudyError
from engine.fingerprint import fingerprint
from engine.graph import Step, roles
from engine.models.sizes import fills_masks
from engine.spec import (
    MEASURES,
    STUDENTS,
    AlignmentRecipe,
    Cell,
    LanguageModelRecipe,
    OverlapRecipe,
    SimilarityRecipe,
    TeachersRecipe,
)

# Of each language at most so many sentences: a forward pass each, counting, and translations.
READ, COUNTED, TRANSLATED = 1_000, 10_000, 500
MASKED = 0.15  # of the subwords, as mT5 and BERT were pretrained
SEED = 0  # one draw for all seeds: a measure is of languages, not of runs
OWN = {"mt5": "span-corruption", "encoder": "masked-lm"}  # what a downloaded checkpoint was pretrained with
Measured = tuple[str, Step]  # the role of the step, and the step: of the "source", the "target", or the "pair"


class Measures:
    """Makes the steps of cells on one dataset and model."""

    def __init__(self, material: Material) -> None:
        self.material, self.study, self.recipe = material, material.study, material.recipe
        for name in ("_lm", "_overlap", "_alignment", "_identity"):  # once for all cells, of which there may be 100,000
            setattr(self, name, cache(getattr(self, name)))

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """Those of MEASURES that the study's cells have. StudyError where one that it names can never be had."""
        if not self.study.measures:
            return ()
        if "all" not in self.study.measures:
            for name, (possible, why) in self._possible().items():
                if name in self.study.measures and not possible:
                    raise StudyError(f"measures={','.join(self.study.measures)}: {name!r} {why}")
            return self.study.measures
        return tuple(name for name in MEASURES if self._possible().get(name, (True, ""))[0])

    def _possible(self) -> dict[str, tuple[bool, str]]:
        students = {*self.study.methods} & {*STUDENTS} and max(self.study.volumes)
        return {
            "teachers": (bool(students), "is of students' teachers, and no method here has any. Add teacher-student, or leave it out."),
            "lm": (
                bool(self.recipe.pretrain) or fills_masks(self.material.model),
                f"needs a masked language model, and {self.material.name} was saved without one. Leave it out.",
            ),
            "identity": (len(self._sources) > 1, "tells sources apart, and the study has one. Name more, or leave it out."),
        }

    @cached_property
    def _sources(self) -> tuple[str, ...]:
        return tuple(sorted({*chain.from_iterable(self.study.sources)}))

    def of(self, cell: Cell) -> list[Measured]:
        """The steps on the cell's languages; none of an in-language cell. Raises as `asked`, and DataError for missing text."""
        if cell.method == "in-language":
            return []
        found: list[Measured] = []
        if "lm" in self.asked:
            found += [("source", self._lm(code)) for code in cell.sources] + [("target", self._lm(cell.target))]
        if "overlap" in self.asked:
            found += [("pair", self._overlap(code, cell.target)) for code in cell.sources if code != cell.target]
        if "alignment" in self.asked:
            pairs = [self._alignment(code, cell.target) for code in cell.sources if code != cell.target]
            found += [("pair", step) for step in pairs if step]
        if "identity" in self.asked and (step := self._identity(cell.target)):
            found.append(("pair", step))
        return found

    def of_teachers(self, cell: Cell, labels: Sequence[Step], fingerprints: tuple[str, ...]) -> list[Measured]:
        """The step on the soft labels of a student's teachers. `fingerprints`: of their recipes with volume 0."""
        if "teachers" not in self.asked:
            return []
        recipe = TeachersRecipe(fingerprints, labels[0].recipe.volume)
        about = f"{self.material.name}-{'+'.join(cell.sources)}-{cell.target}-s{cell.seed}"
        return [("pair", self.material.step(recipe, about, roles("labels", labels)))]

    def _lm(self, language: str) -> Step:
        (base, needs), training = self.material.base(), self.recipe.distill
        objective = self.recipe.pretrain.objective if self.recipe.pretrain else OWN[self.material.family]
        pool = self.material.pool(language, self.study.pool, 0)
        recipe = LanguageModelRecipe(base, objective, pool, READ, MASKED, training.max_tokens, training.precision, SEED)
        return self.material.step(recipe, f"{self.material.name}-{language}", needs)

    def _overlap(self, source: str, target: str) -> Step:
        base, needs = self.material.base()
        ours, theirs = (self.material.pool(code, self.study.pool, 0) for code in (source, target))
        recipe = OverlapRecipe(base, ours, theirs, self.material.split(source, "train"), self.material.split(target, "test"), COUNTED, SEED)
        return self.material.step(recipe, f"{self.material.name}-{source}-{target}", needs)

    def _alignment(self, source: str, target: str) -> Step | None:
        (base, needs), training = self.material.base(), self.recipe.distill
        try:
            corpus, version = self._parallel(source, target)
        except DataError as error:
            if "all" in self.study.measures:
                return None
            raise DataError(f"measures={','.join(self.study.measures)}: {error} Or leave 'alignment' out of the measures.") from error
        recipe = AlignmentRecipe(base, corpus, version, source, target, TRANSLATED, training.max_tokens, training.precision, SEED)
        return self.material.step(recipe, f"{self.material.name}-{source}-{target}", needs)

    def _parallel(self, source: str, target: str) -> tuple[str, str]:
        """The corpus with a pair's parallel text, and its version."""
        if self.material.serving(source).name == self.material.serving(target).name == "sandbox":
            from engine.data import sandbox

            return "sandbox", "+".join(sandbox.version(code, "parallel") for code in (source, target))
        return "parallel", ParallelCorpus((), self.material.data).version(source, target)

    def _identity(self, target: str) -> Step | None:
        """The similarity of a target to all of the study's sources together, itself left out."""
        sources = tuple(code for code in self._sources if code != target)
        if len(sources) < 2:
            return None
        (base, needs), training = self.material.base(), self.recipe.distill
        pools = tuple(self.material.pool(code, self.study.pool, 0) for code in sources)
        recipe = SimilarityRecipe(
            base, "lid", pools, self.material.pool(target, self.study.pool, 0), READ, self.recipe.similarity, training.max_tokens,
            training.precision, SEED,
        )  # fmt: skip
        return self.material.step(recipe, f"{self.material.name}-lid-{fingerprint(sources)}-{target}", needs)
