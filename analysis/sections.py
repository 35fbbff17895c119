"""The report's sections: each makes its figures and tables of one setting's cells, or raises an error that says why it cannot.

Nothing is estimated here but the mean over seeds and its interval; every other number is of the module that the function
calls. How it is drawn is `analysis.figures`'; what it says of a hypothesis, `analysis.answers`'.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import t as student_t

from analysis import contrast, figures
from analysis.curves import Curve, curves, students
from analysis.features import Design, design
from analysis.figures import COLORS, Figure, Panel
from analysis.tables import Table
from engine.errors import DataError, SprachbundError

DRAWS = 2_000  # of a bootstrap or permutation: p values to .0005, in a second
PANELS = 24  # targets with a panel of their own
POINT = ["method", "sources", "target", "volume"]  # what seeds repeat
DISTANCES = ("syntactic", "phonological", "inventory", "morphological", "genetic", "geographic")
SEEDS = "Bars are 95% t intervals over seeds (the command line prints standard deviations)."
BY_LANGUAGE = "Intervals and tests are by language, for pairs of languages are not independent."


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
    """One setting's rows, ALL entity types, and what is made of them. `name` begins the names of its tables."""

    name: str
    rows: pl.DataFrame

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
    def design(self) -> Design:
        """The design matrix. Raises DataError where no cell of transfer is finished."""
        return design(self.rows)

    @cached_property
    def largest(self) -> int:
        """The largest volume of unlabeled text."""
        return self.done["volume"].max() or 0

    def of(self, method: str) -> pl.DataFrame:
        """The design matrix's rows of direct transfer, or of students at the largest volume. Raises DataError for none."""
        volume = self.largest if method == "teacher-student" else 0
        found = self.design.frame.filter((pl.col("method") == method) & (pl.col("volume") == volume))
        if found.is_empty():
            raise DataError(f"No cell of {method} is finished.")
        return found

    def students(self, *volumes: int) -> pl.DataFrame:
        """The design matrix's rows of students at these volumes, in their order."""
        rows = self.design.frame.filter(pl.col("method") == "teacher-student")
        return pl.concat([rows.filter(pl.col("volume") == volume) for volume in volumes])

    def direct_and_students(self) -> pl.DataFrame:
        """The rows of both, direct first."""
        return pl.concat([self.of("direct"), self.of("teacher-student")])


def section(name: str, title: str, make: Callable[[Cells], dict[str, Any]], cells: Cells) -> Section:
    """Make a section, or one that says why there is nothing to show."""
    try:
        return Section(f"{cells.name}-{name}", title, **make(cells))
    except SprachbundError as error:
        return Section(f"{cells.name}-{name}", title, why_not=f"Not shown: {error}")


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


def volume_curves(cells: Cells) -> dict[str, Any]:
    """F1 against the volume of unlabeled text, a panel a target, with the curves of `analysis.curves`."""
    fitted = curves(students(cells.done))
    transfer = cells.points.filter(pl.col("method") != "in-language").sort("volume")
    ceilings = dict(cells.points.filter(pl.col("method") == "in-language").select("target", "mean").iter_rows())
    sources = sorted(set(transfer["source"]))
    colors = {source: COLORS[number % len(COLORS)] for number, source in enumerate(sources)}
    grid = np.concatenate([[0.0], np.geomspace(1, cells.largest, 60)])
    lines = {
        (row["source"], row["target"]): Curve(row["form"], *(np.array(row[name]) for name in ("a", "b", "scale"))).at(grid)
        for row in fitted.iter_rows(named=True)
    }
    panels = []
    for (target,), part in transfer.group_by(["target"], maintain_order=True):
        points = {source: line for (source,), line in part.group_by(["source"], maintain_order=True)}
        drawn = {source: (grid, lines[source, target]) for source in points if (source, target) in lines}
        panels.append(figures.curves(f"→ {target}", points, drawn, ceilings.get(target), colors))
    shown = f" {PANELS} of {len(panels)} targets are drawn; the table has all." if len(panels) > PANELS else ""
    table = Table(f"{cells.name}-curves", "Span F1 by volume of unlabeled target text", transfer.select(
        "source", "target", "volume", pl.col("mean").alias("F1"), pl.col("half").alias("± 95%"), "seeds",
    ))  # fmt: skip
    fits = Table(f"{cells.name}-fits", "The fitted curves: F1 without text, rise to the largest volume, volume for 95% of the asymptote",
                 fitted.select("source", "target", "form", "start", "rise", "rise_low", "rise_high", "enough", "enough_says"),
                 {"enough": 0})  # fmt: skip
    caption = (
        f"Mean span F1 on the test split over seeds. {SEEDS} Thin: the fitted curve. Volume 0 is direct transfer, the teacher "
        f"itself; a student starts from the pretrained base as its teacher did. Dashed: trained on the target itself.{shown}"
    )
    return {"figures": [Figure(panels[:PANELS], caption, table)], "tables": [fits]}


def transfer_map(cells: Cells) -> dict[str, Any]:
    """F1 by source and target: direct transfer, and students at the largest volume."""
    kinds = [("Direct transfer", "direct", 0), (f"Students, {cells.largest:,} sentences", "teacher-student", cells.largest)]
    panels = []
    for title, method, volume in kinds:
        chosen = cells.points.filter((pl.col("method") == method) & (pl.col("volume") == volume))
        if len(chosen):
            panels.append(_map(title, chosen, cells, method))
    if not panels:
        raise DataError("no cell of direct transfer, or of a student, is finished.")
    table = Table(f"{cells.name}-map", "Span F1 by source and target", cells.points.select(
        "method", "source", "target", "volume", pl.col("mean").alias("F1"), pl.col("collapsed").alias("collapsed runs"), "seeds",
    ).filter(pl.col("volume").is_in([0, cells.largest])))  # fmt: skip
    caption = "Mean span F1 over seeds, the darker the higher. “own”: trained on the target itself. × failed; c: a run collapsed."
    return {"figures": [Figure(panels, caption, table)]}


def _map(title: str, chosen: pl.DataFrame, cells: Cells, method: str) -> Panel:
    broken = cells.failed.filter((pl.col("method") == method) & pl.col("volume").is_in(chosen["volume"].unique()))
    own = cells.points.filter(pl.col("method") == "in-language").with_columns(source=pl.lit("own"))
    targets = sorted({*chosen["target"], *broken["target"]})
    sources = [*sorted({*chosen["source"], *broken["source"]}), *(["own"] if len(own) else [])]
    values = np.full((len(targets), len(sources)), np.nan)
    marks = np.full(values.shape, "", dtype=object)
    for source, target in broken.select("source", "target").iter_rows():
        marks[targets.index(target), sources.index(source)] = "×"
    held = pl.concat([chosen, own.select(chosen.columns).filter(pl.col("target").is_in(targets))])
    for source, target, mean, collapsed in held.select("source", "target", "mean", "collapsed").iter_rows():
        place = targets.index(target), sources.index(source)
        values[place] = mean
        marks[place] = f"{mean:.2f} c".removeprefix("0") if collapsed else ""
    return figures.heat_map(title, values, marks, sources, targets)


def distance(cells: Cells) -> dict[str, Any]:
    """Direct transfer against each typological distance, with `analysis.correlate`'s correlations."""
    from analysis.correlate import correlate

    frame = cells.of("direct")
    names = [name for name in DISTANCES if frame[name].drop_nulls().n_unique() > 1]
    if not names:
        raise DataError("no distance varies between the pairs.")
    found = correlate(frame, "f1", names, draws=DRAWS)
    pearson = found.filter(pl.col("method") == "pearson").rename({"feature": "name", "r": "estimate"})
    points = cells.points.filter(pl.col("method") == "direct").join(
        frame.select("source", "target", *names), on=["source", "target"]
    ).with_columns(pl.concat_str("source", pl.lit("→"), "target").alias("label"))  # fmt: skip
    panels = []
    for row in pearson.iter_rows(named=True):
        said = f"r = {row['estimate']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        held = points.select(pl.col(row["name"]).alias("x"), "mean", "half", "label").drop_nulls("x")
        panels.append(figures.scatter(f"{row['name'].capitalize()}: {said}", f"{row['name']} distance", held, f"Pearson {said}."))
    shown = points.select("source", "target", pl.col("mean").alias("F1"), pl.col("half").alias("± 95%"), *names)
    scatter = Figure(panels, f"Direct transfer by pair of languages. {SEEDS} In the titles: Pearson's r.",
                     Table(f"{cells.name}-pairs", "Direct transfer and distance by pair", shown))  # fmt: skip
    forest = Figure(
        [figures.forest("Correlation of direct transfer with distance", pearson, "Pearson's r, 95% intervals")],
        f"{BY_LANGUAGE} Those by row are drawn beside them, to show how much too narrow they are. With so few languages a "
        f"correlation is found four times in five only from |r| = {pearson['detectable'].min():.2f} on.",
        Table(f"{cells.name}-correlations", "Correlations of direct transfer (F1) with distance", found),
    )
    return {"figures": [forest, scatter]}


def near_and_far(cells: Cells) -> dict[str, Any]:
    """Related against distant targets by method: `analysis.contrast`."""
    frame = cells.direct_and_students()
    found = pl.concat([
        contrast.paired(frame, "f1", "method", draws=DRAWS).with_columns(what=pl.lit("mean F1")),
        contrast.degradation(frame, "f1", "syntactic", "method", draws=DRAWS).with_columns(what=pl.lit("F1 per unit of distance")),
    ])  # fmt: skip
    rows = found.with_columns(pl.col("contrast").str.replace("teacher-student", "student").alias("name"))
    panels = [
        figures.forest(what, rows.filter(pl.col("what") == what), f"{what}, 95% intervals") for what in rows["what"].unique(maintain_order=True)
    ]
    caption = (
        f"Direct transfer and students at {cells.largest:,} sentences, on the same pairs. {BY_LANGUAGE} The slope is F1 per unit "
        "of syntactic distance; the slopes' difference says whether students fall less."
    )
    return {"figures": [Figure(panels, caption, Table(f"{cells.name}-contrasts", "Methods, near and far", rows.drop("name")))]}


def prediction(cells: Cells) -> dict[str, Any]:
    """Direct transfer to targets that the model has not seen: `analysis.regress`."""
    from analysis import regress

    frame = cells.of("direct")
    names = [name for name in DISTANCES if frame[name].drop_nulls().n_unique() > 1]
    models = {"ridge": regress.pipelines(names)["ridge"]} | regress.baselines(english="eng" if "eng" in set(frame["source"]) else None)
    held = regress.held_out(frame, "f1", names, models=models)
    scores = regress.scores(held)
    ridge = held.filter(pl.col("model") == "ridge")
    covered = scores.filter(pl.col("model") == "ridge")["coverage"].item()
    note = "There are too few languages for intervals." if covered is None else f"{covered:.0%} lie in their 90% interval."
    figure = Figure(
        [figures.predicted("Ridge on distances", ridge, note)],
        f"Each target's F1 predicted by a ridge regression on the distances, fitted without that target. {note} Below, the same "
        "for baselines that know no distance.",
        Table(f"{cells.name}-held-out", "Predictions of held-out targets", ridge.drop("model", "fold", "row", "score")),
    )
    return {"figures": [figure], "tables": [Table(f"{cells.name}-scores", "How well held-out targets are predicted", scores)]}


def broken(cells: Cells) -> dict[str, Any]:
    """Cells that failed, with their errors; runs that collapsed, and the means with and without them."""
    tables, collapsed = [], int(cells.done["collapsed"].sum())
    if len(cells.failed):
        shown = cells.failed.select("method", "source", "target", "volume", "seed", "error")
        tables.append(Table(f"{cells.name}-failed", "Failed cells: they are in no number of this report", shown))
    if collapsed:
        means = cells.points.filter(pl.col("collapsed") > 0).select(
            "method", "source", "target", "volume", "seeds", pl.col("collapsed").alias("collapsed runs"),
            pl.col("mean").alias("F1, all runs"), pl.col("kept").alias("F1, without collapsed"),
        )  # fmt: skip
        tables.append(Table(f"{cells.name}-collapsed", "Collapsed runs, and the mean with and without them", means))
    text = (
        f"{len(cells.failed)} cells failed, and {collapsed} of {len(cells.done)} finished ones collapsed (F1 below 0.05). "
        "Collapsed runs are in every number of this report, unless it says otherwise."
    )
    return {"text": text, "tables": tables}


def results(cells: Cells) -> dict[str, Any]:
    """Every mean over seeds."""
    shown = cells.points.select(
        "method", "source", "target", "volume", pl.col("mean").alias("F1"), pl.col("half").alias("± 95%"), pl.col("gain"),
        pl.col("source_f1").alias("on source"), "seeds", pl.col("collapsed").alias("collapsed"),
    )  # fmt: skip
    caption = (
        "Span F1 on the test split, all entity types: mean over seeds ± half the width of a 95% t interval over seeds; gain over "
        "the teacher; the transferring model's F1 on its source; runs, and how many collapsed"
    )
    return {"tables": [Table(f"{cells.name}-results", caption, shown)]}


SECTIONS = (
    ("curves", "F1 and the volume of unlabeled text", volume_curves),
    ("map", "Source and target", transfer_map),
    ("distance", "Distance", distance),
    ("contrasts", "Near and far, by method", near_and_far),
    ("prediction", "Predicting a language not seen", prediction),
    ("broken", "Collapsed and failed cells", broken),
    ("results", "All results", results),
)
