"""Does more unlabeled target text help, for which language pairs, and how robust is transfer? (question Q3)

Hypothesis: the span F1 of a single-source student (Wu et al. 2020) rises with the logarithm of the number of
unlabeled target sentences and then saturates; how much it gains over its teacher falls with the distance between
source and target. The number of updates is the same at every volume, so that volume is not confounded with compute,
and the volumes are nested, so that the curves are paired. Each model also reads test text whose names were replaced, at full scale
also such whose context, or both were (Manafi & Krishnaswamy 2024): per share of entities edited, transferred models lose less than
in-language ones, which know the names. Perturbed text costs evaluations and no training; --set perturbations=none leaves it out.

    python -m engine.study studies/data_volume.py --plan          full scale, on a cluster
    python -m engine.study studies/data_volume.py --local         the local form, on a laptop, with made languages
"""

from engine.models import recipes
from engine.spec import Study

study = Study(
    name="data_volume",
    question="Does more unlabeled target text help teacher-student NER, and for which language pairs?",
    hypothesis="Student F1 rises with log volume and saturates; the gain over the teacher falls with distance.",
    dataset="wikiann",
    model="google/mt5-base@refs/pr/5",  # main has no safetensors, and only these are read
    methods=("direct", "teacher-student", "in-language"),
    sources=("ara", "deu", "eng", "hin", "ind", "rus", "spa", "tur"),
    targets=(
        "afr", "ben", "bre", "cym", "est", "eus", "fin", "hun", "jav", "kat", "mal", "msa", "swa", "tam", "tgl", "yor",
    ),
    volumes=(0, 100, 1_000, 10_000, 30_000, 100_000),
    perturbations=("none", "names", "context", "both"),
    seeds=(0, 1, 2, 3, 4),
    pool="text",
)  # fmt: skip

local = study.varied(
    dataset="sandbox",
    model="tiny",
    methods=("direct", "teacher-student", "in-language"),
    sources="x-eng",
    targets=("x-nld", "x-rus", "x-tur"),
    volumes=(0, 100, 400, 1_600),
    perturbations=("none", "names"),
    seeds=(0, 1, 2),
    pool="train",
    recipes=recipes.LOCAL,
)
