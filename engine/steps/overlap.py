"""Overlap: text of a source and of a target -> what they share, and how a tokenizer cuts each (`engine.data.overlap`)."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.data import overlap
from engine.data.corpora import read_pool, read_split
from engine.data.sampling import subset
from engine.data.sentences import Sentence
from engine.models.load import load_tokenizer
from engine.models.windows import Subwords
from engine.spec import OverlapRecipe, Site, Split
from engine.steps.base import start
from engine.train.loop import Backend


def run(
    recipe: OverlapRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Write nothing: the figures are all. Nothing is computed on a GPU."""
    subwords = Subwords(load_tokenizer(start(recipe.base, inputs, site)))

    def read(split: Split) -> tuple[list[str], list[list[int]]]:
        pool = read_pool(split, site.data)
        sentences = subset(pool, min(recipe.sentences, len(pool)), recipe.seed)
        return _words(sentences), subwords([_words(sentences)])[0]

    (ours, our_pieces), (theirs, their_pieces) = read(recipe.source), read(recipe.target)
    types = Counter(ours), Counter(theirs)
    pieces = tuple(Counter(i for word in each for i in word) for each in (our_pieces, their_pieces))
    measured = {
        "word_overlap": overlap.share(*types), "word_jaccard": overlap.jaccard(*types),
        "subword_overlap": overlap.share(*pieces), "subword_jaccard": overlap.jaccard(*pieces),
        "entity_overlap": overlap.shared_entities(read_split(recipe.train, site.data), read_split(recipe.test, site.data)),
        "ttr_distance": overlap.variety_distance(ours, theirs),
    }  # fmt: skip
    for role, each in (("source", our_pieces), ("target", their_pieces)):
        measured[f"fertility_{role}"] = sum(map(len, each)) / len(each)
        measured[f"unknown_{role}"] = sum(subwords.unknown in word for word in each) / len(each)
    return {"words": [len(ours), len(theirs)], "measured": measured}


def _words(sentences: list[Sentence]) -> list[str]:
    return [word for sentence in sentences for word in sentence.words]
