"""SumEval's harder question: the score on a target language that no model in the table has been scored on before.

Its features of a configuration and a target: how many examples there were of the target, of its script and of its family, and
how far the languages trained on lie from it, in typology and in their words. WikiANN's texts are not in the tables, so the overlap
of words is that of word lists (de Vries et al.'s LDND), where the folder has them, and what is trained on in the target's script.
"""

from pathlib import Path

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator

from analysis.features import family
from analysis.published import TYPOLOGY, sumeval, words
from analysis.regress import baselines, held_out, pipelines, scores
from analysis.replications import Figure, of_scores, scored_on
from analysis.typology import distances, features, matrices
from engine.languages import LANGUAGES

DISTANCES = (*TYPOLOGY, "genetic", "geographic")
WORD_LISTS = ("devries2022_ldnd.csv", "devries2022_udpos-langs.csv")
CONFIGURATIONS = 100  # that are used: a target's rows are near copies, and languages are what counts
UNSPACED = {"Jpan", "Hans", "Thai", "Mymr", "Khmr", "Laoo", "Tibt"}  # scripts that write no space between words


def new_targets(data: Path, test: Path | None = None) -> list[Figure]:
    """Leave one target language out; with `test`, fit on all of `data` and score the targets there that are new, if any."""
    missing = [name for name in WORD_LISTS if not (data / name).is_file()]
    lists = None if missing else words(data)
    overlap = Figure("new_target.overlap", f"none, for the folder has no {missing[0]}" if missing else "of word lists")
    train = design(*sumeval(data), lists)
    if test is None:
        predicted = held_out(train, "score", _names(train), models=_models(train, train), n_jobs=-1)
        return [overlap, *of_scores("new_target", scores(predicted), ("rmse", "mae", "coverage", "language_coverage", "width"))]
    new = design(*sumeval(test), lists)
    new = new.filter(~pl.col("target").is_in(train["target"].unique().implode()))
    if new.is_empty():
        return [Figure("new_target", "the test part has no target that the first folder lacks")]
    predicted = scored_on(_models(train, new), train, new, "score", _names(train))
    return [overlap, *of_scores("new_target", scores(predicted), ("rmse", "mae"))]


def _models(train: pl.DataFrame, new: pl.DataFrame) -> dict[str, BaseEstimator]:
    nearest = distances(sorted({*train["target"], *new["target"]})).with_columns(distance=pl.mean_horizontal("syntactic", "genetic", "geographic"))
    models = {name: model for name, model in pipelines(_names(train)).items() if name != "elastic-net"}
    simple = baselines(size="own", distances=nearest)
    return models | {name.replace("target", "global"): model for name, model in simple.items() if name != "source mean"}


def _names(frame: pl.DataFrame) -> list[str]:
    return [name for name in frame.columns if name not in ("source", "target", "family", "score")]


def design(sizes: pl.DataFrame, results: pl.DataFrame, lists: pl.DataFrame | None) -> pl.DataFrame:
    """One row per configuration ("source") and target: "score", "family" and the features of `mixture_features`."""
    configs = sorted(results["config"].unique())
    chosen = np.random.default_rng(0).permutation(configs)[:CONFIGURATIONS].tolist()
    languages, targets = sorted(sizes["language"].unique()), sorted(results["target"].unique())
    wide = sizes.pivot("language", index="config", values="examples").fill_null(0)
    wide = pl.DataFrame({"config": chosen}).join(wide, on="config", how="left", maintain_order="left").select(languages)
    values = mixture_features(wide.to_numpy(), languages, targets, lists)
    rows = {"source": np.repeat(chosen, len(targets)), "target": targets * len(chosen)}
    families = dict(zip(targets, map(family, targets), strict=True))
    frame = pl.DataFrame(rows | values).with_columns(family=pl.col("target").replace_strict(families)).fill_nan(None)
    return frame.join(results.rename({"config": "source"}), on=["source", "target"], maintain_order="left")


def mixture_features(
    examples: np.ndarray, languages: list[str], targets: list[str], lists: pl.DataFrame | None = None
) -> dict[str, np.ndarray]:
    """Features of each configuration and target, (configurations x targets,) each, NaN where unknown.

    `examples`: (configurations, languages). "own", "total", "same_script", "same_family": log10 of 1 + the examples of the
    target, of all, and of other languages of its script and its family; "<distance>", the mean over other languages' examples,
    and "<distance>_nearest", of typology and, with `lists` (`analysis.published.words`), of "words"; "unspaced": whether the
    target's script writes no spaces.
    """
    is_own = np.array([[language == target for target in targets] for language in languages])
    script, kin = ([[value(language) == value(target) for target in targets] for language in languages] for value in (_script, family))
    amounts = {"own": is_own, "same_script": np.array(script) & ~is_own, "same_family": np.array(kin) & ~is_own, "total": np.ones_like(is_own)}
    table = {name: np.log10(1 + examples @ which.astype(float)) for name, which in amounts.items()}
    typology = matrices([*languages, *targets], names=DISTANCES)
    apart = {name: distance.values[: len(languages), len(languages) :] for name, distance in typology.items()}
    if lists is not None:
        known = {(source, target): ldnd for source, target, ldnd in lists.iter_rows()}
        apart["words"] = np.array([[known.get((language, target)) for target in targets] for language in languages], dtype=float)
    for name, between in apart.items():
        values = np.where(is_own, np.nan, between)
        weights = examples @ ~np.isnan(values)
        table[name] = np.divide(examples @ np.nan_to_num(values), weights, where=weights > 0, out=np.full(weights.shape, np.nan))
        near = np.where((examples > 0)[:, :, None], np.nan_to_num(values, nan=np.inf), np.inf).min(axis=1)
        table[f"{name}_nearest"] = np.where(np.isinf(near), np.nan, near)
    table["unspaced"] = np.tile([float(_script(target) in UNSPACED) for target in targets], (len(examples), 1))
    return {name: values.ravel() for name, values in table.items()}


def litmus_features(examples: np.ndarray, languages: list[str], targets: list[str]) -> np.ndarray:
    """(configurations x targets, features), NaN where unknown: as near to LITMUS's as the tables allow.

    Theirs are the sizes per language, syntactic distance, overlap of types (here the examples in the target's script), how rare
    the target's typology is, and the size of its pretraining data (here missing: the tables do not have it).
    """
    own = mixture_features(examples, languages, targets)
    pairs = [own[name] for name in ("own", "total", "same_script", "syntactic", "syntactic_nearest")]
    sizes = np.repeat(np.log10(1 + examples), len(targets), axis=0)
    return np.column_stack([*pairs, np.tile(_commonness(targets), len(examples)), sizes])


def _commonness(codes: list[str]) -> np.ndarray:
    """(n,) Mean reciprocal rank, by frequency among `codes`, of each language's values of syntactic features (S_)."""
    values = features(codes).select(pl.col("^S_.*$")).to_numpy().astype(float)
    common = np.nanmean(values, axis=0) >= 0.5
    return np.nanmean(np.where(np.isnan(values), np.nan, np.where((values == 1) == common, 1.0, 0.5)), axis=1)


def _script(code: str) -> str:
    return LANGUAGES[code].script if code in LANGUAGES else code
