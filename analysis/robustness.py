"""What perturbations of the test text cost each method, alone and per share of the test text that they edited (Q3).

In-language training is the native model of Manafi & Krishnaswamy 2024. It shares more names and words with the test text than
a transferred model does, so more of them are edited: a smaller loss alone does not make transfer the more robust.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from analysis import contrast, figures
from analysis.figures import Figure
from analysis.sections import POINT, Cells
from analysis.tables import Table
from engine.errors import DataError

FIRST = ("in-language", "direct")  # what the other methods are compared with


def changes(cells: Cells) -> pl.DataFrame:
    """F1 on the perturbed test text minus F1 on the text as it is, of the same model.

    A row a perturbation, method and target: `change` and `exposure`, means over sources and seeds; `source` is "all sources".
    Students are those of the largest volume. Raises DataError where no cell stands in both.
    """
    same = [name for name in (*POINT, "seed") if name != "perturbation"]
    chosen = cells.perturbed.filter(pl.col("status") == "done", pl.col("volume").is_in([0, cells.largest]), pl.col("shots") == 0)
    both = chosen.join(cells.done.select(*same, before="f1"), on=same)
    if both.is_empty():
        raise DataError("the study has no perturbed cell that is finished with and without its perturbation.")
    table = both.group_by("perturbation", "method", "target", maintain_order=True).agg(
        (pl.col("f1") - pl.col("before")).mean().alias("change"), pl.col("exposure").mean(), pl.len().alias("runs"),
    )  # fmt: skip
    place = {method: number for number, method in enumerate(FIRST)}
    order = pl.col("method").replace_strict(place, default=len(place), return_dtype=pl.Int64)
    return table.sort("perturbation", order, "method", "target").with_columns(source=pl.lit("all sources"))


def native_and_transfer(cells: Cells, perturbation: str) -> Mapping[str, Any]:
    """How much less direct transfer loses than in-language training, per share edited. Raises DataError as `robustness`."""
    held = changes(cells).filter(pl.col("perturbation") == perturbation, pl.col("method").is_in(FIRST))
    return contrast.robustness(held, "change", "exposure", "method").row(-1, named=True)


def robustness(cells: Cells) -> dict[str, Any]:
    """The change of F1 by perturbation and method, and the same per share edited: `analysis.contrast`."""
    table = changes(cells)
    found, reasons = [], []
    for (perturbation,), rows in table.group_by(["perturbation"], maintain_order=True):
        try:
            found.append(_estimates(rows).with_columns(perturbation=pl.lit(perturbation)))
        except DataError as error:
            reasons.append(f"{perturbation}: {error}")
    if not found:
        raise DataError(" ".join(reasons))
    rows = pl.concat(found)
    panels = [
        figures.forest(f"{perturbation}: {what}", part.select(pl.col("contrast").alias("name"), "estimate", "low", "high"), "F1, 95% intervals")
        for (perturbation, what), part in rows.group_by(["perturbation", "what"], maintain_order=True)
    ]
    caption = (
        "The same models on perturbed test text. The change per share edited is what editing all of it would cost, were the loss "
        f"proportional. Means over sources and seeds; intervals are over targets. {' '.join(reasons)}"
    ).rstrip()
    by_target = Table(f"{cells.name}-changes", "Change of F1 by perturbation, method and target", table.drop("source"))
    return {
        "figures": [Figure(panels, caption, Table(f"{cells.name}-robustness", "Change of F1 under perturbation", rows))],
        "tables": [by_target],
    }


def _estimates(rows: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([
        contrast.paired(rows, "change", "method").with_columns(what=pl.lit("change of F1")),
        contrast.robustness(rows, "change", "exposure", "method").with_columns(what=pl.lit("change per share edited")),
    ])  # fmt: skip
