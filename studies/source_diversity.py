"""Does a more diverse set of sources transfer better? (question Q1)

Hypothesis: of source sets of one size and about equally far from the targets, the more diverse give the higher span F1, to
direct transfer and to students, and students the larger gain over their teacher. Each set holds three languages; the mean
syntactic distance between them varies, and their distance to the targets, the mean over all of them, is held
(`engine.source_sets.by_diversity`). To a single target it is not: among these sets it goes with diversity by up to r = .84, in
either direction. The report therefore holds each target's own distance by regression (`analysis.diversity`), by the same
distances that the sets were made by. The labeled text of a set is pooled and the number of updates is the same for each, so
that diversity is not confounded with the amount of either. A student has the pooled model for a teacher, or one teacher for each
source (Wu et al. 2020). The local form has sets of two and one seed.

    python -m engine.study studies/source_diversity.py --plan      full scale, on a cluster
    python -m engine.study studies/source_diversity.py --local     the local form, on a laptop, with made languages
"""

from collections.abc import Sequence

from analysis.diversity import DISTANCE
from analysis.typology import matrices
from engine.models import recipes
from engine.source_sets import SourceSet, by_diversity, of_size
from engine.spec import Study


def sets(sources: Sequence[str], targets: Sequence[str], size: int, number: int) -> tuple[SourceSet, ...]:
    """Source sets by the diversity that the report asks about."""
    codes = [*sources, *targets]
    known = matrices(codes, names=(DISTANCE,))[DISTANCE].values
    place = {code: number for number, code in enumerate(codes)}
    return tuple(by_diversity(of_size(sources, size), targets, lambda a, b: known[place[a], place[b]], number))


TARGETS = ("afr", "ben", "bre", "cym", "est", "eus", "jav", "kat", "msa", "swa", "tam", "yor")
LOCAL_TARGETS = ("x-nld", "x-pol", "x-swa")

study = Study(
    name="source_diversity",
    question="Does a more diverse set of sources transfer better?",
    hypothesis="At one mean distance to the targets, F1 and the gain of students rise with the mean distance between the sources.",
    dataset="wikiann",
    model="google/mt5-base@refs/pr/5",  # main has no safetensors, and only these are read
    methods=("direct", "teacher-student", "multi-teacher", "in-language"),
    sources=sets(("ara", "deu", "eng", "fin", "fra", "hin", "hun", "rus", "spa", "tur"), TARGETS, 3, 12),
    targets=TARGETS,
    volumes=(0, 10_000),
    pool="text",
)

local = study.varied(
    dataset="sandbox",
    model="tiny",
    sources=sets(("x-deu", "x-eng", "x-fin", "x-fra", "x-hin", "x-rus", "x-tur"), LOCAL_TARGETS, 2, 5),
    targets=LOCAL_TARGETS,
    volumes=(0, 400),
    seeds=0,
    pool="train",
    recipes=recipes.LOCAL,
)
