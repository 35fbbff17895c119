"""The report's sections that explain: what transfer has to do with distance, method, sentences and source sets.

Every number is of the module that the function names; this is where they are put into figures and tables.
"""

from dataclasses import replace
from typing import Any

import polars as pl

from analysis import contrast, figures, regress
from analysis.correlate import correlate
from analysis.diversity import DISTANCE, diversity, questions
from analysis.figures import Figure
from analysis.importance import importance
from analysis.mixed import CrossedEffects
from analysis.sections import DRAWS, SEEDS, Cells
from analysis.sentences import bootstrap, counts
from analysis.tables import Table
from engine.errors import DataError

FEW_DRAWS = 50  # where only r is asked for, which none are needed for
DRAWN = 40  # rows of a forest plot; the table has all
BLOCKS = {
    "syntax": ["syntactic"], "sounds": ["phonological", "inventory"], "morphology": ["morphological"], "kinship": ["genetic"],
    "place": ["geographic"],
}  # fmt: skip
BY_LANGUAGE = "Intervals and tests are by language, for pairs of languages are not independent."


def distance(cells: Cells) -> dict[str, Any]:
    """Direct transfer against each typological distance, with `analysis.correlate`'s correlations."""
    frame = cells.of("direct")
    names = cells.distances(frame)
    found = _without_collapsed(cells, correlate(frame, "f1", names, draws=DRAWS))
    pearson = found.filter(pl.col("method") == "pearson").rename({"feature": "name", "r": "estimate"}).drop_nulls("estimate")
    if pearson.is_empty():
        raise DataError(f"no correlation: {found['note'][0]}.")
    points = cells.points.filter(pl.col("method") == "direct", pl.col("shots") == 0).join(
        frame.select("source", "target", *names), on=["source", "target"]
    ).with_columns(pl.concat_str("source", pl.lit("→"), "target").alias("label"))  # fmt: skip
    panels = []
    for row in pearson.iter_rows(named=True):
        said = f"r = {row['estimate']:.2f}" + ("" if row["low"] is None else f" ({row['low']:.2f} to {row['high']:.2f})")
        held = points.select(pl.col(row["name"]).alias("x"), "mean", "half", "label").drop_nulls("x")
        panels.append(figures.scatter(f"{row['name'].capitalize()}: {said}", f"{row['name']} distance", cells.score, held, f"Pearson {said}."))
    shown = points.select("source", "target", pl.col("mean").alias(cells.score), pl.col("half").alias("± 95%"), *names)
    scatter = Figure(panels, f"Direct transfer by pair of languages. {SEEDS} In the titles: Pearson's r.",
                     Table(f"{cells.name}-pairs", "Direct transfer and distance by pair", shown))  # fmt: skip
    forest = Figure(
        [figures.forest("Correlation of direct transfer with distance", pearson, "Pearson's r, 95% intervals")],
        f"{BY_LANGUAGE} Those by row are drawn beside them, to show how much too narrow they are. With so few languages a "
        f"correlation is found four times in five only from |r| = {pearson['detectable'].min():.2f} on.",
        Table(f"{cells.name}-correlations", f"Correlations of direct transfer ({cells.score}) with distance", found.rename({
            "feature": "distance", "row_low": "low by row", "row_high": "high by row", "row_p": "p by row", "p_holm": "p, Holm",
            "p_bh": "p, BH",
        })),
        figures.BY,
    )  # fmt: skip
    return {"figures": [forest, scatter]}


def _without_collapsed(cells: Cells, found: pl.DataFrame) -> pl.DataFrame:
    """The correlations, and where runs of direct transfer collapsed, in "r without collapsed" what r is without these."""
    if not cells.of("direct")["collapsed"].sum():
        return found
    try:
        others = correlate(cells.uncollapsed.of("direct"), "f1", found["feature"].unique().to_list(), draws=FEW_DRAWS)
    except DataError:
        return found.with_columns(pl.lit(None, pl.Float64).alias("r without collapsed"))
    others = others.select("feature", "method", pl.col("r").alias("r without collapsed"))
    return found.join(others, on=["feature", "method"], how="left", maintain_order="left")


def coefficients(cells: Cells) -> dict[str, Any]:
    """What each distance adds to the others, with sources and targets as crossed random effects: `analysis.mixed`."""
    direct = cells.of("direct")
    rows = cells.design.frame.filter(pl.col("method") == "teacher-student")
    students = replace(cells.design, frame=rows).with_products([("syntactic", "log_volume")]).frame  # less the means of these rows
    asked = [("Direct transfer", direct, cells.distances(direct))]
    if students["volume"].n_unique() > 1:
        asked.append(("Students, all volumes", students, ["syntactic", "log_volume", "syntactic:log_volume"]))
    models, reasons = [], []
    for title, frame, features in asked:
        try:
            models.append((title, CrossedEffects().fit(frame, "f1", features)))
        except DataError as error:
            reasons.append(f"{title}: {error}")
    if not models:
        raise DataError(" ".join(reasons))
    tables = [model.coef_.with_columns(outcome=pl.lit(f"{cells.score}, {title.lower()}")) for title, model in models]
    named = pl.col("feature").str.replace("_", " ").str.replace(":", " × ")
    drawn = [table.select(name=named, **{name: pl.col(name) * pl.col("sd") for name in ("estimate", "low", "high")}) for table in tables]
    panels = [
        figures.forest(title, rows, f"{cells.score} per standard deviation, 95% intervals") for (title, _), rows in zip(models, drawn, strict=True)
    ]
    fit = " ".join(reasons + [
        f"{title}: the features explain {model.r2_marginal_:.0%} of the variance, with source and target {model.r2_conditional_:.0%} "
        f"({model.n_} rows{f'; {model.dropped_} with an unknown distance left out' if model.dropped_ else ''})."
        for title, model in models
    ])  # fmt: skip
    caption = f"Each with the others held fixed; sources and targets have random effects; intervals count languages, not rows. {fit}"
    return {"figures": [Figure(panels, caption, Table(f"{cells.name}-coefficients", "Coefficients of the mixed model", pl.concat(tables)))]}


def blocks(cells: Cells) -> dict[str, Any]:
    """What each kind of distance adds to R2: `analysis.importance`."""
    frame = cells.of("direct")
    known = cells.distances(frame)
    kinds = {kind: [name for name in names if name in known] for kind, names in BLOCKS.items()}
    found = importance(frame, "f1", {kind: names for kind, names in kinds.items() if names}, draws=DRAWS)
    drawn = found.rename({"block": "name", "r2": "estimate"})
    figure = Figure(
        [figures.forest("Share of R² of direct transfer", drawn, "R², 95% intervals")],
        "Shapley values: what a kind of distance adds to R², averaged over the orders in which the kinds can enter. In the table, "
        f"“held_out” is the share for targets that were left out. {BY_LANGUAGE} They are approximate: in simulated studies of 8 to 20 "
        "languages, 90 to 99 of 100 held the share that all languages would have.",
        Table(f"{cells.name}-importance", "Shares of R² by kind of distance", found), figures.BY,
    )  # fmt: skip
    return {"figures": [figure]}


def near_and_far(cells: Cells) -> dict[str, Any]:
    """Related against distant targets by method: `analysis.contrast`."""
    found = pl.concat(
        made.with_columns(what=pl.lit(what)).filter((pl.col("contrast") != "direct") | (number == 0))  # it is in each, on its pairs
        for number, frame in enumerate(cells.beside_direct().values())
        for what, made in (
            (f"mean {cells.score}", contrast.paired(frame, "f1", "method")),
            (f"{cells.score} per unit of distance", contrast.degradation(frame, "f1", "syntactic", "method")),
        )
    )  # fmt: skip
    rows = found.with_columns(pl.col("contrast").str.replace("teacher-student", "student").alias("name"))
    panels = [
        figures.forest(what, rows.filter(pl.col("what") == what), f"{what}, 95% intervals") for what in rows["what"].unique(maintain_order=True)
    ]
    over = "; ".join(found["over"].unique(maintain_order=True))
    caption = (
        f"Each method at its largest volume against direct transfer, on the pairs that both have. {BY_LANGUAGE} The slope is {cells.score} per "
        f"unit of syntactic distance; a slopes' difference above 0 says that the method falls less. Intervals are over {over}."
    )
    return {"figures": [Figure(panels, caption, Table(f"{cells.name}-contrasts", "Methods, near and far", rows.drop("name")))]}


def source_sets(cells: Cells) -> dict[str, Any]:
    """What the diversity of the sources does, their distance to the target held fixed: `analysis.diversity`."""
    if not (cells.rows["n_sources"] > 1).any():
        raise DataError("every source set is a single language. Name sets (eng+deu) among the sources to ask what diversity does.")
    panels, tables, reasons = [], [], []
    for name, method, outcome in questions(set(cells.rows["method"])):
        try:
            found = diversity(cells.of(method).with_columns(pl.col("source").str.split("+").alias("sources")), outcome)
        except DataError as error:
            reasons.append(f"{name}: {error}")
            continue
        what = cells.score if outcome == "f1" else "gain over the teacher"
        tables.append(found.select(pl.lit(method).alias("method"), pl.lit(what).alias("outcome"), pl.all()))
        drawn = found.select(pl.col("measure").str.replace("_", " ").alias("name"), "estimate", "low", "high")
        panels.append(figures.forest(f"{method}: {what}", drawn, f"{cells.score} per unit, 95% intervals"))
    if not panels:
        raise DataError(" ".join(reasons))
    caption = (
        f"Mean {DISTANCE} distance between the sources, and the log-determinant of their similarities; the sources' number and mean "
        f"distance to the target are held fixed. Students are those of the largest volume. {BY_LANGUAGE} {' '.join(reasons)}"
    ).rstrip()
    return {"figures": [Figure(panels, caption, Table(f"{cells.name}-diversity", "Diversity of source sets", pl.concat(tables)))]}


def sentences(cells: Cells) -> dict[str, Any]:
    """Each student at the largest volume against its teacher on the same test sentences: `analysis.sentences`."""
    chosen = cells.done.filter(
        pl.col("method").is_in(["direct", "teacher-student"]), pl.col("volume").is_in([0, cells.largest]), pl.col("shots") == 0
    )
    chosen = chosen.with_columns(pl.col("sources").list.join("+").alias("source"))
    if set(chosen["method"]) != {"direct", "teacher-student"}:
        raise DataError("it takes students and direct transfer on the same targets.")
    known, rows = cells.store.artifacts(), []
    for (source, target), part in chosen.group_by(["source", "target"], maintain_order=True):
        runs = part.pivot("method", index="seed", values="scored").drop_nulls()
        scored = [runs[method].to_list() for method in ("direct", "teacher-student") if method in runs.columns]
        if len(scored) == 2 and len(runs) and known >= {name for each in scored for name in each}:
            first, second = (sum(counts(cells.store, name) for name in each) for each in scored)
            rows.append({"name": f"{source} → {target}", "seeds": len(runs)} | bootstrap(first, second, DRAWS))
    if not rows:
        raise DataError("the store has no evaluations with their sentences for these rows.")
    found = pl.DataFrame(rows)
    figure = Figure(
        [figures.forest("Student minus teacher", found.head(DRAWN), f"{cells.score}, 95% intervals over test sentences")],
        f"Students at {cells.largest:,} sentences against direct transfer on the same test sentences, the seeds' counts summed. It "
        "speaks of these models on more sentences like these: not of other seeds, and not of other languages.",
        Table(f"{cells.name}-sentences", f"Student minus teacher on the same test sentences ({cells.score})", found),
    )
    return {"figures": [figure]}


def prediction(cells: Cells) -> dict[str, Any]:
    """Direct transfer to targets that the model has not seen: `analysis.regress`."""
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
        f"Each target's {cells.score} predicted by a ridge regression on the distances, fitted without that target. {note} Below, the same "
        "for baselines that know no distance. One target at a time is left out: its kin stay, and so do its rows as a source. No other "
        "measure than distances is used (“Measures on languages” has those), and no size of data: direct transfer sees no target text.",
        Table(f"{cells.name}-held-out", "Predictions of held-out targets", ridge.drop("model", "fold", "row", "score")),
    )
    shown = scores.select(
        "model", pl.col("mae").alias("MAE"), pl.col("rmse").alias("RMSE"), pl.col("rank_correlation").alias("rank r"),
        pl.col("ndcg3").alias("NDCG@3"), "regret", pl.col("coverage").alias("covered"), "width",
    )  # fmt: skip
    caption = (
        f"How well held-out targets are predicted: errors in {cells.score}; rank correlation, NDCG@3 and regret (what is lost by taking the source "
        "ranked first) within targets; 90% intervals' coverage and width"
    )
    return {"figures": [figure], "tables": [Table(f"{cells.name}-scores", caption, shown)]}
