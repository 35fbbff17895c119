"""Fewshot: a tagger and a few labeled sentences of the target -> a tagger. It goes on from where the sources led."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.data.sampling import subset
from engine.models.saved import load_tagger, save_tagger
from engine.models.tagger import Tagger
from engine.spec import FewshotRecipe, Site
from engine.steps.base import start
from engine.steps.figures import of_training
from engine.steps.tasks import TASKS, read
from engine.train.loop import Backend
from engine.train.losses import cross_entropy
from engine.train.tagging import fit, trained


def run(
    recipe: FewshotRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Train the tagger on the gold tags of the subset. Subsets are nested: more shots add to fewer."""
    where = f"{recipe.data.dataset} {recipe.data.language} {recipe.data.split}"
    way_out = f"They are the shots, of {where}, which has no more: lower the axis shots."
    sentences = subset(read(recipe.data, site.data), recipe.shots, recipe.seed, way_out)
    checkpoint = start(recipe.base, inputs, site)

    def before() -> Tagger:
        return load_tagger(inputs["model 0"], checkpoint)

    tagger = before()
    labels = TASKS[recipe.data.task].learned(sentences, tagger.tags)
    log = fit(
        tagger, sentences, labels, cross_entropy, recipe.training, recipe.seed, site.resources.micro_batch, backend
    )
    if whole := trained(tagger, before, backend):
        save_tagger(whole, out)
    return of_training(log)
