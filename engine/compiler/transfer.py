"""Steps of direct transfer: training on a source set, more pretraining before it, labeled target sentences after it, scoring."""

from functools import cache

from engine.compiler.material import Material
from engine.errors import DataError
from engine.graph import Base, Needs, Step, base_of, roles
from engine.spec import (
    ADAPTED,
    Cell,
    EvaluateRecipe,
    FewshotRecipe,
    FinetuneRecipe,
    Perturbation,
    PretrainRecipe,
    Taken,
    TextPerturbation,
    TranslatedText,
)


class Transfer:
    """Makes the steps of cells on one dataset and model."""

    def __init__(self, material: Material) -> None:
        self.material, self.study, self.recipe = material, material.study, material.recipe
        for name in ("_adapted", "_trained", "evaluation", "perturbation"):
            setattr(self, name, cache(getattr(self, name)))

    def trained(self, cell: Cell, sources: tuple[str, ...]) -> Step:
        """The step that trains on the labeled text of a source set, for the cell's form and seed."""
        base = self._adapted(cell.method, cell.sources, cell.target, cell.seed) if cell.method in ADAPTED else None
        return self._trained(cell.form, sources, cell.seed, base)

    def _trained(self, form: str, sources: tuple[str, ...], seed: int, base: Base | None = None) -> Step:
        base, needs = base or self.material.base()
        train = tuple(self.material.split(code, "train") for code in sources)
        alpha = self.recipe.alpha if len(sources) > 1 else 1.0
        recipe = FinetuneRecipe(base, form, train, alpha, self.recipe.finetune, seed)
        return self.material.step(recipe, f"{self.material.name}-{'+'.join(sources)}-s{seed}", needs)

    def _adapted(self, method: str, sources: tuple[str, ...], target: str, seed: int) -> Base:
        """The base after its pretraining went on, on text of the cell's languages."""
        training = self.material.training("adapt", method)
        (base, needs), codes = self.material.base(), _adapted_to(method, sources, target)
        data = tuple(self.material.pool(code, self.study.pool, 0) for code in codes)
        step = self.material.step(PretrainRecipe(base, data, training, seed), f"{self.material.name}-{'+'.join(codes)}-s{seed}", needs)
        return step.fingerprint, (("base", step.artifact),)

    def adapted_data(self, cell: Cell) -> tuple[Taken, ...]:
        """The unlabeled text of the cell's continued pretraining."""
        if cell.method not in ADAPTED:
            return ()
        codes, training = _adapted_to(cell.method, cell.sources, cell.target), self.material.training("adapt", cell.method)
        return tuple(Taken(self.material.pool(code, self.study.pool, 0), training.sentences) for code in codes)

    def fewshot(self, model: Step, cell: Cell) -> Step:
        """The step that goes on with labeled sentences of the target."""
        training, train = self.material.training("fewshot", f"shots={cell.shots}"), self.material.split(cell.target, "train")
        size = (dataset := self.material.serving(cell.target)).size(cell.target, "train")
        if size is not None and cell.shots > size:
            raise DataError(
                f"shots={cell.shots}: {dataset.name} {cell.target} train has {size} sentences. Lower the number."
            )
        (base, base_needs) = base_of(model)
        recipe = FewshotRecipe(base, model.fingerprint, cell.form, train, cell.shots, training, cell.seed)
        needs = (*roles("model", [model]), *base_needs)
        return self.material.step(recipe, f"{model.about}-{cell.target}-{cell.shots}", needs)

    def perturbation(
        self, kind: str, labeled: tuple[str, ...], shots: int, target: str, seed: int, read: tuple[Taken | TranslatedText, ...]
    ) -> Perturbation:
        """What is done to the target's test text for a model of these languages' labels that has `read` other text too."""
        code = kind.partition(":")[2]
        if kind == "mask":
            return Perturbation(kind, (), 0, (), seed)
        if kind == "random":
            return TextPerturbation(kind, (), 0, (), seed, ())
        if code:
            return Perturbation(kind, (), 0, (self.material.split(code, "train"),), seed)
        # Nothing is trained on dev: of its names and words those are new that do not stand in what the model read.
        train = tuple(self.material.split(source, "train") for source in labeled)
        parts = (kind, train, shots, (self.material.split(target, "dev"),), seed)
        return Perturbation(*parts) if kind == "names" and not read else TextPerturbation(*parts, read)

    def evaluation(self, model: Step, language: str, perturbation: Perturbation | None = None, read: Needs = ()) -> Step:
        """The evaluation of a model on the language's test split. `read`: what the perturbation needs."""
        (base, base_needs), training, test = base_of(model), self.recipe.finetune, self.material.split(language, "test")
        recipe = EvaluateRecipe(base, (model.fingerprint,), None, 0, test, perturbation, training.max_tokens, training.precision)
        needs = (*roles("model", [model]), *base_needs, *read)
        return self.material.step(recipe, f"{model.kind}-{model.about}-on-{language}", needs)


def _adapted_to(method: str, sources: tuple[str, ...], target: str) -> tuple[str, ...]:
    """Whose text a method's pretraining goes on with."""
    both = tuple(sorted((*sources, target)))
    return {"adapted-sources": sources, "adapted-target": (target,), "adapted-both": both}[method]
