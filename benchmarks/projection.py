"""`projection`: tags projected from `x-eng` against the target's own, by alignment and by matching, and what they take."""

import time
from random import Random

from benchmarks.report import Report
from engine.data.sandbox import translations
from engine.projection.alignment import Alignment
from engine.projection.project import project_all
from engine.projection.statistical import StatisticalAligner
from engine.spec import Projection
from engine.tasks.ner import ALL, count, f1

TARGETS = ("x-deu", "x-hin", "x-tur", "x-zul")
SENTENCES = 1_000
LOST, WRONG = 0.25, 0.25
MATCHINGS = {
    "heuristic": Projection(),
    "heuristic, ratio .6": Projection(length_ratio=0.6),
    "greedy": Projection(matching="greedy"),
    "ilp": Projection(matching="ilp"),
    "ilp, 2 at most": Projection(matching="ilp", n_proj=2),
    "ilp, 1 at least": Projection(matching="ilp", bound="at least"),
}
NOTE = (
    f"Span F1 on the first {SENTENCES:,} sentences of the split `parallel`, mean of {', '.join(TARGETS)}; made languages, no evidence "
    "about real ones. `eflomal` learns from the split's 4,000 pairs (extra `align`), at its aligner's seed 0. `noisy`: of the gold "
    f"pairs {LOST:.0%} are lost, drawn at random, and {WRONG:.0%} of the source words have a wrong one more. CPU time is of projecting 5,000 "
    "sentences by the noisy alignment, without aligning them."
)


def run() -> Report:
    """Project each target's sentences by each alignment and matching."""
    scores: dict[tuple[str, str], list[float]] = {}
    seconds = dict.fromkeys(MATCHINGS, 0.0)
    for target in TARGETS:
        text = translations("x-eng", target, "parallel")
        counted = StatisticalAligner("eflomal")([(ours.words, theirs.words) for ours, theirs, _ in text])
        sources, targets, gold = zip(*text[:SENTENCES], strict=True)
        random = Random(0)
        noisy = [_noisy(pairs, len(ours.words), len(theirs.words), random) for ours, theirs, pairs in text[:SENTENCES]]
        for alignment, pairs in (("gold", gold), ("eflomal", counted[:SENTENCES]), ("noisy", noisy)):
            for matching, settings in MATCHINGS.items():
                started = time.process_time()
                tags = project_all(sources, [sentence.words for sentence in targets], pairs, settings)
                seconds[matching] += (time.process_time() - started) * 5_000 / SENTENCES / len(TARGETS) * (alignment == "noisy")
                found = f1(*count([sentence.tags for sentence in targets], tags)[ALL])[2]
                scores.setdefault((matching, alignment), []).append(found)
    means = {key: sum(values) / len(TARGETS) for key, values in scores.items()}
    alignments = ("gold", "eflomal", "noisy")
    rows = [(name, *(f"{means[name, each]:.3f}" for each in alignments), f"{seconds[name]:.1f}") for name in MATCHINGS]
    figures = {f"{name} {alignment}": mean for (name, alignment), mean in means.items()}
    return Report("projection", ("matching", *alignments, "CPU s / 5,000"), rows, figures, (NOTE,))


def _noisy(alignment: Alignment, source: int, target: int, random: Random) -> Alignment:
    kept = {pair for pair in alignment if random.random() > LOST}
    return tuple(sorted(kept | {(i, random.randrange(target)) for i in range(source) if random.random() < WRONG}))
