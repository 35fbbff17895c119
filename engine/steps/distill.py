"""Distill: soft labels on unlabeled target text -> a student (Wu et al. 2020, Single-TS; of several teachers Multi-TS).

Gold tags are never read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.data.sampling import subset
from engine.models.load import new_tagger
from engine.models.saved import save_tagger
from engine.models.similarity import mixture
from engine.models.tagger import Tagger
from engine.spec import DistillRecipe, Site
from engine.steps.base import start
from engine.steps.figures import of_training
from engine.steps.label import read_labels
from engine.steps.similarity import teacher_weights
from engine.steps.tasks import read_unlabeled
from engine.train.loop import Backend
from engine.train.losses import kl, mse
from engine.train.tagging import fit, trained

LOSSES = {"mse": mse, "kl": kl}


def run(
    recipe: DistillRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Train a student that starts from the base, as its teacher did: from the teacher itself it had nothing to learn."""
    sentences = subset(read_unlabeled(recipe.pool, site.data), recipe.volume, recipe.seed)
    number = len(recipe.labels)
    (tags, *_), answers = zip(*(read_labels(inputs[f"labels {i}"], recipe.volume) for i in range(number)), strict=True)
    labels = mixture(answers, teacher_weights(recipe, number, inputs))
    checkpoint = start(recipe.base, inputs, site)

    def untrained() -> Tagger:
        return new_tagger(checkpoint, recipe.form, tags, recipe.seed)

    student = untrained()
    loss = LOSSES[recipe.training.loss]
    log = fit(student, sentences, labels, loss, recipe.training, recipe.seed, site.resources.micro_batch, backend)
    if whole := trained(student, untrained, backend):
        save_tagger(whole, out)
    return of_training(log)
