"""Project: labeled sentences and their translations -> the translations, labeled.

Onto translations of labeled text it makes text to train on; onto the originals of translated test text, answers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from engine.data.sentences import Sentence
from engine.data.translation import Translated
from engine.models.predict import decode, probabilities, write
from engine.models.saved import load_tagger
from engine.models.tagger import Tagger
from engine.models.text2text import Text2Text
from engine.projection.aligners import new_aligner
from engine.projection.project import project_all
from engine.spec import ProjectRecipe, Site
from engine.steps.base import start
from engine.steps.translate import WORDS, read_translations
from engine.tasks.ner import spans
from engine.train.loop import Backend

FILE = "projected.parquet"
BATCH = 64  # sentences of a forward pass
ALIGNED = 1_000  # sentence pairs whose subwords' states are in memory


def run(
    recipe: ProjectRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Write words and tags of the side that is to be labeled, in order. Returns, as figures, the entities given and placed."""
    pairs = read_translations(inputs["translations"])
    if recipe.backwards:
        pairs = [pair.turned() for pair in pairs]
    tagger = load_tagger(inputs["model 0"], start(recipe.base, inputs, site)).to(backend.device) if recipe.model else None
    labeled = _answered(pairs, tagger, recipe) if recipe.predicted else [pair.original for pair in pairs]
    targets = [Sentence(pair.translation) for pair in pairs]
    likely = _likely(tagger, targets, recipe) if recipe.projection.needs_tagger else None
    tags = project_all(
        labeled, [pair.translation for pair in pairs], _alignments(pairs, recipe, inputs, site, backend), recipe.projection,
        probabilities=likely, tags=tagger.tags if tagger else (),
    )  # fmt: skip
    rows = [(target.words, answer) for target, answer in zip(targets, tags, strict=True)]
    pl.DataFrame(rows, schema={"words": WORDS, "tags": WORDS}, orient="row").write_parquet(out / FILE)
    return {"sentences": len(rows), "entities": _entities([s.tags or () for s in labeled]), "projected": _entities(tags)}


def read_projected(folder: Path) -> list[Sentence]:
    """Return the sentences that a project step wrote, in order."""
    return [Sentence(tuple(words), tuple(tags)) for words, tags in pl.read_parquet(folder / FILE).rows()]


def _answered(pairs: Sequence[Translated], tagger: Tagger, recipe: ProjectRecipe) -> list[Sentence]:
    """The originals with the tags that the tagger gives them."""
    originals = [pair.original for pair in pairs]
    if isinstance(tagger, Text2Text):
        written = write(tagger, originals, recipe.max_tokens, BATCH, recipe.precision)
        answered = tagger.answers(originals, *written)
        return [Sentence(original.words, answer.tags) for original, answer in zip(originals, answered, strict=True)]
    answers = decode(_likely(tagger, originals, recipe), tagger.tags)
    return [Sentence(original.words, tags) for original, tags in zip(originals, answers, strict=True)]


def _likely(tagger: Tagger, sentences: Sequence[Sentence], recipe: ProjectRecipe) -> list[np.ndarray]:
    return probabilities(tagger, sentences, recipe.max_tokens, BATCH, recipe.precision)


def _alignments(
    pairs: Sequence[Translated], recipe: ProjectRecipe, inputs: Mapping[str, Path], site: Site, backend: Backend
) -> list[Any]:
    settings = recipe.projection.alignment
    if settings.aligner == "gold":
        return [pair.alignment for pair in pairs]
    checkpoint = start(recipe.aligner, inputs, site) if recipe.aligner else ""
    align = new_aligner(settings, checkpoint, recipe.max_tokens, recipe.precision, str(backend.device))
    words = [(pair.original.words, pair.translation) for pair in pairs]
    if settings.aligner != "embedding":
        return align(words)  # it counts in all of them
    return [found for first in range(0, len(words), ALIGNED) for found in align(words[first : first + ALIGNED])]


def _entities(tags: Sequence[Sequence[str]]) -> int:
    return sum(len(spans(row)) for row in tags)
