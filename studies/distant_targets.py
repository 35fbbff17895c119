"""How far do multi-source models degrade on distant, low-resource targets, compared with related ones? (question Q4)

Hypothesis: F1 falls with typological distance for every system, and less for students of several teachers weighted by
similarity (Wu et al. 2020) than for direct transfer. The targets are relatives of the sources and languages of other families.
Projection and translation, which the question also names, are not on the methods axis yet.

    python -m engine.study studies/distant_targets.py --plan      full scale, on a cluster
    python -m engine.study studies/distant_targets.py --local     the local form, on a laptop, with made languages
"""

from engine.models import recipes
from engine.spec import Study

study = Study(
    name="distant_targets",
    question="How far do multi-source models degrade on distant low-resource targets, compared with related ones?",
    hypothesis="F1 falls with distance, and less for similarity-weighted students of several teachers than for direct transfer.",
    dataset="wikiann",
    model="google/mt5-base",
    methods=("direct", "teacher-student", "multi-teacher", "multi-teacher-lid", "in-language"),
    sources=("eng", "deu+eng+fra+rus+spa"),
    targets=(
        "afr", "bel", "cat", "fao", "fry", "glg", "isl", "por",  # of the sources' families
        "eus", "hau", "jav", "kat", "msa", "swa", "tam", "yor",  # of others
    ),
    volumes=(0, 10_000),
    pool="text",
)  # fmt: skip

local = study.varied(
    dataset="sandbox",
    model="tiny",
    sources="x-deu+x-eng",
    targets=("x-nld", "x-swe", "x-tam", "x-tur"),
    volumes=(0, 400),
    seeds=(0, 1),
    pool="train",
    recipes=recipes.LOCAL,
)
