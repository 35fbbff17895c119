"""What does multi-source pretraining give to few-shot NER in a low-resource language? (question Q2)

Hypothesis: span F1 rises with the logarithm of the number of labeled target sentences (Muller et al. 2022), and a model
whose pretraining went on over the sources' and the target's text needs fewer of them. Four systems: direct transfer of a
pooled source set, and the same after continued pretraining (span corruption, Xue et al. 2021) on the text of the sources,
of the target, or of both; each then goes on with 0 to 500 labeled sentences, the fewer within the more.

    python -m engine.study studies/few_shot.py --plan      full scale, on a cluster
    python -m engine.study studies/few_shot.py --local     the local form, on a laptop, with made languages
"""

from engine.models import recipes
from engine.spec import Study

study = Study(
    name="few_shot",
    question="What does multi-source pretraining give to few-shot NER in low-resource languages?",
    hypothesis="F1 rises with log shots; continued pretraining on sources and target raises it most at few shots.",
    dataset="wikiann",
    model="google/mt5-base@refs/pr/5",  # main has no safetensors, and only these are read
    methods=("direct", "adapted-sources", "adapted-target", "adapted-both", "in-language"),
    sources=("eng", "ara+deu+eng+hin+ind+rus+spa+tur"),
    targets=("bre", "cym", "eus", "kat", "kaz", "mal", "msa", "swa", "tgl"),  # of those with 1,000 labeled sentences or more
    shots=(0, 5, 10, 50, 100, 500),
    pool="text",
)

local = study.varied(
    dataset="sandbox",
    model="tiny",
    sources="x-deu+x-eng",
    targets=("x-nld", "x-tur"),
    shots=(0, 5, 50, 500),
    seeds=(0, 1),
    pool="train",
    recipes=recipes.LOCAL,
)
