"""Label: a teacher and a pool -> soft labels, a distribution over the tags at each word.

Done once for the study's largest volume. Subsets are nested, so the students of smaller volumes read a prefix.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.sampling import subset
from engine.models.predict import probabilities
from engine.models.saved import load_tagger
from engine.spec import LabelRecipe, Site
from engine.steps.base import start
from engine.steps.tasks import read_unlabeled
from engine.train.loop import Backend

FILE = "labels.npz"


def run(
    recipe: LabelRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Write float16 probabilities (words of all sentences, K), each sentence's first row, in the subset's order, and the tags."""
    chosen = subset(read_unlabeled(recipe.pool, site.data), recipe.volume, recipe.seed)
    tagger = load_tagger(inputs["teacher"], start(recipe.base, inputs, site)).to(backend.device)
    answers = probabilities(tagger, chosen, recipe.max_tokens, 64, recipe.precision)
    starts = np.cumsum([0, *(len(answer) for answer in answers)])
    rows = np.concatenate(answers).astype(np.float16)
    np.savez(out / FILE, probabilities=rows, starts=starts, tags=np.array(tagger.tags))
    return {"sentences": len(chosen), "words": int(starts[-1])}


def read_labels(folder: Path, volume: int) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Return the K tags and the soft labels of the first `volume` sentences: float32 (words, K) each, rows summing to 1."""
    with np.load(folder / FILE, allow_pickle=False) as file:
        starts = file["starts"][: volume + 1]
        rows = file["probabilities"][: starts[-1]].astype(np.float32)
        tags = tuple(file["tags"].tolist())
    rows /= rows.sum(axis=-1, keepdims=True)  # what float16 rounded off
    return tags, [rows[start:stop] for start, stop in pairwise(starts)]
