"""Alignment: parallel text of two languages and the base, before any fine-tuning -> how alike it embeds them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.data.parallel import ParallelCorpus
from engine.data.sampling import nested_subset
from engine.data.sentences import Sentence
from engine.errors import DataError
from engine.models.alignment import alignment
from engine.models.embed import Embedder
from engine.spec import AlignmentRecipe, Site
from engine.steps.base import start
from engine.train.loop import Backend


def run(
    recipe: AlignmentRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Write nothing: the figures are all. DataError where the corpus is no longer the one that was planned."""
    pairs = _pairs(recipe, site.data)
    sides = list(zip(*pairs, strict=True))
    chosen = nested_subset(sides[0], min(recipe.sentences, len(pairs)), recipe.seed)
    embed = Embedder(start(recipe.base, inputs, site), recipe.max_tokens, recipe.precision, backend.device)
    x, y = (embed([side[i] for i in chosen]) for side in sides)
    return {"sentences": len(chosen), "measured": alignment(x, y)}


def _pairs(recipe: AlignmentRecipe, data: str | None) -> list[tuple[Sentence, Sentence]]:
    if recipe.corpus == "sandbox":
        from engine.data import sandbox

        # the same meanings in the same order in every language
        return list(zip(*(sandbox.sentences(code, "parallel") for code in (recipe.source, recipe.target)), strict=True))
    corpus = ParallelCorpus((), data)
    if corpus.version(recipe.source, recipe.target) != recipe.version:
        raise DataError(
            f"the parallel text of {recipe.source} and {recipe.target} has changed since the study was planned. Run the study again "
            "to plan anew; all machines must see the same data."
        )
    return corpus.pairs(recipe.source, recipe.target)
