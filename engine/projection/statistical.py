"""Aligners that count which words occur together in the very pairs they align; no model, no torch. In the extra `align`.

Of thot (sil-thot, LGPL-3.0), which is imported where such an aligner is made and not before.
"""

import importlib.util
from collections.abc import Sequence
from typing import Any

from engine.errors import StudyError
from engine.projection.alignment import Alignment, as_pairs

MODELS = {"eflomal": "EflomalAlignmentModel", "fast-align": "FastAlignModel"}
ITERATIONS = 5  # of fast_align, as its authors' default; eflomal schedules its own by the number of sentences
SEED = 0


def check_installed(aligner: str) -> None:
    """Raise StudyError, naming the extra, where the package of a statistical aligner is missing."""
    if importlib.util.find_spec("thot") is None:
        raise StudyError(
            f"aligner={aligner!r} needs the package sil-thot, which is not installed: pip install 'sprachbund[align]'. "
            "The aligner 'embedding' needs no other package."
        )


class StatisticalAligner:
    """eflomal (Östling & Tiedemann 2016) or fast_align (Dyer et al. 2013), trained in both directions on what it aligns.

    `name`: "eflomal" or "fast-align". The two directions are joined by grow-diag-final-and (Koehn et al. 2005). Raises
    StudyError where thot is not installed.
    """

    def __init__(self, name: str) -> None:
        check_installed(name)
        from thot import alignment

        self.name, self._thot = name, alignment

    def __call__(self, pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> list[Alignment]:
        """Return the alignment of each pair (source words, target words). They should be many: hundreds at least."""
        if not pairs:
            return []
        forward = self._trained(pairs)
        backward = self._trained([(target, source) for source, target in pairs])
        aligner = self._thot.SymmetrizedAligner(forward, backward)
        aligner.heuristic = self._thot.SymmetrizationHeuristic.GROW_DIAG_FINAL_AND
        sources, targets = ([list(words) for words in side] for side in zip(*pairs, strict=True))
        return [as_pairs(matrix.to_numpy()) for _, matrix in aligner.get_best_alignments(sources, targets)]

    def _trained(self, pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> Any:
        model = getattr(self._thot, MODELS[self.name])()
        if self.name == "eflomal":
            model.seed, model.deterministic = SEED, True
        for source, target in pairs:
            model.add_sentence_pair(list(source), list(target))
        model.start_training()
        for _ in range(model.scheduled_iterations if self.name == "eflomal" else ITERATIONS):
            model.train()
        model.end_training()
        return model
