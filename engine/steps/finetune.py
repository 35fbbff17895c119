"""Finetune: labeled text of one or several languages -> a tagger (a teacher, or the in-language ceiling)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.data.corpora import read_split
from engine.data.sampling import tempered
from engine.models.load import new_tagger
from engine.models.saved import save_tagger
from engine.models.tagger import Tagger
from engine.spec import FinetuneRecipe, Site
from engine.steps.base import start
from engine.steps.figures import of_training
from engine.steps.tasks import TASKS
from engine.train.loop import Backend
from engine.train.losses import cross_entropy
from engine.train.tagging import fit, trained


def run(
    recipe: FinetuneRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Train a new tagger with cross-entropy on the gold tags. Several languages are pooled, as `tempered` takes them."""
    languages = [read_split(split, site.data) for split in recipe.data]
    drawn = tempered(languages, recipe.alpha, recipe.seed)
    sentences = [sentences[i] for sentences, chosen in zip(languages, drawn, strict=True) for i in chosen]
    task = TASKS[recipe.data[0].task]
    tags = task.labels(recipe.data[0])
    labels = task.learned(sentences, tags)
    checkpoint = start(recipe.base, inputs, site)

    def untrained() -> Tagger:
        return new_tagger(checkpoint, recipe.form, tags, recipe.seed)

    tagger = untrained()
    log = fit(
        tagger, sentences, labels, cross_entropy, recipe.training, recipe.seed, site.resources.micro_batch, backend
    )
    if whole := trained(tagger, untrained, backend):
        save_tagger(whole, out)
    return of_training(log)
