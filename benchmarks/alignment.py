"""`alignment`: words that stay as they are in a translation, mostly names and numbers, found by a real encoder's layers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.material import shared
from benchmarks.report import Report
from engine.data.parallel import ParallelCorpus
from engine.data.sentences import Sentence
from engine.models.embed import Embedder
from engine.projection.aligners import EmbeddingAligner
from engine.projection.alignment import Alignment
from engine.spec import WordAlignment

TARGETS = ("deu", "swa", "yor")
SENTENCES = 60
LAYERS = (4, 8, 12)
WAYS = {
    f"{extraction}, {units}": WordAlignment(extraction=extraction, units=units)
    for extraction, units in (("argmax", "subwords"), ("argmax", "words"), ("itermax", "subwords"), ("match", "subwords"), ("softmax", "subwords"))
}
NOTE = (
    f"NTREX, the first {SENTENCES} sentences from eng to {', '.join(TARGETS)}; multilingual-e5-small-24, which has 12 layers. Words that begin "
    "with a capital or a digit, and stand once on each side in the same form, should align with each other and with nothing else: recall and "
    "precision of these links. An easy test, for they look alike. `links`: of all words, to each word of the translation."
)


def run() -> Report:
    """Align each target's sentences by each layer and way."""
    checkpoint, data = str(shared("models", "multilingual-e5-small-24")), shared("data")
    embedder = _Remembering(checkpoint, 256, "fp32", torch.device("cpu"))
    rows, figures = [], {}
    for target in TARGETS:
        pairs = _pairs(data, target)
        for layer in LAYERS:
            cells = []
            for name, way in WAYS.items():
                settings = WordAlignment(layer=layer, extraction=way.extraction, units=way.units)
                recall, precision, links = _scored(pairs, EmbeddingAligner(embedder, settings)(pairs))
                cells.append(f"{recall:.2f} / {precision:.2f} / {links:.2f}")
                figures |= {f"{target} {layer} {name} recall": recall, f"{target} {layer} {name} precision": precision}
            rows.append((target, str(layer), *cells))
    return Report("alignment: recall / precision / links", ("target", "layer", *WAYS), rows, figures, (NOTE,))


class _Remembering(Embedder):
    """An encoder that reads the same sentences once a layer, for all ways of alignment."""

    def subwords(self, sentences: Sequence[Sentence], layer: int) -> list[tuple[np.ndarray, np.ndarray]]:
        known = self.__dict__.setdefault("known", {})
        key = layer, tuple(sentences)
        if key not in known:
            known[key] = super().subwords(sentences, layer)
        return known[key]


def _pairs(data: Path, target: str) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(ours.words, theirs.words) for ours, theirs in ParallelCorpus(("ntrex",), str(data)).pairs("eng", target)[:SENTENCES]]


def _scored(pairs: list[tuple[tuple[str, ...], tuple[str, ...]]], found: list[Alignment]) -> tuple[float, float, float]:
    right = due = touching = links = words = 0
    for (ours, theirs), alignment in zip(pairs, found, strict=True):
        same = {(ours.index(word), theirs.index(word)) for word in {*ours} & {*theirs} if _anchor(word, ours, theirs)}
        first, second = {i for i, _ in same}, {j for _, j in same}
        right += len(same & {*alignment})
        due += len(same)
        touching += sum(i in first or j in second for i, j in alignment)
        links, words = links + len(alignment), words + len(theirs)
    return right / due, right / touching, links / words


def _anchor(word: str, ours: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    return len(word) > 1 and (word[0].isupper() or word[0].isdigit()) and ours.count(word) == theirs.count(word) == 1
