"""A table of 1,000,000 finished cells to its design matrix. Goal: within 5 s and 2 GB.

The baseline is the loop over rows that one writes first: for each row a look-up of its source set's distances in a dict
of pairs, by language. It runs on a hundredth of the rows, its time times a hundred.
"""

import tempfile
import time
from pathlib import Path

import polars as pl

from benchmarks.measure import alone
from benchmarks.report import Report
from engine.languages import LANGUAGES

SETS, TARGETS, VOLUMES, MODELS, SEEDS = 125, 80, 10, 2, 5
ROWS = SETS * TARGETS * VOLUMES * MODELS * SEEDS
PART = 100  # the baseline's share of the rows


def run() -> Report:
    """Each in a process of its own that reads the table from a Parquet file."""
    with tempfile.TemporaryDirectory(prefix="sprachbund-design-") as folder:
        file = str(Path(folder, "results.parquet"))
        alone(_write, file)
        (read, table_bytes), read_peak = alone(_read, file)
        times, peaks = zip(*(alone(_design, file) for _ in range(3)), strict=True)
        (took, cells, covariates), peak = sorted(times)[1], max(peaks)
        loop, _ = alone(_loop, file)
    figures = {
        "rows": ROWS, "design_seconds": took, "design_bytes": peak, "read_seconds": read, "table_bytes": table_bytes,
        "loop_seconds": loop, "ratio": loop / took,
    }  # fmt: skip
    rows = [
        (f"design matrix of {ROWS:,} rows, s", f"{took:.2f}", "< 5"),
        ("the whole process's peak memory, MB", f"{peak / 1e6:.0f}", "< 2000"),
        ("of it after reading the table, MB", f"{read_peak / 1e6:.0f}", ""),
        ("baseline: a loop over rows, s", f"{loop:.1f}", ""),
    ]
    note = (
        f"{SETS} source sets of one or two languages, {TARGETS} targets, {VOLUMES} volumes, {MODELS} models, {SEEDS} seeds; {cells:,} "
        f"cells with {covariates} covariates come out. Median of 3; the table is in memory ({table_bytes / 1e6:.0f} MB), read in {read:.1f} s."
    )
    return Report("design_matrix", ("what", "measured", "goal"), rows, figures, (note,))


def _write(file: str) -> None:
    """A table of results with all the store's columns; outcomes are noise, for no time depends on them."""
    import numpy as np

    from engine.store import COLUMNS

    codes = sorted(LANGUAGES)
    sets = [sorted({codes[i], codes[(3 * i) % 120 if i >= 100 else i]}) for i in range(SETS)]
    axes = [
        pl.DataFrame({"sources": sets}), pl.DataFrame({"target": codes[:TARGETS]}), pl.DataFrame({"model": ["base", "large"][:MODELS]}),
        pl.DataFrame({"volume": [50 * 2**n for n in range(VOLUMES)]}), pl.DataFrame({"seed": list(range(SEEDS))}),
    ]  # fmt: skip
    table = axes[0]
    for axis in axes[1:]:
        table = table.join(axis, how="cross")
    rng = np.random.default_rng(0)
    table = table.with_columns(
        pl.lit("benchmark").alias("study"), pl.lit("ner").alias("task"), pl.lit("wikiann").alias("dataset"), pl.lit("slots").alias("form"),
        pl.lit("teacher-student").alias("method"), pl.lit("none").alias("perturbation"), pl.lit("ALL").alias("entity_type"),
        pl.lit("done").alias("status"), pl.lit(0).alias("shots"), pl.col("sources").list.len().alias("n_sources"),
        pl.Series("f1", rng.random(len(table))), pl.Series("gain", rng.normal(size=len(table))), pl.Series("source_f1", rng.random(len(table))),
    ).with_columns((pl.col("f1") < 0.05).alias("collapsed"))  # fmt: skip
    empty = pl.from_arrow(COLUMNS.empty_table())
    rest = [pl.lit(None, kind).alias(name) for name, kind in empty.schema.items() if name not in table.columns]
    table.with_columns(rest).select(pl.col(name).cast(kind) for name, kind in empty.schema.items()).write_parquet(file)


def _read(file: str) -> tuple[float, int]:
    started = time.perf_counter()
    table = pl.read_parquet(file)
    return time.perf_counter() - started, int(table.estimated_size())


def _design(file: str) -> tuple[float, int, int]:
    from analysis.features import design

    table = pl.read_parquet(file)
    started = time.perf_counter()
    made = design(table)
    return time.perf_counter() - started, len(made.frame), len(made.covariates)


def _loop(file: str) -> float:
    from analysis.typology import DISTANCES, distances

    table = pl.read_parquet(file)[::PART]
    codes = sorted({*table["target"], *table["sources"].explode()})
    known = {(row["source"], row["target"]): row for row in distances(codes).iter_rows(named=True)}
    rows = []
    started = time.perf_counter()
    for row in table.select("sources", "target", "f1", "gain", "volume", "model", "seed").iter_rows(named=True):
        for name in DISTANCES:
            values = [known[source, row["target"]][name] for source in row["sources"]]
            there = [value for value in values if value is not None]
            row[name], row[f"{name}_nearest"] = (sum(there) / len(there), min(there)) if there else (None, None)
        rows.append(row)
    pl.DataFrame(rows)
    return (time.perf_counter() - started) * PART
