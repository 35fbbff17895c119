"""Evaluate: a tagger, or several together, and a labeled split -> span counts per entity type, and per sentence.

With each sentence's counts come its predicted tags.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from engine.data.corpora import read_split
from engine.data.perturb import perturb
from engine.data.sampling import subset
from engine.data.sentences import Sentence
from engine.models.predict import decode, probabilities
from engine.models.saved import load_tagger
from engine.models.similarity import mixture
from engine.spec import EvaluateRecipe, Site
from engine.steps.base import start
from engine.steps.similarity import teacher_weights
from engine.tasks.ner import ALL, count
from engine.train.loop import Backend

COUNTS = "counts.parquet"
SENTENCES = "sentences.parquet"


def run(
    recipe: EvaluateRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Write counts.parquet (one row a type and ALL) and sentences.parquet (for a paired bootstrap without a rerun)."""
    sentences, exposure = _test(recipe, site)
    answers = []
    for number in range(len(recipe.models)):
        tagger = load_tagger(inputs[f"model {number}"], start(recipe.base, inputs, site)).to(backend.device)
        answers.append(probabilities(tagger, sentences, recipe.max_tokens, 64, recipe.precision))
    predicted = decode(mixture(answers, teacher_weights(recipe, len(answers), inputs)), tagger.tags)
    gold = [sentence.tags or () for sentence in sentences]
    total = count(gold, predicted)
    rows = [(kind, *total.get(kind, (0, 0, 0))) for kind in (*sorted(recipe.data.types), ALL)]
    pl.DataFrame(rows, schema=["entity_type", "tp", "fp", "fn"], orient="row").write_parquet(out / COUNTS)
    single = [count([right], [answer])[ALL] for right, answer in zip(gold, predicted, strict=True)]
    pl.DataFrame(
        {
            "sentence": range(len(sentences)),
            "tp": [tp for tp, _, _ in single],
            "fp": [fp for _, fp, _ in single],
            "fn": [fn for _, _, fn in single],
            "predicted": predicted,
        }
    ).write_parquet(out / SENTENCES)
    return {"sentences": len(sentences), "exposure": exposure}


def _test(recipe: EvaluateRecipe, site: Site) -> tuple[list[Sentence], float | None]:
    """The test sentences, and the share of their entities that a perturbation edited."""
    sentences, perturbation = read_split(recipe.data, site.data), recipe.perturbation
    if perturbation is None:
        return sentences, None
    train, other = [], [s for split in perturbation.other for s in read_split(split, site.data)]
    for split in perturbation.train:
        labeled = read_split(split, site.data)
        if perturbation.shots and split.language == recipe.data.language:
            labeled = subset(labeled, perturbation.shots, perturbation.seed)
        train += labeled
    return perturb(perturbation.kind, sentences, train, other, perturbation.seed)
