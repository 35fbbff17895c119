"""Score: a labeled split and the tags that a projection gave it -> span counts, as an evaluation writes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.data.corpora import read_split
from engine.spec import ScoreRecipe, Site
from engine.steps.evaluate import write_scores
from engine.steps.project import read_projected
from engine.tasks.spans import Tagged
from engine.train.loop import Backend


def run(
    recipe: ScoreRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Write counts.parquet and sentences.parquet."""
    sentences = read_split(recipe.data, site.data)
    answers = [Tagged(sentence.tags or ()) for sentence in read_projected(inputs["projected"])]
    return write_scores(sentences, answers, recipe.data, out) | {"exposure": None}
