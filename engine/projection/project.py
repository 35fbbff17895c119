"""Annotation projection: the tags of a labeled sentence's translation. What each setting does: `engine.spec.Projection`."""

from collections.abc import Sequence

import numpy as np

from engine.data.sentences import Sentence
from engine.errors import DataError
from engine.projection import match, scores
from engine.projection.alignment import Alignment, as_matrix
from engine.projection.candidates import Candidates, ngrams, predicted
from engine.spec import Projection
from engine.tasks.ner import spans
from engine.tasks.spans import tagged


def project(
    source: Sentence,
    target_words: Sequence[str],
    alignment: Alignment | np.ndarray,
    settings: Projection,
    *,
    probabilities: np.ndarray | None = None,
    tags: Sequence[str] = (),
    nmt: np.ndarray | None = None,
) -> tuple[str, ...]:
    """Return the IOB2 tags of the target words, one a word.

    `source`: a labeled sentence. `alignment`: pairs (source word, target word), or soft, float (source words, target words).
    `probabilities`: (target words, K), a tagger's for the K `tags`, where `settings.needs_tagger`. `nmt`: (entities,
    candidates), a translation model's scores, where `settings.needs_translation_scores`; the entities in order, the candidates
    as `candidates` returns them.

    Raises DataError where the source has no tags, or something given is missing or of another size than the sentences.
    """
    if source.tags is None:
        raise DataError(f"the sentence {' '.join(source.words)!r} has no tags to project.")
    matrix = as_matrix(alignment, len(source.words), len(target_words))
    kinds, entities = _entities(source.tags)
    if settings.matching == "heuristic":
        found = match.heuristic(matrix, entities, settings.gap, settings.length_ratio)
    else:
        places = candidates(len(target_words), settings, probabilities, tags)
        score = _scores(matrix, kinds, entities, places, settings, probabilities, tags, nmt)
        solve = {"ilp": match.ilp, "greedy": match.greedy}[settings.matching]
        found = [(entity, tuple(places[place])) for entity, place in solve(score, places, settings.n_proj, settings.bound)]
    return tagged([(kinds[entity], first, stop - 1) for entity, (first, stop) in found], len(target_words))


def project_all(
    sources: Sequence[Sentence],
    targets: Sequence[Sequence[str]],
    alignments: Sequence[Alignment | np.ndarray],
    settings: Projection,
    *,
    probabilities: Sequence[np.ndarray] | None = None,
    tags: Sequence[str] = (),
    nmt: Sequence[np.ndarray] | None = None,
) -> list[tuple[str, ...]]:
    """Return the tags of many translations; as `project`, with one of each for every sentence."""
    none = [None] * len(sources)
    given = zip(sources, targets, alignments, probabilities or none, nmt or none, strict=True)
    return [
        project(source, target, alignment, settings, probabilities=likely, tags=tags, nmt=scored)
        for source, target, alignment, likely, scored in given
    ]


def candidates(words: int, settings: Projection, probabilities: np.ndarray | None = None, tags: Sequence[str] = ()) -> Candidates:
    """Return where in a translation of so many words an entity may stand, (T, 2): first word, word after the last."""
    if settings.candidates == "ngrams":
        return ngrams(words, settings.max_words)
    return predicted(_known(probabilities, words, tags, settings), tags)


def _scores(
    matrix: np.ndarray,
    kinds: Sequence[str],
    entities: Sequence[tuple[int, int]],
    places: Candidates,
    settings: Projection,
    probabilities: np.ndarray | None,
    tags: Sequence[str],
    nmt: np.ndarray | None,
) -> np.ndarray:
    """The scores (entities, candidates) that the settings ask for."""
    if not entities:
        return np.zeros((0, len(places)))
    total = np.zeros((len(entities), len(places)))
    for name, weight in settings.scores.items():
        if name == "align":
            part = scores.align(matrix, entities, places)
        elif name == "nmt":
            part = scores.nmt(nmt, (len(entities), len(places)), settings.nmt_threshold)
        else:
            likely = _known(probabilities, matrix.shape[1], tags, settings)
            by_type = scores.by_type(likely, tags, places, settings.alpha, settings.ner_threshold)
            part = scores.ner(by_type, kinds) if name == "ner" else scores.ner_spans(by_type, len(entities))
        total += weight * part
    return total


def _known(probabilities: np.ndarray | None, words: int, tags: Sequence[str], settings: Projection) -> np.ndarray:
    if probabilities is None or probabilities.shape != (words, len(tags)):
        raise DataError(
            f"candidates={settings.candidates!r} with score={settings.score!r} needs a tagger's probabilities for {words} words "
            f"and {len(tags)} tags, and has {'none' if probabilities is None else probabilities.shape}."
        )
    return probabilities


def _entities(tags: Sequence[str]) -> tuple[list[str], list[tuple[int, int]]]:
    """The types and the spans, (first word, word after the last), of a sentence's entities."""
    found = spans(tags)
    return [kind for kind, _, _ in found], [(first, last + 1) for _, first, last in found]
