"""From the results table to a design matrix: outcomes, covariates and groups, each column in one role.

The distances are `analysis.typology`'s; what is regressed on what is `analysis.regress`'s and `analysis.mixed`'s. What is
unknown stays null here: it is imputed inside a fold, from that fold's training rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import polars as pl

from analysis.pairs import required
from analysis.typology import DISTANCES, canonical, distances
from engine.data import lang2vec
from engine.errors import DataError
from engine.languages import LANGUAGES, language
from engine.store import MEASURED

# What tells analyses apart, and what tells cells of one analysis apart. A seed is a replicate.
GROUPS = ("study", "task", "dataset", "model", "form", "method", "perturbation")
AXES = ("sources", "n_sources", "target", "volume", "shots")
OUTCOMES = ("f1", "gain", "ceiling_share")
MEANS = ("f1", "gain", "source_f1")  # over seeds
_CEILING = ("task", "dataset", "model", "form", "perturbation", "target")
_COLLAPSED = pl.col("collapsed").fill_null(False)  # tables of a time without the column have null
# "featural" is the union of syntax, phonology and inventory: with these in the matrix it says nothing new.
_TYPOLOGY = tuple(name for name in DISTANCES if name != "featural")


@dataclass(frozen=True, eq=False)
class Design:
    """A table with one row per cell of the results, and what each column is for.

    `frame`: the rows. Beside the columns in roles: "source" (codes joined by +), "target", "family" (the target's),
    "seeds" and "collapsed" (how many runs a row is the mean of, and how many of these collapsed), "<distance>_coverage".
    `outcomes`: those of OUTCOMES that have values. `covariates`: those that vary. `groups`: identity columns that vary; an
    analysis takes one value of each at a time. `failed`: cells that are no rows, for they have no result.
    """

    frame: pl.DataFrame
    outcomes: tuple[str, ...]
    covariates: tuple[str, ...]
    groups: tuple[str, ...]
    failed: int = 0

    def with_products(self, pairs: Sequence[tuple[str, str]]) -> "Design":
        """Add products of two covariates as covariates, "a:b", of each less its mean: an interaction beside its main effects."""
        names = tuple(f"{a}:{b}" for a, b in pairs)
        return replace(self, frame=self.frame.with_columns(products(pairs)), covariates=self.covariates + names)


def products(pairs: Sequence[tuple[str, str]]) -> list[pl.Expr]:
    """Of each two columns the product "a:b", of each less its mean over the rows."""
    return [((pl.col(a) - pl.col(a).mean()) * (pl.col(b) - pl.col(b).mean())).alias(f"{a}:{b}") for a, b in pairs]


def design(
    results: pl.DataFrame, sizes: Sequence[str] = (), measures: Sequence[str] = (), collapsed: bool = True
) -> Design:
    """Make the design matrix of a results table (`engine.store.Store.results`), the mean over seeds.

    Outcomes: "f1"; "gain", over the teacher, null without one; "ceiling_share", F1 over the mean F1 of the in-language runs
    of the same task, dataset, model, form, perturbation and target that did not collapse, null where there are none. These
    runs are ceilings only, not rows. Covariates: `with_typology`'s, "log_volume" and "log_shots" (log10 of 1 + n),
    "n_sources", "source_f1", "log_<name>" for each of `sizes`, those measures on languages (`engine.store.MEASURED`) that the study
    asked for, and `measures`: numeric columns that the caller joined to the table. With `collapsed=False` collapsed runs count nowhere.

    `sizes`: columns that count sentences. The results table has none of its own but volume and shots: how many labeled sentences a
    source has is a property of its training split, of which a row keeps the hash alone, so a report regresses on none. Who knows
    the sizes joins them to the table and names them here.

    Raises DataError for a column that is not there, duplicated cells, and a table without a finished cell of transfer;
    StudyError for an unknown language code.
    """
    measures = (*[name for name in MEASURED if name in results.columns], *measures)  # tables from elsewhere have none
    required(results, ("entity_type", "status", "seed", "collapsed", *MEANS, *GROUPS, *AXES, *sizes, *measures))
    whole = results.lazy().filter(pl.col("entity_type") == "ALL")
    done = whole.filter(pl.col("status") == "done")
    if not collapsed:
        done = done.filter(~_COLLAPSED)
    kept = _replicates(done, [*sizes, *measures]).join(_ceilings(done), on=_CEILING, how="left", nulls_equal=True)
    outcome = pl.when(pl.col("ceiling") > 0).then(pl.col("f1") / pl.col("ceiling")).alias("ceiling_share")
    logs = [(1 + pl.col(name)).log10().alias(f"log_{name}") for name in ("volume", "shots", *sizes)]
    frame, failed = pl.collect_all([kept.with_columns(outcome, *logs), whole.filter(pl.col("status") == "failed").select(pl.len())])
    _check_cells(frame)
    frame = with_typology(frame)
    named = ["log_volume", "log_shots", "n_sources", "source_f1", *(f"log_{size}" for size in sizes), *measures]
    distances = [column for name in _TYPOLOGY for column in (name, f"{name}_nearest") if column in frame.columns]
    return Design(
        frame,
        tuple(name for name in OUTCOMES if frame[name].count()),
        tuple(name for name in [*distances, *named] if frame[name].drop_nulls().n_unique() > 1),
        tuple(name for name in GROUPS if frame[name].n_unique() > 1),
        failed.item(),
    )


def with_typology(frame: pl.DataFrame, source: str = "source", target: str = "target", metric: str = "angular") -> pl.DataFrame:
    """Add the distances between each row's source, or set of sources joined by +, and its target.

    Columns: for each of `analysis.typology.DISTANCES` the distance, the mean over the set's languages of which it is known;
    "<name>_nearest", the least of these, where some set has several languages; "<name>_coverage", the mean coverage; and
    "family", the target's. Each is null where nothing is known. Raises StudyError for an unknown code, DataError for a
    column that is not there or already has such a name.
    """
    required(frame, (source, target))
    pairs = frame.select(source, target).unique().drop_nulls()
    several = pairs[source].str.contains("+", literal=True).any()
    each = pairs.with_columns(pl.col(source).str.split("+").alias("_each")).explode("_each")
    codes = sorted({*each["_each"], *each[target]})
    known = distances(codes, metric).rename({"source": "_each", "target": target})
    columns = [pl.col(name).mean() for name in DISTANCES] + [pl.col(f"{name}_coverage").mean() for name in DISTANCES]
    if several:
        columns += [pl.col(name).min().alias(f"{name}_nearest") for name in DISTANCES]
    table = each.join(known, on=["_each", target]).group_by(source, target).agg(columns)
    families = pl.DataFrame({target: codes, "family": [family(code) for code in codes]}, schema_overrides={"family": pl.String})
    table = table.join(families, on=target, how="left")
    if taken := set(table.columns) & set(frame.columns) - {source, target}:
        raise DataError(f"the table has columns of these names already: {', '.join(sorted(taken))}. Rename them first.")
    return frame.join(table, on=[source, target], how="left", maintain_order="left")


def family(code: str) -> str | None:
    """The language's family: Glottolog's top level, or of a language that the engine's table lacks, lang2vec's largest clade.

    None where neither knows it. Raises StudyError for an unknown code.
    """
    known = canonical(code)
    if known.startswith("x-") or known in LANGUAGES:
        return language(known).family
    return _largest_clades().get(known)


@cache
def _largest_clades() -> dict[str, str]:
    """Of each language that lang2vec places in a tree, the name of the largest clade: "Pama-Nyungan"."""
    names, rows, members = lang2vec.load("family_features.npz")
    sizes = (members == 1) * (members == 1).sum(axis=0)
    return {code: names[sizes[row].argmax()].removeprefix("F_") for code, row in rows.items() if sizes[row].any()}


def _replicates(done: pl.LazyFrame, others: list[str]) -> pl.LazyFrame:
    """Transfer cells, one row each: the mean over their seeds."""
    identity = [*GROUPS, "source", "n_sources", "target", "volume", "shots"]
    transfer = done.filter(pl.col("method") != "in-language").with_columns(pl.col("sources").list.join("+").alias("source"))
    counts = [pl.len().alias("seeds"), pl.col("seed").n_unique().alias("_seeds"), pl.col("collapsed").sum()]
    return transfer.group_by(identity, maintain_order=True).agg(pl.col(*MEANS, *others).mean(), *counts)


def _ceilings(done: pl.LazyFrame) -> pl.LazyFrame:
    sound = done.filter((pl.col("method") == "in-language") & ~_COLLAPSED)
    return sound.group_by(_CEILING).agg(pl.col("f1").mean().alias("ceiling"))


def _check_cells(frame: pl.DataFrame) -> None:
    if frame.is_empty():
        raise DataError("the table has no finished cell of transfer: in-language runs are ceilings, and failed cells no results.")
    twice = frame.filter(pl.col("seeds") > pl.col("_seeds"))
    if len(twice):
        row = twice.row(0, named=True)
        raise DataError(
            f"{len(twice)} cells occur twice with one seed (the first: {row['method']} {row['source']} to {row['target']}, volume "
            f"{row['volume']}). A cell has one row per seed: read one store's results, or drop the copies."
        )
