"""How far do multi-source models degrade on distant, low-resource targets, compared with related ones? (question Q4)

Hypothesis: F1 falls with typological distance for every system; less for students of several teachers weighted by
similarity (Wu et al. 2020) than for direct transfer, and least where labels are projected onto translations (Politov et al. 2025),
which need no transfer between grammars. The targets are relatives of the sources and languages of other families, all of which
NLLB translates; fao, jav, som and yor have only 100 labeled sentences each to train on and to be tested on. NLLB's weights are
the hub's own conversion to safetensors (refs/pr/29 of its repository), untested, as the rest of the full scale. The sandbox's translations are exact and their alignment is known, so its local form shows projection at its best.

    python -m engine.study studies/distant_targets.py --plan      full scale, on a cluster
    python -m engine.study studies/distant_targets.py --local     the local form, on a laptop, with made languages
"""

from engine.models import recipes
from engine.spec import Study

study = Study(
    name="distant_targets",
    question="How far do multi-source models and projection degrade on distant low-resource targets, compared with related ones?",
    hypothesis="F1 falls with distance: most for direct transfer, less for weighted students of several teachers, least for projection.",
    dataset="wikiann",
    model="google/mt5-base@refs/pr/5",  # main has no safetensors, and only these are read
    methods=("direct", "teacher-student", "multi-teacher", "multi-teacher-lid", "translate-train", "translate-test", "in-language"),
    translator="facebook/nllb-200-distilled-600M@refs/pr/29",  # as with the model
    sources=("eng", "deu+eng+fra+rus+spa"),
    targets=(
        "afr", "bel", "cat", "fao", "glg", "isl", "ltz", "por",  # of the sources' families
        "eus", "jav", "kat", "msa", "som", "swa", "tam", "yor",  # of others
    ),
    volumes=(0, 10_000),
    pool="text",
)  # fmt: skip

local = study.varied(
    dataset="sandbox",
    model="tiny",
    translator="sandbox",
    methods=("direct", "multi-teacher-lid", "translate-train", "translate-test", "in-language"),
    sources=("x-eng", "x-deu+x-eng"),
    targets=("x-nld", "x-swe", "x-tam", "x-tur"),
    volumes=(0, 400),
    seeds=(0, 1),
    pool="train",
    recipes=recipes.LOCAL,
)
