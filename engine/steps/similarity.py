"""Similarity: text of several sources and of the target -> how similar each target sentence is to each source."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.corpora import read_pool
from engine.data.sampling import subset
from engine.data.sentences import Sentence
from engine.models.embed import Embedder
from engine.models.similarity import similarities, weights
from engine.spec import DistillRecipe, EvaluateRecipe, SimilarityRecipe, Site, Split
from engine.steps.base import start
from engine.train.loop import Backend

FILE = "similarity.npy"


def run(
    recipe: SimilarityRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Write (sentences of the pool's subset, sources) float32. Returns, as figures, the weights of the whole subset."""

    def read(split: Split, most: int) -> list[Sentence]:
        pool = read_pool(split, site.data)
        return subset(pool, min(most, len(pool)), recipe.seed)

    embed = Embedder(start(recipe.base, inputs, site), recipe.max_tokens, recipe.precision, backend.device)
    sources = [embed(read(split, recipe.training.sentences)) for split in recipe.sources]
    found = similarities(recipe.measure, sources, embed(read(recipe.pool, recipe.volume)), recipe.training, recipe.seed)
    np.save(out / FILE, found)
    mean = weights(found, "domain")[0]
    languages = [split.language for split in recipe.sources]
    return {"sentences": len(found), "weights": dict(zip(languages, mean.tolist(), strict=True))}


def teacher_weights(recipe: DistillRecipe | EvaluateRecipe, number: int, inputs: Mapping[str, Path]) -> np.ndarray:
    """Return the weights of so many teachers: (volume, number), or (1, number) where all sentences have the same."""
    if recipe.weights is None:
        return np.full((1, number), 1 / number, np.float32)
    return weights(np.load(inputs["similarity"] / FILE, allow_pickle=False)[: recipe.volume], recipe.weights.level)
