"""The report's cells and sections, and those that describe: curves, the map of sources and targets, what broke, all results.

A section makes its figures and tables of one setting's cells, or raises an error that says why it cannot. Nothing is
estimated here but the mean over seeds and its interval. Sections that explain are `analysis.explained`'s; how things are
drawn, `analysis.figures`'.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import t as student_t

from analysis import figures
from analysis.curves import curves, students
from analysis.features import Design, design
from analysis.figures import COLORS, Figure, Panel
from analysis.forms import Curve
from analysis.pooled import PooledCurve
from analysis.tables import Table
from engine.errors import DataError, SprachbundError
from engine.spec import SCORE_OF
from engine.store import Store

DRAWS = 2_000  # of a bootstrap or permutation: p values to .0005, in a second
PANELS = 24  # targets with a panel of their own
POINT = ["method", "sources", "target", "volume", "shots", "perturbation"]  # what seeds repeat
SHOWN = ["method", "source", "target", "volume", "shots", "perturbation"]  # the same, as tables show it
DISTANCES = ("syntactic", "phonological", "inventory", "morphological", "genetic", "geographic")
SEEDS = "Bars are 95% t intervals over seeds (the command line prints standard deviations)."


@dataclass(frozen=True, eq=False)
class Section:
    """A heading, what to know before looking, figures, further tables; `why_not` in place of all where nothing can be shown."""

    name: str
    title: str
    text: str = ""
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    why_not: str = ""


@dataclass(frozen=True, eq=False)
class Cells:
    """One setting's rows, ALL entity types, and what is made of them. `name` begins the names of its tables.

    `perturbed`: those on perturbed test text, which the sections leave out that do not speak of them.
    """

    name: str
    rows: pl.DataFrame
    perturbed: pl.DataFrame
    store: Store

    @cached_property
    def score(self) -> str:
        """What the column f1 is called in this task."""
        return SCORE_OF[self.rows["task"][0]]

    @property
    def collapse(self) -> str:
        """What makes a run of this task a collapsed one (`engine.store.COLUMNS`)."""
        return "one label for all" if self.rows["task"][0] == "nli" else f"{self.score} below 0.05"

    @cached_property
    def done(self) -> pl.DataFrame:
        """Finished cells."""
        return self.rows.filter(pl.col("status") == "done")

    @cached_property
    def failed(self) -> pl.DataFrame:
        """Failed cells, which have no numbers."""
        return self.rows.filter(pl.col("status") == "failed").with_columns(pl.col("sources").list.join("+").alias("source"))

    @cached_property
    def points(self) -> pl.DataFrame:
        """Means over seeds."""
        return summarize(self.done)

    @cached_property
    def uncollapsed(self) -> "Cells | None":
        """The cells without the runs that collapsed; None where none did."""
        collapsed = pl.col("collapsed").fill_null(False)
        if not pl.concat([self.rows, self.perturbed]).select(collapsed.any()).item():
            return None
        return Cells(self.name, self.rows.filter(~collapsed), self.perturbed.filter(~collapsed), self.store)

    @cached_property
    def design(self) -> Design:
        """The design matrix. Raises DataError where no cell of transfer is finished."""
        return design(self.rows)

    @cached_property
    def largest(self) -> int:
        """The largest volume of unlabeled text."""
        return self.done["volume"].max() or 0

    def of(self, method: str) -> pl.DataFrame:
        """The design matrix's rows of a zero-shot method, at its largest volume. Raises DataError for none."""
        found = self.design.frame.filter(pl.col("method") == method, pl.col("shots") == 0)
        if found.is_empty():
            raise DataError(f"No cell of {method} is finished.")
        return found.filter(pl.col("volume") == found["volume"].max())

    def distances(self, frame: pl.DataFrame) -> list[str]:
        """The distances that vary between the rows. Raises DataError for none."""
        names = [name for name in DISTANCES if frame[name].drop_nulls().n_unique() > 1]
        if not names:
            raise DataError("no distance varies between the pairs.")
        return names

    def beside_direct(self) -> dict[str, pl.DataFrame]:
        """For each other zero-shot method the rows of both, direct first. Raises DataError for none."""
        methods = self.design.frame.filter(pl.col("shots") == 0)["method"].unique(maintain_order=True).to_list()
        found = {method: pl.concat([self.of("direct"), self.of(method)]) for method in methods if method != "direct"}
        if not found:
            raise DataError("No cell of a method but direct transfer is finished.")
        return found


def section(name: str, title: str, make: Callable[[Cells], dict[str, Any]], cells: Cells) -> Section:
    """Make a section, or one that says why there is nothing to show."""
    try:
        return Section(f"{cells.name}-{name}", title, **make(cells))
    except SprachbundError as error:
        return Section(f"{cells.name}-{name}", title, why_not=f"Not shown: {error}")


def summarize(rows: pl.DataFrame) -> pl.DataFrame:
    """Return F1 by method, sources, target, volume, shots and perturbation: `seeds`, `mean`, `sd`, and the `half` width of a 95% t interval.

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


def volume_curves(cells: Cells) -> dict[str, Any]:
    """F1 against the volume of unlabeled text, a panel a target, with the curves of `analysis.curves` and `analysis.pooled`."""
    scores = students(cells.done)
    grid = np.geomspace(scores["volume"].min(), scores["volume"].max(), 60)
    fitted, (panels, rows, note) = curves(scores), _pooled(scores, grid, cells.score)
    transfer = cells.points.filter(pl.col("method").is_in(["direct", "teacher-student"]), pl.col("shots") == 0).sort("volume")
    ceilings = dict(cells.points.filter(pl.col("method") == "in-language").select("target", "mean").iter_rows())
    sources = sorted(set(transfer["source"]))
    colors = {source: COLORS[number % len(COLORS)] for number, source in enumerate(sources)}
    targets = sorted(set(transfer["target"]))
    for target in targets[:PANELS]:
        points = {source: line for (source,), line in transfer.filter(pl.col("target") == target).group_by(["source"])}
        drawn = {row["source"]: (grid, _fitted(row).at(grid)) for row in fitted.filter(pl.col("target") == target).iter_rows(named=True)}
        panels.append(figures.curves(f"→ {target}", dict(sorted(points.items())), drawn, ceilings.get(target), colors, cells.score))
    if len(targets) > PANELS:
        note += f" {PANELS} of {len(targets)} targets are drawn; the table has all."
    table = Table(f"{cells.name}-curves", f"Scores ({cells.score}) by volume of unlabeled target text", transfer.select(
        "source", "target", "volume", pl.col("mean").alias(cells.score), pl.col("half").alias("± 95%"), "seeds",
    ))  # fmt: skip
    teachers = transfer.filter(pl.col("volume") == 0).select("source", "target", pl.col("mean").alias("teacher"))
    columns = ["source", "target", "teacher", "form", "start", "rise", "rise_low", "rise_high", "enough", "enough_says", "interval"]
    fits = Table(
        f"{cells.name}-fits",
        f"The students' fitted curves: their teacher's {cells.score}; theirs at the smallest volume; the rise from there to the largest; the "
        "volume for 95% of the asymptote",
        pl.concat([rows, fitted.join(teachers, on=["source", "target"], how="left", maintain_order="left")], how="diagonal_relaxed").select(columns),
        {"enough": 0},
    )  # fmt: skip
    caption = (
        f"Mean {cells.score} on the test split over seeds. {SEEDS} Thin: the curve fitted to the students. At volume 0, and dotted: direct "
        "transfer, their teacher. It is not on the curve: a student starts from the pretrained base, as its teacher did, and with "
        f"little text it can lie far below its teacher. Dashed: trained on the target itself.{note}"
    )
    return {"figures": [Figure(panels, caption, table, colors if len(colors) > 1 else {})], "tables": [fits]}


def _pooled(scores: pl.DataFrame, grid: np.ndarray, score: str) -> tuple[list[Panel], pl.DataFrame, str]:
    """The panel and the row of all pairs' curve; or none, and why."""
    try:
        curve = PooledCurve().fit(scores)
    except DataError as error:
        return [], pl.DataFrame(), f" No curve of all pairs: {error}"
    row = pl.DataFrame([{"source": "all", "target": "all", "teacher": None} | curve.summary()])
    return [figures.band("All pairs", sorted(set(scores["volume"])), grid, curve.predict(grid), score)], row, f" All pairs: the band is a 95% interval over {curve.over_}."


def _fitted(row: dict[str, Any]) -> Curve:
    return Curve(row["form"], *(np.array(row[name]) for name in ("a", "b", "scale")))


def transfer_map(cells: Cells) -> dict[str, Any]:
    """F1 by source and target: direct transfer, and students at the largest volume."""
    kinds = [("Direct transfer", "direct", 0), (f"Students, {cells.largest:,} sentences", "teacher-student", cells.largest)]
    panels = []
    for title, method, volume in kinds:
        chosen = cells.points.filter(pl.col("method") == method, pl.col("volume") == volume, pl.col("shots") == 0)
        if len(chosen):
            panels.append(_map(title, chosen, cells, method))
    if not panels:
        raise DataError("no cell of direct transfer, or of a student, is finished.")
    table = Table(f"{cells.name}-map", f"Scores ({cells.score}) by source and target", cells.points.select(
        "method", "source", "target", "volume", pl.col("mean").alias(cells.score), pl.col("collapsed").alias("collapsed runs"), "seeds",
    ).filter(pl.col("volume").is_in([0, cells.largest])))  # fmt: skip
    caption = f"Mean {cells.score} over seeds, the darker the higher. “own”: trained on the target itself. ×: a run failed; c: a run collapsed."
    return {"figures": [Figure(panels, caption, table)]}


def _map(title: str, chosen: pl.DataFrame, cells: Cells, method: str) -> Panel:
    broken = cells.failed.filter((pl.col("method") == method) & pl.col("volume").is_in(chosen["volume"].unique()))
    own = cells.points.filter(pl.col("method") == "in-language").with_columns(source=pl.lit("own"))
    targets = sorted({*chosen["target"], *broken["target"]})
    sources = [*sorted({*chosen["source"], *broken["source"]}), *(["own"] if len(own) else [])]
    values = np.full((len(targets), len(sources)), np.nan)
    marks = np.full(values.shape, "", dtype=object)
    for source, target in broken.select("source", "target").iter_rows():
        marks[targets.index(target), sources.index(source)] = " ×"
    held = pl.concat([chosen, own.select(chosen.columns).filter(pl.col("target").is_in(targets))])
    for source, target, mean, collapsed in held.select("source", "target", "mean", "collapsed").iter_rows():
        place = targets.index(target), sources.index(source)
        values[place] = mean
        marks[place] += " c" if collapsed else ""
    return figures.heat_map(title, values, marks, sources, targets)


def broken(cells: Cells) -> dict[str, Any]:
    """Cells that failed, with their errors; runs that collapsed, and the means with and without them."""
    tables, rows = [], pl.concat([cells.rows, cells.perturbed])
    failed, done = (rows.filter(pl.col("status") == status) for status in ("failed", "done"))
    if len(failed):
        shown = failed.with_columns(pl.col("sources").list.join("+").alias("source")).select(*SHOWN, "seed", "error")
        tables.append(Table(f"{cells.name}-failed", "Failed cells: they are in no number of this report", shown))
    if collapsed := int(done["collapsed"].sum()):
        means = summarize(done).filter(pl.col("collapsed") > 0).select(
            *SHOWN, pl.col("seeds").alias("runs"), "collapsed", pl.col("mean").alias("all"), pl.col("kept").alias("others"),
        )  # fmt: skip
        tables.append(Table(f"{cells.name}-collapsed", f"Collapsed runs; mean {cells.score} of all runs, and of the others", means))
    text = (
        f"{len(failed)} cells failed, and {collapsed} of {len(done)} finished ones collapsed ({cells.collapse}). "
        "Collapsed runs are in every number of this report, unless it says otherwise."
    )
    return {"text": text, "tables": tables}


def results(cells: Cells) -> dict[str, Any]:
    """Every mean over seeds."""
    shown = summarize(pl.concat([cells.done, cells.perturbed.filter(pl.col("status") == "done")])).select(
        *SHOWN, pl.col("mean").alias(cells.score), pl.col("half").alias("± 95%"), "gain",
        pl.col("source_f1").alias("on source"), "seeds", pl.col("collapsed").alias("collapsed"),
    )  # fmt: skip
    caption = (
        f"Scores ({cells.score}) on the test split, of NER of all entity types: mean over seeds ± half the width of a 95% t interval "
        "over seeds; gain over the teacher; the transferring model's score on its source; runs, and how many collapsed"
    )
    return {"tables": [Table(f"{cells.name}-results", caption, shown)]}
