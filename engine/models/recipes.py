"""A model's own recipe: how each family is trained where a study says nothing else.

FULL is meant for GPUs, LOCAL for a laptop's CPU, NLI and QA for those tasks. A study overrides them with
`recipes={family: Recipe(...)}`.
"""

from dataclasses import replace
from typing import Any

from engine.languages import SANDBOX_CODES
from engine.spec import Distillation, Pretraining, Projection, Recipe, Training, WordAlignment

# Wu et al. 2020: batch 32, length 128, warm-up 0.1, bottom 3 layers frozen, teacher 5e-5, student 1e-4. Their 3 epochs
# over CoNLL-2003 are 1,317 updates.
_ENCODER = Recipe(
    finetune=Training(steps=1_500, learning_rate=5e-5, max_tokens=128, freeze_layers=3),
    distill=Distillation(steps=3_000, learning_rate=1e-4, max_tokens=128, freeze_layers=3),
    adapt=Pretraining(objective="masked-lm", sentences=100_000, steps=10_000, learning_rate=5e-5, max_tokens=128),
    fewshot=Training(steps=300, batch_size=16, learning_rate=5e-5, max_tokens=128, freeze_layers=3),
)

# Xue et al. 2021 fine-tune mT5 at a constant 1e-3; with AdamW in place of Adafactor a tenth of it is usual.
_MT5 = Recipe(
    finetune=Training(steps=4_000, batch_size=64, learning_rate=1e-4, schedule="constant", precision="bf16"),
    distill=Distillation(steps=6_000, batch_size=64, learning_rate=1e-4, schedule="constant", precision="bf16"),
    adapt=Pretraining(
        objective="span-corruption", sentences=100_000, steps=10_000, batch_size=64, learning_rate=1e-4, schedule="constant",
        precision="bf16",
    ),
    fewshot=Training(steps=300, batch_size=16, learning_rate=1e-4, schedule="constant", precision="bf16"),
)  # fmt: skip

_TINY_LANGUAGES = tuple(f"x-{code}" for code in SANDBOX_CODES)
_TINY_TRAINING: dict[str, Any] = {
    "learning_rate": 3e-3, "schedule": "cosine", "warmup": 0.06, "weight_decay": 0.0, "similar_lengths": 16,
}  # fmt: skip
_TINY = Recipe(
    pretrain=Pretraining(
        objective="denoise", languages=_TINY_LANGUAGES, sentences=2_000, masked=0.2, steps=750, batch_size=32,
        **_TINY_TRAINING,
    ),
    finetune=Training(steps=310, batch_size=24, **_TINY_TRAINING),
    distill=Distillation(steps=230, batch_size=24, **_TINY_TRAINING),
    adapt=Pretraining(objective="denoise", sentences=2_000, masked=0.2, steps=150, batch_size=32, **_TINY_TRAINING),
    fewshot=Training(steps=60, batch_size=16, **(_TINY_TRAINING | {"learning_rate": 5e-4})),
    projection=Projection(alignment=WordAlignment(aligner="gold")),  # the sandbox knows it
)

# A laptop's share: enough updates for a small model to learn the task, few enough for two cores. The mT5's is untried.
# Small batches, for updates are what is short; KL, for with "mse" a student of so few stayed far below its teacher; and a
# teacher's learning rate of 2e-4 leaves every word O (docs/first-real-study.md).
_LOCAL_ENCODER = Recipe(
    finetune=Training(steps=400, batch_size=16, learning_rate=1e-4, max_tokens=128, freeze_layers=3),
    distill=Distillation(steps=500, batch_size=16, learning_rate=2e-4, max_tokens=128, freeze_layers=3, loss="kl"),
    adapt=Pretraining(objective="masked-lm", sentences=2_000, steps=200, batch_size=16, learning_rate=1e-4, max_tokens=128),
    fewshot=Training(steps=100, batch_size=16, learning_rate=1e-4, max_tokens=128, freeze_layers=3),
)

_LOCAL_MT5 = Recipe(
    finetune=Training(steps=150, learning_rate=5e-4, schedule="constant", max_tokens=128, freeze_embeddings=True),
    distill=Distillation(steps=250, learning_rate=5e-4, schedule="constant", max_tokens=128, freeze_embeddings=True),
    adapt=Pretraining(
        objective="span-corruption", sentences=2_000, steps=100, learning_rate=5e-4, schedule="constant", max_tokens=128,
        freeze_embeddings=True,
    ),
    fewshot=Training(steps=60, learning_rate=5e-4, schedule="constant", max_tokens=128, freeze_embeddings=True),
)  # fmt: skip

FULL = {"mt5": _MT5, "encoder": _ENCODER, "tiny": _TINY}
LOCAL = {"mt5": _LOCAL_MT5, "encoder": _LOCAL_ENCODER, "tiny": _TINY}

# The other tasks. Three labels need a lower learning rate than tags: at 3e-3 the tiny model often learned no more than
# which of the two sentences is negative. Answers are copied letter by letter, which takes it thousands of updates.
_SLOWER = _TINY_TRAINING | {"learning_rate": 1.5e-3}
NLI = FULL | {"tiny": replace(
    _TINY, finetune=Training(steps=800, batch_size=32, **_SLOWER), distill=Distillation(steps=600, batch_size=32, **_SLOWER),
)}  # fmt: skip
QA = FULL | {
    "mt5": replace(_MT5, finetune=replace(_MT5.finetune, max_tokens=512)),
    "tiny": replace(_TINY, finetune=Training(steps=2_000, batch_size=24, **(_TINY_TRAINING | {"learning_rate": 2e-3}))),
}
OF_TASK = {"ner": FULL, "nli": NLI, "qa": QA}
