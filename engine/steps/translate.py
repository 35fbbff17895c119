"""Translate: sentences of one language -> the same with their translations into another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from engine.data.corpora import open_dataset, pool_version, read_split, require_same
from engine.data.sentences import Sentence
from engine.data.translation import SANDBOX, LookUp, SandboxTranslator, Translated, Translator, corpus_of, corpus_pairs
from engine.spec import Site, TranslateRecipe
from engine.steps.base import start
from engine.train.loop import Backend

FILE = "translations.parquet"
WORDS = pl.List(pl.String)
SCHEMA = {"words": WORDS, "tags": WORDS, "translation": WORDS, "alignment": pl.List(pl.List(pl.Int32))}


def run(
    recipe: TranslateRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Write the sentences in order: words, tags where there are any, the translation's words, and gold alignment where it is known."""
    if recipe.held_out is None:
        translate = _translator(recipe, site, backend)
        pairs = translate(read_split(recipe.data, site.data), recipe.data.language, recipe.target)
    else:
        pairs = _of_corpus(recipe, site)
    rows = [(pair.original.words, pair.original.tags, pair.translation, pair.alignment) for pair in pairs]
    pl.DataFrame(rows, schema=SCHEMA, orient="row").write_parquet(out / FILE)
    words = [sum(map(len, side)) for side in ([pair.original.words for pair in pairs], [pair.translation for pair in pairs])]
    return {"sentences": len(pairs), "words": words[0], "translated_words": words[1]}


def read_translations(folder: Path) -> list[Translated]:
    """Return what a translate step wrote, in order."""
    rows = pl.read_parquet(folder / FILE).select(*SCHEMA).rows()
    return [
        Translated(
            Sentence(tuple(words), tags and tuple(tags)), tuple(translation),
            None if alignment is None else tuple((i, j) for i, j in alignment),
        )
        for words, tags, translation, alignment in rows
    ]  # fmt: skip


def _translator(recipe: TranslateRecipe, site: Site, backend: Backend) -> Translator:
    if recipe.translator.name == SANDBOX:
        return SandboxTranslator(recipe.data.split)
    if corpus := corpus_of(recipe.translator.name, site.data):
        return LookUp(corpus)
    from engine.models.translate import Nllb  # the look-ups do without

    return Nllb(start(recipe.translator, {}, site), recipe.settings, backend.device)


def _of_corpus(recipe: TranslateRecipe, site: Site) -> list[Translated]:
    """The sentences of a parallel corpus, without those that the target is tested on."""
    source, tested = recipe.data.language, recipe.held_out
    corpus, dataset = corpus_of(recipe.translator.name, site.data), open_dataset(tested.dataset, site.data, types=(), dropped_types=())
    require_same(recipe.data, corpus.version(source, recipe.target))
    require_same(tested, pool_version(dataset, recipe.target, tested.split))
    return corpus_pairs(corpus, source, recipe.target, dataset)
