"""Manafi & Krishnaswamy 2024: does the overlap of entities carry transfer? Thirteen pairs, two models."""

from pathlib import Path

import numpy as np
import polars as pl
from sklearn.linear_model import LinearRegression

from analysis.correlate import correlate
from analysis.published import manafi
from analysis.replications import Figure

# Computed from the published runs: r, and Fisher's 95% interval.
PUBLISHED = {"mbert": (0.49, -0.09, 0.82), "xlmr": (0.56, 0.01, 0.85)}


def replicate(data: Path, test: Path | None = None) -> list[Figure]:
    """r(overlap, F1) per model, by rows and by languages; with `test`, the line through `data` scored there."""
    table = manafi(data)
    figures = []
    for model, published in PUBLISHED.items():
        rows = table.frame.filter(pl.col("model") == model)
        found = correlate(rows, "f1", ["overlap"]).filter(pl.col("method") == "pearson").row(0, named=True)
        names = {"r": "r", "fisher_low": "row_low", "fisher_high": "row_high"}
        figures += [Figure(f"{model}.{name}", found[key], known) for (name, key), known in zip(names.items(), published, strict=True)]
        figures += [Figure(f"{model}.{name}", found[name]) for name in ("low", "high", "p", "n", "detectable")]
        if test is not None:
            figures += _scored(model, rows, manafi(test).frame.filter(pl.col("model") == model))
    return figures


def _scored(model: str, train: pl.DataFrame, test: pl.DataFrame) -> list[Figure]:
    x, y = test.select("overlap").to_numpy(), test["f1"].to_numpy()
    line = LinearRegression().fit(train.select("overlap").to_numpy(), train["f1"].to_numpy())
    errors = {"line": line.predict(x) - y, "mean": train["f1"].mean() - y}
    return [Figure(f"{model}.test.{name}.rmse", float(np.sqrt(np.mean(error**2)))) for name, error in errors.items()]
