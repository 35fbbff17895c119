"""What a student may not know: the gold labels of the target's text."""

from pathlib import Path
from random import Random

import polars as pl
from small_models import mbert
from small_study import run_here
from toy import toy_sentences

from engine.data.sentences import Sentence
from engine.models.sizes import short_name
from engine.spec import Distillation, Recipe, Similarity, Study, Training

TRAINING = {"steps": 8, "batch_size": 8, "learning_rate": 1e-3, "max_tokens": 64}
METHODS = ("teacher-student", "multi-teacher", "multi-teacher-lid-sentence", "multi-teacher-cosine")


def write(file: Path, sentences: list[Sentence]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join("".join(f"{word}\t{tag}\n" for word, tag in zip(s.words, s.tags, strict=True)) for s in sentences), "utf-8")


def shuffled(sentences: list[Sentence]) -> list[Sentence]:
    """The same words, each with the tag of another one, B- for what would be a stray I-."""
    tags = [tag.replace("I-", "B-") for sentence in sentences for tag in sentence.tags]
    Random(0).shuffle(tags)
    drawn = iter(tags)
    return [Sentence(sentence.words, tuple(next(drawn) for _ in sentence.words)) for sentence in sentences]


def trained(folder: Path, model: str, gold: bool) -> tuple[pl.DataFrame, dict[str, bytes]]:
    """The scores of all students of hau, whose train split has its gold labels or shuffled ones, and the students' weights."""
    for number, code in enumerate(("swa", "yor", "hau")):
        for split, size in {"train": 60, "dev": 10, "test": 40}.items():
            sentences = toy_sentences(size, seed=10 * number + len(split))
            change = shuffled if code == "hau" and split == "train" and not gold else list
            write(folder / "ner" / "mini" / code / f"{split}.conll", change(sentences))
    recipe = Recipe(finetune=Training(**TRAINING), distill=Distillation(**TRAINING), similarity=Similarity(rank=4, epochs=2))
    study = Study(
        name="gold", question="", hypothesis="", dataset="mini", model=model, sources=("swa", "swa+yor"), targets="hau", volumes=40, seeds=0,
        methods=METHODS, recipes={"encoder": recipe},
    )  # fmt: skip
    frame = run_here(study, folder / "out", {short_name(model): model}, str(folder))
    weights = {p.parent.name.rpartition("-")[0]: p.read_bytes() for p in folder.glob("out/artifacts/distill-*/changes.safetensors")}
    return frame.filter(pl.col("volume") == 40).sort("method", "sources"), weights


def test_shuffling_the_target_s_gold_labels_changes_nothing(tmp_path):
    (tmp_path / "model").mkdir()
    model = mbert(tmp_path / "model")
    (one, weights), (other, others) = (trained(tmp_path / name, model, name == "gold") for name in ("gold", "shuffled"))
    assert len(weights) == len(METHODS) + 1 and weights == others
    scores = ["method", "sources", "entity_type", "tp", "fp", "fn", "teacher_f1", "gain"]
    assert one.select(scores).equals(other.select(scores))
    assert one["tp"].sum() + one["fp"].sum() > 0
