"""What a study's results say of the hypotheses that its axes can test: one sentence each.

The hypotheses are fixed here, before any result is seen, with their direction and the smallest effect worth having. The
estimates are `analysis.contrast`'s and `analysis.correlate`'s, what follows from them `analysis.verdict`'s.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import polars as pl

from analysis import contrast
from analysis.sections import DRAWS, Cells
from analysis.verdict import SANDBOX, Verdict, verdict
from engine.errors import SprachbundError

SMALLEST_F1 = 0.01  # one point
SMALLEST_R = 0.3  # Cohen's medium correlation
# From the half width of a 95% interval to the effect found with probability .8: (1.96 + 0.84) / 1.96.
DETECTED = 1.43


@dataclass(frozen=True)
class Effect:
    """An estimate with its 95% interval and p value, over so many `languages`; `detectable`: found with probability .8."""

    estimate: float
    low: float
    high: float
    p: float
    languages: frozenset[str]
    detectable: float


@dataclass(frozen=True)
class Hypothesis:
    """`direction`: 1 or -1. `smallest`: the smallest effect worth having. `test` raises where the cells do not allow it."""

    claim: str
    direction: int
    smallest: float
    test: Callable[[], Effect]


def answer(cells: Cells) -> list[Verdict]:
    """Return a verdict on each hypothesis, p values corrected for all of them (Holm). One that cannot be tested says why."""
    from statsmodels.stats.multitest import multipletests

    asked = list(hypotheses(cells))
    effects = [_tried(hypothesis) for hypothesis in asked]
    known = [effect.p for effect in effects if isinstance(effect, Effect)]
    corrected = iter(multipletests(known, method="holm")[1] if known else ())
    return [
        _said(hypothesis, effect, next(corrected)) if isinstance(effect, Effect)
        else Verdict("cannot tell", f"{hypothesis.claim}: cannot tell. {effect}")
        for hypothesis, effect in zip(asked, effects, strict=True)
    ]  # fmt: skip


def hypotheses(cells: Cells) -> Iterator[Hypothesis]:
    """Those that the cells' methods and volumes are about."""
    methods = set(cells.rows["method"])
    volumes = sorted({volume for volume in cells.rows["volume"] if volume})
    if len(volumes) > 1:
        claim = f"Students score higher with {volumes[-1]:,} unlabeled sentences than with {volumes[0]:,}"
        yield Hypothesis(claim, 1, SMALLEST_F1, lambda: _difference(cells.students(volumes[0], volumes[-1]), "volume"))
    if {"direct", "teacher-student"} <= methods:
        claim = f"Students with {cells.largest:,} unlabeled sentences score above direct transfer"
        yield Hypothesis(claim, 1, SMALLEST_F1, lambda: _difference(cells.direct_and_students(), "method"))
    if "direct" in methods:
        claim = "Direct transfer falls with syntactic distance (correlation)"
        yield Hypothesis(claim, -1, SMALLEST_R, lambda: _correlation(cells.of("direct"), "f1"))
    if "teacher-student" in methods:
        claim = "The student's gain over its teacher falls with syntactic distance (correlation)"
        yield Hypothesis(claim, -1, SMALLEST_R, lambda: _correlation(cells.of("teacher-student"), "gain"))


def _tried(hypothesis: Hypothesis) -> Effect | SprachbundError:
    try:
        return hypothesis.test()
    except SprachbundError as error:
        return error


def _said(hypothesis: Hypothesis, effect: Effect, p: float) -> Verdict:
    found = verdict(
        hypothesis.claim, effect.estimate, effect.low, effect.high, p, direction=hypothesis.direction,
        smallest=hypothesis.smallest, languages=effect.languages, detectable=effect.detectable,
    )  # fmt: skip
    return Verdict(found.kind, found.sentence.removesuffix(SANDBOX).rstrip())  # the report's first line says it for all


def _difference(frame: pl.DataFrame, by: str) -> Effect:
    row = contrast.paired(frame, "f1", by, draws=DRAWS).row(-1, named=True)
    detectable = DETECTED * (row["high"] - row["low"]) / 2
    return Effect(row["estimate"], row["low"], row["high"], row["p"], _languages(frame), detectable)


def _correlation(frame: pl.DataFrame, outcome: str) -> Effect:
    from analysis.correlate import correlate

    row = correlate(frame, outcome, ["syntactic"], draws=DRAWS).row(0, named=True)
    return Effect(row["r"], row["low"], row["high"], row["p"], _languages(frame), row["detectable"])


def _languages(frame: pl.DataFrame) -> frozenset[str]:
    """Those of the role that has more."""
    return frozenset(max((set(frame[role]) for role in ("source", "target")), key=len))
