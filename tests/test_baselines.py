"""The baselines mBERT and XLM-R, with few random weights: read as the library reads them, and a study of each."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from small_models import SENTENCES, mbert, xlm_r
from small_study import run_here
from toy import TYPES
from transformers import AutoTokenizer

from engine.compiler import compile_study
from engine.errors import StudyError
from engine.models.load import model_type, new_tagger
from engine.models.predict import probabilities
from engine.models.sizes import describe, short_name
from engine.spec import Distillation, Pretraining, Recipe, Study, Training
from engine.tasks.ner import tag_set

TRAINING: dict[str, Any] = {"steps": 6, "batch_size": 8, "learning_rate": 1e-3}
RECIPE = Recipe(
    finetune=Training(freeze_layers=1, **TRAINING), distill=Distillation(freeze_layers=1, **TRAINING),
    adapt=Pretraining(objective="masked-lm", sentences=40, **TRAINING), fewshot=Training(**TRAINING),
)  # fmt: skip


@pytest.fixture(scope="module", params=[mbert, xlm_r], ids=["mbert", "xlm-r"])
def baseline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return request.param(tmp_path_factory.mktemp("baseline"))


def test_words_are_read_as_by_the_library_with_their_tag_on_the_first_subword(baseline):
    tagger, tokenizer = new_tagger(baseline, "encoder", tag_set(TYPES), seed=0), AutoTokenizer.from_pretrained(baseline)
    for sentence, window in zip(SENTENCES, tagger.windows(SENTENCES, 64), strict=True):
        whole = tokenizer(list(sentence.words), is_split_into_words=True)
        assert window.input_ids == whole["input_ids"]
        assert window.slots == [whole.word_ids().index(number) for number in range(len(sentence.words))]


def test_an_answer_does_not_depend_on_what_it_is_padded_with(baseline):
    tagger = new_tagger(baseline, "encoder", tag_set(TYPES), seed=0)
    together = probabilities(tagger, SENTENCES, 64, 40)
    for sentence, expected in zip(SENTENCES[:8], together, strict=False):
        np.testing.assert_allclose(probabilities(tagger, [sentence], 64, 1)[0], expected, atol=1e-5)


def study_of(model: str, **longer: int) -> Study:
    recipe = replace(RECIPE, finetune=replace(RECIPE.finetune, **longer))
    return Study(
        name="baseline", question="", hypothesis="", dataset="sandbox", model=model, sources="x-eng", targets="x-nld", volumes=(0, 20),
        shots=(0, 5), seeds=(0,), methods=("direct", "adapted-target", "teacher-student", "in-language"), recipes={"encoder": recipe},
    )  # fmt: skip


def test_a_study_of_it_ends_in_a_table(baseline, tmp_path):
    frame = run_here(study_of(baseline), tmp_path / "out", {short_name(baseline): baseline}).filter(pl.col("entity_type") == "ALL")
    assert set(frame["status"]) == {"done"} and set(frame["form"]) == {"encoder"}
    assert sorted(frame["method"]) == ["adapted-target", "adapted-target", "direct", "direct", "in-language", "teacher-student"]


def test_a_window_longer_than_its_positions_is_refused_before_anything_runs(baseline):
    places = describe(baseline).positions
    assert places == (300 if "xlm" in model_type(baseline) else 512)
    assert compile_study(study_of(baseline, max_tokens=places), None).cells
    with pytest.raises(StudyError, match=f"max_tokens={places + 1} in `finetune`.*places for {places} subwords.*'encoder'"):
        compile_study(study_of(baseline, max_tokens=places + 1), None)
