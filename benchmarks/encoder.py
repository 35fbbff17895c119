"""`encoder`: fine-tuning multilingual-e5-small-24 on Swahili, against the loop that Trainer runs, at equal updates and F1."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from multiprocessing import get_context

import torch
from transformers import AutoModelForTokenClassification

from benchmarks.material import TAGS, Examples, Turns, UserLoop, sentences, shared, tag_numbers
from benchmarks.measure import Pair, alone, medians
from benchmarks.report import Report
from engine.models.encoder import EncoderTagger
from engine.models.load import new_tagger
from engine.models.predict import decode, probabilities
from engine.models.tagger import Tagger
from engine.spec import Training
from engine.tasks.ner import ALL, count, f1
from engine.train.batches import micro_batches, pass_cost
from engine.train.loop import PlainBackend
from engine.train.losses import cross_entropy
from engine.train.tagging import fit

SIDES = {"baseline": "baseline: every weight", "whole": "engine: every weight", "frozen": "engine: the bottom 3 layers frozen"}
UPDATES = 400
TIMED = 11  # updates in turns, the first for warmth
NOTES = (
    (
        f"multilingual-e5-small-24 (84,226 pieces), float32, MasakhaNER 2.0 Swahili, {UPDATES} updates of the same 16 sentences, learning "
        "rate 1e-4, one seed, one CPU thread a model. Each ratio is of pairs of updates in turns of its own, the baseline's time of the first "
        "turns. F1 on the whole test splits; `hau` is zero-shot."
    ),
    (
        "Baseline: what Trainer does with DataCollatorForTokenClassification: batches padded to their longest, AdamW on every weight. "
        "Freezing the bottom layers (Wu et al. 2020) is a choice of the recipe; the line above it trains what the baseline trains."
    ),
)


def run() -> Report:
    """Time each side in turns with the baseline, then train each to its end, two at once, for its F1."""
    shared("models", "multilingual-e5-small-24")
    sentences("swa", "train")
    pairs = {side: alone(in_turns, side)[0] for side in ("whole", "frozen")}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        outcomes = dict(zip(SIDES, pool.map(to_the_end, SIDES), strict=True))
    pads = dict(zip(("baseline", "whole"), alone(padding)[0], strict=True))
    pads["frozen"] = pads["whole"]
    rows, figures = [], {}
    for side, name in SIDES.items():
        scores, loss = outcomes[side]
        seconds = pairs[side].ours if side in pairs else pairs["whole"].baseline
        ratio = pairs[side].ratio if side in pairs else 1.0
        rows.append([
            name, f"{seconds:.2f}", f"{ratio:.2f}x", f"{pads[side]:.2f}", f"{loss:.3f}", f"{scores['swa']:.3f}",
            f"{scores['hau']:.3f}",
        ])  # fmt: skip
        figures |= {f"{side}_seconds": seconds, f"{side}_speedup": ratio, f"{side}_padding": pads[side],
                    f"{side}_f1_swa": scores["swa"], f"{side}_f1_hau": scores["hau"]}  # fmt: skip
    columns = ("", "s/update", "ratio", "padded/real", "loss, last 20", "F1 swa", "F1 hau")
    return Report("encoder: fine-tuning a small encoder on the CPU", columns, rows, figures, NOTES)


def in_turns(side: str) -> Pair:
    """Train the engine's side and the baseline, one update each in turn."""
    torch.set_num_threads(1)
    text = sentences("swa", "train")
    backend = Turns(_baseline(_training("whole")))
    training = Training(**vars(_training(side)) | {"steps": TIMED})
    fit(_tagger(), text, tag_numbers(text), cross_entropy, training, 0, 0, backend)
    return medians(backend.times[1:])


def to_the_end(side: str) -> tuple[dict[str, float], float]:
    """Train one side; return its F1 by language, and the mean of its last 20 losses."""
    torch.set_num_threads(1)
    if side == "baseline":
        loop = _baseline(_training("whole"))
        for _ in range(UPDATES):
            loop()
        losses = loop.losses
        tagger: Tagger = EncoderTagger(loop.model, _tagger().tokenizer, TAGS, "")
    else:
        text, tagger = sentences("swa", "train"), _tagger()
        losses = fit(tagger, text, tag_numbers(text), cross_entropy, _training(side), 0, 0, PlainBackend("cpu")).losses
    return {language: _score(tagger, language) for language in ("swa", "hau")}, sum(losses[-20:]) / 20


def padding() -> tuple[float, float]:
    """Padded subwords for each real one: of batches padded to their longest, and of the engine's micro-batches."""
    tagger, training = _tagger(), _training("whole")
    lengths = [len(window.input_ids) for window in tagger.windows(sentences("swa", "train"), training.max_tokens)]
    cost = pass_cost(tagger, torch.device("cpu"))
    real, whole, parts = 0, 0, 0
    for update in micro_batches(lengths, training, seed=0, pass_cost=cost):
        chosen = list(chain.from_iterable(update))
        real += sum(lengths[i] for i in chosen)
        whole += len(chosen) * max(lengths[i] for i in chosen)
        parts += sum(len(part) * max(lengths[i] for i in part) for part in update)
    return whole / real, parts / real


def _training(side: str) -> Training:
    return Training(
        steps=UPDATES, batch_size=16, learning_rate=1e-4, max_tokens=128, freeze_layers=3 if side == "frozen" else 0
    )


def _tagger() -> Tagger:
    return new_tagger(str(shared("models", "multilingual-e5-small-24")), "encoder", TAGS, 0)


def _baseline(training: Training) -> UserLoop:
    text, tagger = sentences("swa", "train"), _tagger()
    tags = tag_numbers(text)
    windows = tagger.windows(text, training.max_tokens)
    examples: Examples = [(w.input_ids, _at_slots(w.input_ids, w.slots, tags[w.sentence][w.start :])) for w in windows]
    model = AutoModelForTokenClassification.from_pretrained(tagger.checkpoint, dtype=torch.float32, num_labels=len(TAGS))
    model.classifier.load_state_dict(tagger.model.classifier.state_dict())
    return UserLoop(model, examples, tagger.tokenizer.pad_token_id, training)


def _at_slots(input_ids: Sequence[int], slots: Sequence[int], tags: Sequence[int]) -> list[int]:
    """Labels as Trainer wants them: at each word's first subword its tag, elsewhere -100."""
    labels = [-100] * len(input_ids)
    for slot, tag in zip(slots, tags, strict=False):
        labels[slot] = tag
    return labels


def _score(tagger: Tagger, language: str) -> float:
    test = sentences(language, "test")
    predicted = decode(probabilities(tagger, test, 128, 64), TAGS)
    return f1(*count([sentence.tags or () for sentence in test], predicted)[ALL])[2]
