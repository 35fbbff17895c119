"""The report's section on measures of languages (`engine.store.MEASURED`): what transfer and its gain have to do with them.

The statistics are `analysis.correlate`'s and `analysis.regress`'; distances are `analysis.explained`'s.
"""

from itertools import chain
from typing import Any

import polars as pl

from analysis import figures, regress
from analysis.correlate import correlate
from analysis.figures import Figure
from analysis.sections import DRAWS, Cells
from analysis.tables import Table
from engine.errors import DataError, SprachbundError
from engine.store import MEASURED

# What a regression takes together: as many predictors as a few languages carry.
BLOCKS = {
    "language model": ("lml_source", "lml_target", "lmem_source", "lmem_target"),
    "overlap": ("word_overlap", "subword_overlap", "entity_overlap", "ttr_distance"),
    "tokenizer": ("fertility_source", "fertility_target", "unknown_source", "unknown_target"),
    "alignment": ("alignment_cosine", "alignment_cka", "alignment_retrieval", "alignment_procrustes"),
    "language identity": ("identity_weight",),
    "teachers": ("teacher_entropy", "teacher_agreement"),
}


def measures(cells: Cells) -> dict[str, Any]:
    """Direct transfer, and the gain of students over their teachers, against each measure and against blocks of them."""
    parts, reasons = [], []
    for name, method, outcome in (("direct transfer", "direct", "f1"), ("the gain of students", "teacher-student", "gain")):
        try:
            parts.append(_against(cells, name, cells.of(method), outcome))
        except DataError as error:
            reasons.append(f"{name}: {error}")
    if not parts:
        raise DataError(" ".join(reasons))
    panels, found, held = (list(chain.from_iterable(each)) for each in zip(*parts, strict=True))
    caption = (
        f"Pearson's r of each measure (docs/methods.md) with {cells.score} of direct transfer, and with the gain of students at the largest "
        "volume over their teachers, with 95% intervals. Intervals and tests are by language, for pairs of languages are not "
        "independent; p is corrected for the measures of one outcome. entity_overlap reads gold labels of the target's test split. "
        + " ".join(reasons)
    )
    figure = Figure(panels, caption.strip(), Table(f"{cells.name}-measures", "Correlations with measures on languages", pl.concat(found)), figures.BY)
    shown = Table(
        f"{cells.name}-measures-held-out",
        "Ridge regressions on blocks of measures, and on the distances, for targets that were left out: the lower the error (MAE, in "
        f"{cells.score}), the better; “none” is each source's mean. A block of more measures than there are languages is left out",
        pl.concat(held),
    ) if held else None  # fmt: skip
    return {"figures": [figure], "tables": [shown] if shown else []}


def _against(cells: Cells, name: str, frame: pl.DataFrame, outcome: str) -> tuple[list[figures.Panel], list[pl.DataFrame], list[pl.DataFrame]]:
    """The forest of one outcome's correlations, their table, and the errors of regressions where there are languages enough."""
    known = [column for column in MEASURED if frame[column].drop_nulls().n_unique() > 1]
    if not known:
        raise DataError("the study asked for no measures, or none varies. Name them: --set measures=all.")
    found = correlate(frame, outcome, known, draws=DRAWS)
    drawn = found.filter(pl.col("method") == "pearson").drop_nulls("r").rename({"feature": "name", "r": "estimate"})
    if drawn.is_empty():
        raise DataError(f"no correlation: {found['note'][0]}.")
    panel = figures.forest(f"Measures and {name}", drawn, "Pearson's r, 95% intervals")
    return [panel], [found.select(pl.lit(name).alias("outcome"), pl.all())], _held_out(cells, name, frame, outcome, known)


def _held_out(cells: Cells, name: str, frame: pl.DataFrame, outcome: str, known: list[str]) -> list[pl.DataFrame]:
    blocks = {block: [column for column in columns if column in known] for block, columns in BLOCKS.items()}
    rows = []
    for block, columns in ({"distances": cells.distances(frame)} | blocks).items():
        if columns:
            models = {block: regress.pipelines(columns)["ridge"]} | ({} if rows else {"none": regress.baselines()["source mean"]})
            try:
                scores = regress.scores(regress.held_out(frame, outcome, columns, models=models, level=None))
            except SprachbundError:  # too few languages for so many predictors: the block has no row
                continue
            rows.append(scores.select(pl.lit(name).alias("outcome"), pl.col("model").alias("predictors"), "n", "languages", "mae", "rank_correlation"))
    return rows
