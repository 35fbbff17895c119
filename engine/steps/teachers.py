"""Teachers: the soft labels of one or several teachers on one pool -> how sure they are, and how far they agree."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.spec import Site, TeachersRecipe
from engine.steps.label import read_labels
from engine.train.loop import Backend


def run(
    recipe: TeachersRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Write nothing: the figures are all. No gold tag is read."""
    answers = [np.concatenate(read_labels(inputs[f"labels {i}"], recipe.volume)[1]) for i in range(len(recipe.labels))]
    return {"words": len(answers[0]), "measured": {"teacher_entropy": entropy(answers), "teacher_agreement": agreement(answers)}}


def entropy(answers: list[np.ndarray]) -> float:
    """The mean entropy, in nats, of each teacher's distribution at a word: of (words, tags) each; 0 to the log of the tags."""
    return float(np.mean([-(p * np.log(np.maximum(p, 1e-12))).sum(-1).mean() for p in answers]))


def agreement(answers: list[np.ndarray]) -> float | None:
    """The share of words at which two of the teachers have the same most probable tag, mean over pairs. None for one teacher."""
    best = [p.argmax(-1) for p in answers]
    pairs = [(a == b).mean() for i, a in enumerate(best) for b in best[:i]]
    return float(np.mean(pairs)) if pairs else None
