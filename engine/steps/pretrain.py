"""Pretrain: unlabeled text of several languages -> a base model. The tiny model is made here first."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.data.corpora import read_pool
from engine.data.sampling import subset
from engine.data.sentences import Sentence
from engine.models.pretraining import Pretrainer, pretrainer
from engine.models.sizes import TINY_CHECKPOINT
from engine.models.tiny import make_tiny
from engine.spec import PretrainRecipe, Site
from engine.steps.base import start
from engine.steps.figures import of_training
from engine.train.loop import Backend
from engine.train.losses import cross_entropy
from engine.train.tagging import fit_examples, trained


def run(
    recipe: PretrainRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Train the recipe's checkpoint on its objective and write it in Hugging Face format."""
    texts = _texts(recipe, site)
    training = recipe.training
    with TemporaryDirectory() as folder:
        checkpoint = start(recipe.base, inputs, site)
        if recipe.base == TINY_CHECKPOINT:
            checkpoint = folder
            make_tiny(Path(folder), texts, recipe.seed)

        def untrained() -> Pretrainer:
            return pretrainer(checkpoint, training.objective, recipe.seed)

        model = untrained()
        examples, targets = model.examples(texts, training.masked, training.max_tokens, recipe.seed)
        log = fit_examples(
            model, examples, targets, cross_entropy, training, recipe.seed, site.resources.micro_batch, backend
        )
        if whole := trained(model, untrained, backend):
            whole.save(out)
    return of_training(log)


def _texts(recipe: PretrainRecipe, site: Site) -> list[Sentence]:
    texts = []
    for split in recipe.data:
        sentences = read_pool(split, site.data)
        texts += subset(sentences, min(recipe.training.sentences, len(sentences)), recipe.seed)
    return texts
