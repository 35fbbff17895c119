"""The report's sections: each makes its figure and tables of the rows, or raises DataError, whose text says why it cannot.

Nothing is estimated here but the mean over seeds and its interval; every other number comes from the module that the
section's function names. How it is drawn is `analysis.figures`'.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import t as student_t

from analysis import figures
from analysis.figures import COLORS, Figure, Panel
from analysis.tables import Table
from engine.errors import DataError, SprachbundError

PANELS = 24  # targets with a panel of their own
POINT = ["method", "sources", "target", "volume"]  # what seeds repeat
SEEDS = "Bars are 95% t intervals over seeds; the command line prints standard deviations."


@dataclass(frozen=True, eq=False)
class Section:
    """A heading, what to know before looking, figures, further tables; `why_not` in place of all where nothing can be shown."""

    name: str
    title: str
    text: str = ""
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    why_not: str = ""


def section(name: str, title: str, make: Callable[..., dict[str, Any]], *given: Any) -> Section:
    """Make a section, or one that says why there is nothing to show."""
    try:
        return Section(name, title, **make(*given))
    except SprachbundError as error:
        return Section(name, title, why_not=str(error))


def summarize(rows: pl.DataFrame) -> pl.DataFrame:
    """Return F1 by method, sources, target and volume: `seeds`, `mean`, `sd`, and the `half` width of a 95% t interval.

    `half` is null for a single seed: one run says nothing about the spread. `kept` is the mean without collapsed runs.
    """
    table = rows.group_by(POINT).agg(
        pl.len().alias("seeds"), pl.col("f1").mean().alias("mean"), pl.col("f1").std().alias("sd"),
        pl.col("gain").mean(), pl.col("source_f1").mean(), pl.col("collapsed").sum(),
        pl.col("f1").filter(~pl.col("collapsed")).mean().alias("kept"),
    ).sort(POINT)  # fmt: skip
    half = [_half(sd, seeds) for sd, seeds in zip(table["sd"], table["seeds"], strict=True)]
    return table.with_columns(pl.Series("half", half, dtype=pl.Float64), pl.col("sources").list.join("+").alias("source"))


def _half(sd: float | None, seeds: int) -> float | None:
    return None if sd is None else float(student_t.ppf(0.975, seeds - 1)) * sd / math.sqrt(seeds)


def volume_curves(name: str, points: pl.DataFrame) -> dict[str, Any]:
    """F1 against the volume of unlabeled text, a panel a target."""
    transfer = points.filter(pl.col("method") != "in-language").sort("volume")
    volumes = transfer["volume"].n_unique()
    if volumes < 2:
        raise DataError(f"No curve: the cells have {volumes} volume of unlabeled text, and a curve needs two or more.")
    ceilings = dict(points.filter(pl.col("method") == "in-language").select("target", "mean").iter_rows())
    sources = sorted(set(transfer["source"]))
    colors = {source: COLORS[number % len(COLORS)] for number, source in enumerate(sources)}
    panels = []
    for (target,), part in transfer.group_by(["target"], maintain_order=True):
        lines = {source: line for (source,), line in part.group_by(["source"], maintain_order=True)}
        panels.append(figures.curves(f"→ {target}", lines, ceilings.get(target), colors))
    shown = f" {PANELS} of {len(panels)} targets are drawn; the table has all." if len(panels) > PANELS else ""
    table = Table(f"{name}-curves", "Span F1 by volume of unlabeled target text", transfer.select(
        "source", "target", "volume", pl.col("mean").alias("F1"), pl.col("half").alias("± 95%"), "seeds",
    ))  # fmt: skip
    caption = (
        f"Mean span F1 on the test split over seeds. {SEEDS} Volume 0 is direct transfer, the teacher itself; a student starts "
        f"from the pretrained base as its teacher did. Dashed: trained on the target itself.{shown}"
    )
    return {"figures": [Figure(panels[:PANELS], caption, table)]}


def transfer_map(name: str, points: pl.DataFrame, failed: pl.DataFrame) -> dict[str, Any]:
    """F1 by source and target: direct transfer, and students at the largest volume."""
    largest = points["volume"].max()
    panels = [
        _map(title, points.filter((pl.col("method") == method) & (pl.col("volume") == volume)), points, failed, method)
        for title, method, volume in (
            ("Direct transfer", "direct", 0), (f"Students, {largest:,} sentences", "teacher-student", largest),
        )
        if len(points.filter((pl.col("method") == method) & (pl.col("volume") == volume)))
    ]  # fmt: skip
    if not panels:
        raise DataError("No map: no cell of direct transfer or of a student is finished.")
    wide = points.filter(pl.col("method") != "in-language").select(
        "method", "volume", "source", "target", pl.col("mean").alias("F1"), pl.col("gain").alias("gain over teacher"),
        pl.col("collapsed").alias("collapsed runs"), "seeds",
    )  # fmt: skip
    table = Table(f"{name}-map", "Span F1 by source and target", wide)
    caption = "Mean span F1 over seeds; the darker the higher. “own”: trained on the target itself. × failed; c: a run collapsed."
    return {"figures": [Figure(panels, caption, table)]}


def _map(title: str, chosen: pl.DataFrame, points: pl.DataFrame, failed: pl.DataFrame, method: str) -> Panel:
    broken = failed.filter(pl.col("method") == method).select(pl.col("sources").list.join("+"), "target")
    own = points.filter(pl.col("method") == "in-language")
    targets = sorted({*chosen["target"], *broken["target"]})
    sources = [*sorted({*chosen["source"], *broken["sources"]}), *(["own"] if len(own) else [])]
    values = np.full((len(targets), len(sources)), np.nan)
    marks = np.full(values.shape, "", dtype=object)
    for source, target in broken.iter_rows():
        marks[targets.index(target), sources.index(source)] = "×"
    cells = pl.concat([chosen, own.filter(pl.col("target").is_in(targets)).with_columns(source=pl.lit("own"))])
    for source, target, mean, collapsed in cells.select("source", "target", "mean", "collapsed").iter_rows():
        place = targets.index(target), sources.index(source)
        values[place] = mean
        if collapsed:
            marks[place] = f"{mean:.2f} c".removeprefix("0")
    return figures.heat_map(title, values, marks, sources, targets)


def broken(name: str, points: pl.DataFrame, done: pl.DataFrame, failed: pl.DataFrame) -> dict[str, Any]:
    """Cells that failed, with their errors; runs that collapsed, and the means with and without them."""
    collapsed = done.filter("collapsed")
    tables = []
    if len(failed):
        shown = failed.select("method", _sources(), "target", "volume", "seed", "error")
        tables.append(Table(f"{name}-failed", "Failed cells: no number of theirs is anywhere in this report", shown))
    if len(collapsed):
        means = points.filter(pl.col("collapsed") > 0).select(
            "method", "source", "target", "volume", "seeds", pl.col("collapsed").alias("collapsed runs"),
            pl.col("mean").alias("F1, all runs"), pl.col("kept").alias("F1, without the collapsed"),
        )  # fmt: skip
        tables.append(Table(f"{name}-collapsed", "Collapsed runs (F1 below 0.05), and the mean with and without them", means))
    text = (
        f"{len(failed)} cells failed, and {len(collapsed)} of {len(done)} finished ones collapsed (F1 below 0.05). Collapsed runs "
        "are in every number of this report, unless it says otherwise."
    )
    return {"text": text, "tables": tables}


def results(name: str, points: pl.DataFrame) -> dict[str, Any]:
    """Every mean over seeds."""
    shown = points.select(
        "method", "source", "target", "volume", pl.col("mean").alias("F1"), pl.col("half").alias("± 95%"),
        pl.col("gain").alias("gain over teacher"), pl.col("source_f1").alias("F1 on source"), "seeds",
        pl.col("collapsed").alias("collapsed runs"),
    )  # fmt: skip
    caption = "Span F1 on the test split, all entity types: mean over seeds ± half the width of a 95% t interval over seeds"
    return {"tables": [Table(f"{name}-results", caption, shown)]}


def _sources() -> pl.Expr:
    return pl.col("sources").list.join("+").alias("source")
