"""What a study is: frozen dataclasses, checked on construction. No I/O, no torch, no Ray.

`study`: the question with its axes, and its cells. `training`: how models are trained. `projection`: how entities are
carried over to a translation. `recipes`: what each kind of step does, all that decides its output. `site`: how and where it runs, never part of identity.
"""

from engine.spec.projection import (
    AWESOME,
    AWESOME_TUNED,
    SIMALIGN,
    Projection,
    WordAlignment,
)
from engine.spec.recipes import (
    RECIPE_VERSION,
    Checkpoint,
    DistillRecipe,
    EvaluateRecipe,
    FewshotRecipe,
    FinetuneRecipe,
    LabelRecipe,
    Perturbation,
    PretrainRecipe,
    SimilarityRecipe,
    Split,
    StepRecipe,
    Weights,
)
from engine.spec.site import (
    Resources,
    Site,
)
from engine.spec.study import (
    ADAPTED,
    AXES,
    FAMILIES,
    FORMS,
    METHODS,
    MIXTURES,
    PERTURBATIONS,
    POOLS,
    STUDENTS,
    SWAPS,
    TASKS,
    WRITTEN,
    Cell,
    Study,
    parse_axis,
)
from engine.spec.training import (
    Distillation,
    Pretraining,
    Recipe,
    Similarity,
    Training,
)

__all__ = [
    "ADAPTED",
    "AWESOME",
    "AWESOME_TUNED",
    "AXES",
    "FAMILIES",
    "FORMS",
    "METHODS",
    "MIXTURES",
    "PERTURBATIONS",
    "POOLS",
    "RECIPE_VERSION",
    "SIMALIGN",
    "STUDENTS",
    "SWAPS",
    "TASKS",
    "WRITTEN",
    "Cell",
    "Checkpoint",
    "DistillRecipe",
    "Distillation",
    "EvaluateRecipe",
    "FewshotRecipe",
    "FinetuneRecipe",
    "LabelRecipe",
    "Perturbation",
    "PretrainRecipe",
    "Pretraining",
    "Projection",
    "Recipe",
    "Resources",
    "Similarity",
    "SimilarityRecipe",
    "Site",
    "Split",
    "StepRecipe",
    "Study",
    "Training",
    "Weights",
    "WordAlignment",
    "parse_axis",
]
