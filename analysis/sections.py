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
from analysis.diversity import diversity
from analysis.features import Design, design
from analysis.figures import COLORS, Figure, Panel
from analysis.pooled import PooledCurve
from analysis.sentences import bootstrap, counts, evaluations
from analysis.tables import Table
from engine.errors import DataError, SprachbundError
from engine.store import Store

DRAWS = 2_000  # of a bootstrap or permutation: p values to .0005, in a second
PANELS = 24  # targets with a panel of their own
DRAWN = 40  # rows of a forest plot; the table has all
POINT = ["method", "sources", "target", "volume"]  # what seeds repeat
DISTANCES = ("syntactic", "phonological", "inventory", "morphological", "genetic", "geographic")
BLOCKS = {
    "syntax": ["syntactic"], "sounds": ["phonological", "inventory"], "morphology": ["morphological"], "kinship": ["genetic"],
    "place": ["geographic"],
}  # fmt: skip
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
    store: Store

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

    def distances(self, frame: pl.DataFrame) -> list[str]:
        """The distances that vary between the rows. Raises DataError for none."""
        names = [name for name in DISTANCES if frame[name].drop_nulls().n_unique() > 1]
        if not names:
            raise DataError("no distance varies between the pairs.")
        return names

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
    fitted, pooled, note = curves(students(cells.done)), [], ""
    transfer = cells.points.filter(pl.col("method") != "in-language").sort("volume")
    ceilings = dict(cells.points.filter(pl.col("method") == "in-language").select("target", "mean").iter_rows())
    sources = sorted(set(transfer["source"]))
    colors = {source: COLORS[number % len(COLORS)] for number, source in enumerate(sources)}
    grid = np.concatenate([[0.0], np.geomspace(1, cells.largest, 60)])
    try:
        curve = PooledCurve(draws=DRAWS).fit(students(cells.done))
        panels = [figures.band("All pairs", sorted(set(transfer["volume"])), grid, curve.predict(grid))]
        pooled = [{"source": "all", "target": "all"} | curve.summary()]
    except DataError as error:
        panels, note = [], f" No curve of all pairs: {error}"
    lines = {
        (row["source"], row["target"]): Curve(row["form"], *(np.array(row[name]) for name in ("a", "b", "scale"))).at(grid)
        for row in fitted.iter_rows(named=True)
    }
    for (target,), part in transfer.group_by(["target"], maintain_order=True):
        points = {source: line for (source,), line in part.group_by(["source"], maintain_order=True)}
        drawn = {source: (grid, lines[source, target]) for source in points if (source, target) in lines}
        panels.append(figures.curves(f"→ {target}", points, drawn, ceilings.get(target), colors))
    shown = " Not all targets are drawn; the table has all." if len(panels) > PANELS else ""
    table = Table(f"{cells.name}-curves", "Span F1 by volume of unlabeled target text", transfer.select(
        "source", "target", "volume", pl.col("mean").alias("F1"), pl.col("half").alias("± 95%"), "seeds",
    ))  # fmt: skip
    fits = Table(f"{cells.name}-fits", "The fitted curves: F1 without text, rise to the largest volume, volume for 95% of the asymptote",
                 pl.concat([pl.DataFrame(pooled), fitted], how="diagonal_relaxed").select(
                     "source", "target", "form", "start", "rise", "rise_low", "rise_high", "enough", "enough_says",
                 ),
                 {"enough": 0})  # fmt: skip
    caption = (
        f"Mean span F1 on the test split over seeds. {SEEDS} Thin: the fitted curve. Volume 0 is direct transfer, the teacher "
        f"itself; a student starts from the pretrained base as its teacher did. Dashed: trained on the target itself.{shown}{note}"
    )
    legend = colors if len(colors) > 1 else {}
    return {"figures": [Figure(panels[:PANELS], caption, table, legend)], "tables": [fits]}


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
    names = cells.distances(frame)
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
        Table(f"{cells.name}-correlations", "Correlations of direct transfer (F1) with distance", found.rename({
            "feature": "distance", "row_low": "low by row", "row_high": "high by row", "row_p": "p by row", "p_holm": "p, Holm",
            "p_bh": "p, BH",
        })),
        figures.BY,
    )  # fmt: skip
    return {"figures": [forest, scatter]}


def blocks(cells: Cells) -> dict[str, Any]:
    """What each kind of distance adds to R2: `analysis.importance`."""
    from analysis.importance import importance

    frame = cells.of("direct")
    known = cells.distances(frame)
    kinds = {kind: [name for name in names if name in known] for kind, names in BLOCKS.items()}
    found = importance(frame, "f1", {kind: names for kind, names in kinds.items() if names}, draws=DRAWS)
    drawn = found.rename({"block": "name", "r2": "estimate"})
    figure = Figure(
        [figures.forest("Share of R² of direct transfer", drawn, "R², 95% intervals")],
        "Shapley values: what a kind of distance adds to R², averaged over the orders in which the kinds can enter. In the table, "
        f"“held_out” is the share for targets that were left out. {BY_LANGUAGE}",
        Table(f"{cells.name}-importance", "Shares of R² by kind of distance", found), figures.BY,
    )  # fmt: skip
    return {"figures": [figure]}


def coefficients(cells: Cells) -> dict[str, Any]:
    """What each distance adds to the others, with sources and targets as crossed random effects: `analysis.mixed`."""
    from analysis.mixed import CrossedEffects

    frame = cells.of("direct")
    models = [("Direct transfer", CrossedEffects().fit(frame, "f1", cells.distances(frame)))]
    students = cells.design.with_products([("syntactic", "log_volume")]).frame.filter(pl.col("method") == "teacher-student")
    if students["volume"].n_unique() > 1:
        model = CrossedEffects().fit(students, "f1", ["syntactic", "log_volume", "syntactic:log_volume"])
        models.append(("Students, all volumes", model))
    tables = [model.coef_.with_columns(outcome=pl.lit(f"F1, {title.lower()}")) for title, model in models]
    drawn = [table.select(name="feature", **{name: pl.col(name) * pl.col("sd") for name in ("estimate", "low", "high")}) for table in tables]
    panels = [
        figures.forest(title, rows, "F1 per standard deviation, 95% intervals") for (title, _), rows in zip(models, drawn, strict=True)
    ]
    fit = " ".join(
        f"{title}: the features explain {model.r2_marginal_:.0%} of the variance, with source and target {model.r2_conditional_:.0%} "
        f"({model.n_} rows{f'; {model.dropped_} with an unknown distance left out' if model.dropped_ else ''})."
        for title, model in models
    )
    caption = f"Each with the others held fixed; sources and targets have random effects. {fit}"
    return {"figures": [Figure(panels, caption, Table(f"{cells.name}-coefficients", "Coefficients of the mixed model", pl.concat(tables)))]}


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


def source_sets(cells: Cells) -> dict[str, Any]:
    """What the diversity of the sources does, their distance to the target held fixed: `analysis.diversity`."""
    frame = cells.of("direct").with_columns(pl.col("source").str.split("+").alias("sources"))
    if not (frame["n_sources"] > 1).any():
        raise DataError("every source set is a single language. Name sets (eng+deu) among the sources to ask what diversity does.")
    found = diversity(frame).with_columns(pl.col("measure").str.replace("_", " ").alias("name"))
    drawn = found.select("name", pl.col("estimate"), "low", "high")
    figure = Figure(
        [figures.forest("Diversity of the sources and direct transfer", drawn, "F1 per unit, 95% intervals")],
        "Mean distance between the sources, and the log-determinant of their similarities; the sources' number and distance to "
        f"the target are held fixed. {BY_LANGUAGE}",
        Table(f"{cells.name}-diversity", "Diversity of source sets and direct transfer (F1)", found.drop("name")),
    )
    return {"figures": [figure]}


def sentences(cells: Cells) -> dict[str, Any]:
    """Each student at the largest volume against its teacher on the same test sentences: `analysis.sentences`."""
    chosen = cells.done.filter(pl.col("method").is_in(["direct", "teacher-student"]) & pl.col("volume").is_in([0, cells.largest]))
    chosen = chosen.with_columns(pl.col("sources").list.join("+").alias("source"))
    if set(chosen["method"]) != {"direct", "teacher-student"}:
        raise DataError("it takes students and direct transfer on the same targets.")
    known, rows = evaluations(cells.store), []
    for (source, target), part in chosen.group_by(["source", "target"], maintain_order=True):
        runs = part.pivot("method", index="seed", values="fingerprint").drop_nulls()
        stamps = [runs[method].to_list() for method in ("direct", "teacher-student") if method in runs.columns]
        if len(stamps) == 2 and len(runs) and known.keys() >= {stamp for each in stamps for stamp in each}:
            first, second = (sum(counts(cells.store, known[stamp]) for stamp in each) for each in stamps)
            rows.append({"name": f"{source} → {target}", "seeds": len(runs)} | bootstrap(first, second, DRAWS))
    if not rows:
        raise DataError("the store has no evaluations with their sentences for these rows.")
    found = pl.DataFrame(rows)
    figure = Figure(
        [figures.forest("Student minus teacher, F1", found.head(DRAWN), "F1, 95% intervals over test sentences")],
        f"Students at {cells.largest:,} sentences against direct transfer on the same test sentences, the seeds' counts summed. It "
        "speaks of these models on more sentences like these: not of other seeds, and not of other languages.",
        Table(f"{cells.name}-sentences", "Student minus teacher on the same test sentences (F1)", found),
    )
    return {"figures": [figure]}


def prediction(cells: Cells) -> dict[str, Any]:
    """Direct transfer to targets that the model has not seen: `analysis.regress`."""
    from analysis import regress

    frame = cells.of("direct")
    names = cells.distances(frame)
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
    shown = scores.select(
        "model", pl.col("mae").alias("MAE"), pl.col("rmse").alias("RMSE"), pl.col("rank_correlation").alias("rank r"),
        pl.col("ndcg3").alias("NDCG@3"), "regret", pl.col("coverage").alias("covered"), "width",
    )  # fmt: skip
    caption = (
        "How well held-out targets are predicted: errors in F1; rank correlation, NDCG@3 and regret (F1 lost by taking the source "
        "ranked first) within targets; 90% intervals' coverage and width"
    )
    return {"figures": [figure], "tables": [Table(f"{cells.name}-scores", caption, shown)]}


def broken(cells: Cells) -> dict[str, Any]:
    """Cells that failed, with their errors; runs that collapsed, and the means with and without them."""
    tables, collapsed = [], int(cells.done["collapsed"].sum())
    if len(cells.failed):
        shown = cells.failed.select("method", "source", "target", "volume", "seed", "error")
        tables.append(Table(f"{cells.name}-failed", "Failed cells: they are in no number of this report", shown))
    if collapsed:
        means = cells.points.filter(pl.col("collapsed") > 0).select(
            "method", "source", "target", "volume", pl.col("seeds").alias("runs"), "collapsed",
            pl.col("mean").alias("F1, all"), pl.col("kept").alias("F1, others"),
        )  # fmt: skip
        tables.append(Table(f"{cells.name}-collapsed", "Collapsed runs; mean F1 of all runs, and of the others", means))
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
    ("coefficients", "Distances together", coefficients),
    ("importance", "Which distances matter", blocks),
    ("contrasts", "Near and far, by method", near_and_far),
    ("sentences", "Students and teachers, sentence by sentence", sentences),
    ("sets", "Diversity of the sources", source_sets),
    ("prediction", "Predicting a language not seen", prediction),
    ("broken", "Collapsed and failed cells", broken),
    ("results", "All results", results),
)
