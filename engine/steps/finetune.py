"""Finetune: labeled text of one or several languages -> a tagger (a teacher, or the in-language ceiling)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.data.sampling import subset, tempered
from engine.data.sentences import Sentence
from engine.models.load import new_tagger
from engine.models.saved import save_tagger
from engine.models.tagger import Tagger
from engine.spec import FinetuneRecipe, Projected, Site
from engine.steps.base import start
from engine.steps.figures import of_cut, of_training
from engine.steps.project import read_projected
from engine.steps.tasks import TASKS, read
from engine.train.loop import Backend
from engine.train.losses import cross_entropy
from engine.train.tagging import fit, trained


def run(
    recipe: FinetuneRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Train a new tagger with cross-entropy on the gold tags, or on projected ones."""
    if isinstance(recipe.data, Projected):
        sentences, about = _projected(recipe.data, recipe.seed, inputs), recipe.data
    else:
        sentences, about = _labeled(recipe, site), recipe.data[0]
    task = TASKS[about.task]
    tags = task.labels(about)
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
    return of_training(log) | of_cut(about.task, tagger, sentences, recipe.training.max_tokens)


def _labeled(recipe: FinetuneRecipe, site: Site) -> list[Any]:
    """The examples of all languages, pooled as `tempered` takes them."""
    languages = [read(split, site.data) for split in recipe.data]
    drawn = tempered(languages, recipe.alpha, recipe.seed)
    return [sentences[i] for sentences, chosen in zip(languages, drawn, strict=True) for i in chosen]


def _projected(data: Projected, seed: int, inputs: Mapping[str, Path]) -> list[Sentence]:
    """A subset of what was projected from all sources together. Subsets are nested."""
    sentences = [sentence for i in range(len(data.steps)) for sentence in read_projected(inputs[f"projected {i}"])]
    return subset(sentences, data.volume, seed, "They are the volume of translate-train, and no more is translated: lower the volume.")
