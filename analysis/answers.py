"""What a study's results say of the hypotheses that its axes can test: one verdict each."""

import polars as pl

from analysis.verdict import Verdict


def answer(done: pl.DataFrame) -> list[Verdict]:
    """Return the verdicts on one setting's finished cells."""
    return [Verdict("cannot tell", "F1 rises with volume: cannot tell.")]
