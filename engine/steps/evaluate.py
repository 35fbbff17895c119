"""Evaluate: a model, or several together, and a labeled split -> scores per entity type or label, and per sentence.

With each sentence's counts come its predicted tags. What is scored how: `engine.steps.tasks`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.data.corpora import read_pool, read_split
from engine.data.perturb import perturb
from engine.data.sampling import subset
from engine.data.sentences import Sentence
from engine.models.predict import probabilities, write
from engine.models.saved import load_tagger
from engine.models.similarity import mixture
from engine.models.text2text import Text2Text
from engine.spec import EvaluateRecipe, Site, Split, Taken, TextPerturbation, TranslatedText
from engine.steps.base import start
from engine.steps.figures import of_cut
from engine.steps.similarity import teacher_weights
from engine.steps.tasks import TASKS, read
from engine.steps.translate import read_translations
from engine.train.loop import Backend

COUNTS = "counts.parquet"
SENTENCES = "sentences.parquet"


def run(
    recipe: EvaluateRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Write counts.parquet (one row a type and ALL) and sentences.parquet (for a paired bootstrap without a rerun)."""
    examples, exposure = _test(recipe, inputs, site)
    answers, cut = _answers(recipe, examples, inputs, site, backend)
    return write_scores(examples, answers, recipe.data, out) | {"exposure": exposure} | cut


def write_scores(examples: Sequence[Any], answers: Sequence[Any], data: Split, out: Path) -> dict[str, Any]:
    """Score the answers to a split's examples and write both files. Returns the figures."""
    scores = TASKS[data.task].scored(examples, answers, data.types)
    scores.total.write_parquet(out / COUNTS)
    scores.single.write_parquet(out / SENTENCES)
    return {"sentences": len(examples)} | scores.figures


def _answers(
    recipe: EvaluateRecipe, examples: Sequence[Any], inputs: Mapping[str, Path], site: Site, backend: Backend
) -> tuple[Sequence[Any], dict[str, Any]]:
    """What a model answers, or several together by the mean of their probabilities; and the share of inputs that were cut."""
    answers = []
    for number in range(len(recipe.models)):
        tagger = load_tagger(inputs[f"model {number}"], start(recipe.base, inputs, site)).to(backend.device)
        if isinstance(tagger, Text2Text):  # alone: what is written has no mean
            written = write(tagger, examples, recipe.max_tokens, 64, recipe.precision)
            return tagger.answers(examples, *written), of_cut(recipe.data.task, tagger, examples, recipe.max_tokens)
        answers.append(probabilities(tagger, examples, recipe.max_tokens, 64, recipe.precision))
    mean = mixture(answers, teacher_weights(recipe, len(answers), inputs))
    cut = of_cut(recipe.data.task, tagger, examples, recipe.max_tokens)
    return TASKS[recipe.data.task].decoded(mean, tagger.tags), cut


def _test(recipe: EvaluateRecipe, inputs: Mapping[str, Path], site: Site) -> tuple[list[Any], float | None]:
    """The test sentences, and the share of their entities that a perturbation edited."""
    sentences, perturbation = read(recipe.data, site.data), recipe.perturbation
    if perturbation is None:
        return sentences, None
    train, other = [], [s for split in perturbation.other for s in read_split(split, site.data)]
    for split in perturbation.train:
        labeled = read_split(split, site.data)
        if perturbation.shots and split.language == recipe.data.language:
            labeled = subset(labeled, perturbation.shots, perturbation.seed)
        train += labeled
    for part in perturbation.read if isinstance(perturbation, TextPerturbation) else ():
        text = _text(part, inputs, site)
        train += subset(text, min(part.volume, len(text)), perturbation.seed)
    return perturb(perturbation.kind, sentences, train, other, perturbation.seed)


def _text(part: Taken | TranslatedText, inputs: Mapping[str, Path], site: Site) -> list[Sentence]:
    """All the text of which a model read a part, without tags."""
    if isinstance(part, Taken):
        return read_pool(part.pool, site.data)
    return [Sentence(pair.translation) for i in range(len(part.steps)) for pair in read_translations(inputs[f"translated {i}"])]
