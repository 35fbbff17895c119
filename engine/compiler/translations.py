"""The steps of the methods by translation, in a cell: who translates what, how labels are projected, what is scored.

Everything that such a method needs (a corpus, a language of the translator's, an aligner's package) is looked for here,
before any step runs.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

from engine.compiler.material import Material
from engine.data.corpora import pool_version
from engine.data.flores import flores
from engine.data.translation import PARALLEL, SANDBOX, LookUp, corpus_of, corpus_pairs
from engine.errors import DataError, StudyError
from engine.graph import Step
from engine.models.sizes import checkpoint
from engine.projection.statistical import check_installed
from engine.spec import (
    WRITTEN,
    Cell,
    Checkpoint,
    FinetuneRecipe,
    Projected,
    Projection,
    ProjectRecipe,
    ScoreRecipe,
    Split,
    TranslateRecipe,
    protocol,
)


class Translations:
    """Makes the steps of cells on one dataset and model."""

    def __init__(self, material: Material) -> None:
        self.material, self.study, self.recipe = material, material.study, material.recipe
        self.translator, self.corpus = self.study.translator, corpus_of(self.study.translator, material.data)
        for name in ("_translation", "_projection", "_size", "_settings", "_fixed", "_model"):
            setattr(self, name, cache(getattr(self, name)))
        self._encoder = cache(checkpoint)

    def student(self, cell: Cell, teacher: Step) -> tuple[Step, str | None]:
        """The step that trains on text translated into the target, and what stands for the corpus where it is looked up."""
        self._check_volume(cell)
        projected = [self._projection(source, cell.target, cell.method, teacher, "train") for source in cell.sources]
        base, base_needs = self.material.base()
        data = Projected(tuple(step.fingerprint for step in projected), cell.volume, tuple(sorted(self.study.types)))
        recipe = FinetuneRecipe(base, cell.form, data, 1.0, self.recipe.finetune, cell.seed)
        needs = (*((f"projected {number}", step.artifact) for number, step in enumerate(projected)), *base_needs)
        about = f"{cell.model}-{cell.method}-{'+'.join(cell.sources)}-{cell.target}-{cell.volume}-s{cell.seed}"
        corpora = [f"{source}-{cell.target} {self._fixed(source, cell.target, 'train').version}" for source in cell.sources]
        return self.material.step(recipe, about, needs), " ".join(corpora) if self.corpus else None

    def train_texts(self, cell: Cell) -> tuple[Step, ...]:
        """The steps whose translations the cell's student reads."""
        return tuple([self._translation(source, cell.target, "train") for source in cell.sources])

    def scored_test(self, cell: Cell, teacher: Step) -> Step:
        """The step that scores the target's test text, labeled through its translation into the source language."""
        (source,) = cell.sources
        projected = self._projection(cell.target, source, cell.method, teacher, "test")
        recipe = ScoreRecipe(projected.fingerprint, self.material.split(cell.target, "test"))
        return self.material.step(recipe, f"{projected.about}-on-{cell.target}", (("projected", projected.artifact),))

    def _projection(self, given: str, into: str, method: str, teacher: Step, split: str) -> Step:
        """The step that labels what stands in the target language: translations of train text, or the test text itself."""
        name, test = protocol(method)[1], split == "test"
        translation, settings = self._translation(given, into, split), self._settings(name)
        if settings.needs_tagger and teacher.recipe.form in WRITTEN:
            raise StudyError(
                f"score={settings.score!r} with form={teacher.recipe.form}: it is made of the tags' probabilities, which text has not. "
                "Use score='align', or form=slots, sentinel or encoder."
            )
        predicted = test or self.corpus is not None
        model = teacher if predicted or settings.needs_tagger else None
        own, named = settings.alignment.aligner == "embedding", settings.alignment.checkpoint
        base, base_needs = self.material.base() if model or (own and not named) else (None, ())
        aligner = self._encoder(named) if named else base if own else None
        unnamed = replace(settings, alignment=replace(settings.alignment, checkpoint=""))
        training = self.recipe.finetune
        recipe = ProjectRecipe(
            base, translation.fingerprint, test, predicted, model and model.fingerprint, aligner, unnamed, training.max_tokens,
            training.precision,
        )  # fmt: skip
        needs = (("translations", translation.artifact), *([("model 0", model.artifact)] if model else ()), *base_needs)
        labeled_by = f"-{model.about}" if model else ""
        return self.material.step(recipe, f"{name or settings.matching}-{translation.about}{labeled_by}", needs)

    def _translation(self, given: str, into: str, split: str) -> Step:
        translator, settings, held_out = self._fixed(given, into, split), None, None
        if self.corpus and split == "train":  # labeled train sentences do not stand in a corpus: its own are taken
            data = Split(self.translator, given, "text", translator.version, ())
            tested = self.material.serving(into)
            held_out = Split(tested.name, into, "test", pool_version(tested, into, "test"), ())
        else:
            data = self.material.split(given, split)
            settings = None if self.corpus or self.translator == SANDBOX else self.recipe.translation
        recipe = TranslateRecipe(translator, data, into, settings, held_out)
        step = self.material.step(recipe, f"{Path(translator.name).name}-{given}-{into}-{split}", ())
        if self.corpus and split == "test":
            LookUp(self.corpus)(self.material.serving(given).sentences(given, split), given, into)
        return step

    def _fixed(self, given: str, into: str, split: str) -> Checkpoint:
        """The translator, and what fixes its translations. StudyError or DataError where it does not serve the languages."""
        if self.corpus:
            return Checkpoint(self.translator, self.corpus.version(given, into))
        if self.translator == SANDBOX:
            other = {self.material.serving(code).name for code in (given, into)} - {SANDBOX}
            if other:
                raise StudyError(
                    f"translator=sandbox with dataset={', '.join(other)}: the sandbox translates its own languages alone. Give the "
                    "study translator='parallel:NAME' for a corpus of --data, or a translation model such as "
                    "'facebook/nllb-200-distilled-600M'."
                )
            from engine.data import sandbox

            return Checkpoint(SANDBOX, sandbox.version(into, split))
        model = self._model()
        flores(given), flores(into)
        return model

    def _model(self) -> Checkpoint:
        """The translation model. Reads a folder's files whole."""
        if "/" not in self.translator and not Path(self.translator).is_dir():
            raise StudyError(
                f"translator={self.translator!r}: there are {SANDBOX!r}, {PARALLEL!r}, '{PARALLEL}:NAME', a folder and a hub id."
            )
        return checkpoint(self.translator)

    def _settings(self, name: str) -> Projection:
        """The projection of this name, whose aligner and scores can be had. Raises StudyError where they cannot."""
        settings = self.recipe.projection_named(name)
        alignment = settings.alignment
        if alignment.aligner == "gold" and self.translator != SANDBOX:
            raise StudyError(
                f"aligner='gold' with translator={self.translator!r}: only the sandbox knows the alignment. Give the recipe's "
                "`projection` another aligner, such as 'embedding'."
            )
        if alignment.aligner in ("eflomal", "fast-align"):
            check_installed(alignment.aligner)
        if alignment.aligner == "embedding" and not alignment.checkpoint:
            layers = self.material.size.layers
            if not -layers - 1 <= alignment.layer <= layers:
                raise StudyError(
                    f"layer={alignment.layer} of the aligner 'embedding': {self.material.model} has {layers} layers. Give one from "
                    f"{-layers - 1} to {layers} in the recipe's `projection`, or a `checkpoint` that has it."
                )
        if settings.needs_translation_scores:
            raise StudyError(
                f"score={settings.score!r} with weights={settings.weights}: a study has no scores of a translation model. Use "
                "'align', 'ner' or 'ner_spans', or set the weight of nmt to 0: weights=(0.5, 0.5, 0.0)."
            )
        return settings

    def _check_volume(self, cell: Cell) -> None:
        sizes = [self._size(source, cell.target) for source in cell.sources]
        if None in sizes or cell.volume <= sum(filter(None, sizes)):
            return
        sources, size = "+".join(cell.sources), sum(filter(None, sizes))
        there = f"the train splits of {sources} have {size} sentences"
        if self.corpus:
            there = f"{self.translator!r} has {size} pairs of {sources} and {cell.target} (those of dev and test text left out)"
        raise DataError(f"volume {cell.volume} is larger than what is translated: {there}. Lower the volume.")

    def _size(self, source: str, target: str) -> int | None:
        """Sentences that are translated; None where only a download could tell."""
        if self.corpus is None:
            return self.material.serving(source).size(source, "train")
        tested = self.material.serving(target)
        return None if tested.size(target, "test") is None else len(corpus_pairs(self.corpus, source, target, tested))
