"""How does the alignment of source and target predict what a teacher-student model transfers? (question Q5)

Hypothesis: the better a pretrained model aligns two languages before any training (embeddings of parallel sentences: cosine,
linear CKA, retrieval, distance, a rotation's error; Conneau et al. 2020), the higher is the span F1 of direct transfer between
them and the larger the gain of a student over its teacher (Wu et al. 2020). Overlap of words and names, the model's loss on
either language and the teacher's entropy stand beside it, for alignment may only stand for one of these. Each pair is a
teacher and a student at one volume of text; the report regresses F1 and gain on the measures, by language.

    python -m engine.study studies/alignment.py --plan --data DIR      full scale on WikiAnn, on a cluster
    python -m engine.study studies/alignment.py --local                the local form, on a laptop, with made languages

DIR has the parallel text: DIR/parallel/NAME_multiway.tsv with all of the languages, as NTREX-128's. On CoNLL-2002 and 2003,
whose German is not on the hub (where DIR has it as ner/german/deu, add +german and deu):

    python -m engine.study studies/alignment.py --data DIR --out runs/alignment_conll --set dataset=conll2003+conll2002 \\
        --set sources=eng,nld,spa --set targets=eng,nld,spa
"""

from engine.models import recipes
from engine.spec import Study

study = Study(
    name="alignment",
    question="How does the alignment of source and target predict what a teacher-student model transfers?",
    hypothesis="F1 of direct transfer and the student's gain over its teacher rise with the alignment of source and target.",
    dataset="wikiann",
    model="google/mt5-base@refs/pr/5",  # main has no safetensors, and only these are read
    methods=("direct", "teacher-student"),
    sources=("ara", "deu", "eng", "fin", "hin", "ind", "rus", "spa", "tur"),
    targets=("ben", "dan", "ell", "fas", "fra", "hrv", "hun", "ita", "nld", "pol", "por", "ron", "slk", "swa", "swe", "ukr", "yor"),
    volumes=(0, 10_000),
    pool="text",
    measures=("lm", "overlap", "alignment", "identity", "teachers"),
)

local = study.varied(
    dataset="sandbox",
    model="tiny",
    sources=("x-deu", "x-eng", "x-fin", "x-rus", "x-tur"),
    targets=("x-hun", "x-nld", "x-pol", "x-swa", "x-swe"),
    volumes=(0, 400),
    seeds=0,
    pool="train",
    recipes=recipes.LOCAL,
)
