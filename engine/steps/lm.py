"""LM: unlabeled text and the base, before any fine-tuning -> LML and LMEM (`engine.models.fill`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.data.corpora import read_pool
from engine.data.sampling import subset
from engine.models.fill import fill, trained
from engine.spec import LanguageModelRecipe, Site
from engine.steps.base import start
from engine.train.loop import Backend


def run(
    recipe: LanguageModelRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Write nothing: the figures are all."""
    pool = read_pool(recipe.pool, site.data)
    sentences = subset(pool, min(recipe.sentences, len(pool)), recipe.seed)
    model = trained(start(recipe.base, inputs, site), recipe.objective)
    found = fill(model, sentences, recipe.masked, recipe.max_tokens, recipe.seed, recipe.precision, backend.device)
    measured = {name: found.pop(name) for name in ("lml", "lmem")}
    return {"sentences": len(sentences), **found, "measured": measured}
