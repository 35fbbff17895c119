"""What a study's results say of the hypotheses that its axes can test: one sentence each.

The hypotheses are those whose power `analysis.design` quotes before the study runs, with the same tests (of `analysis.contrast`
and `analysis.diversity`); what follows from an estimate, `analysis.verdict` says.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl

from analysis import contrast
from analysis.design import DISTANCE, Assumptions
from analysis.diversity import DISTANCE as APART
from analysis.diversity import diversity, questions
from analysis.robustness import native_and_transfer
from analysis.sections import Cells
from analysis.verdict import SANDBOX, Verdict, said_power, signed, verdict
from engine.errors import DataError, SprachbundError

SMALLEST = Assumptions().smallest
UNIT = f"per standard deviation of {DISTANCE} distance"
ALIGNMENT = "alignment_cka"  # the one of `engine.store.MEASURED` that the verdicts are about; the report's section shows all
ALIGNED = "per standard deviation of CKA"
SET_UNIT = f"per standard deviation of the sources' mean {APART} distance"

Estimate = Mapping[str, Any]  # estimate, low, high, p; languages, how many it is over, or over, which in words
CORRECTED = (
    "Effects are on scores from 0 to 1. Intervals are by language. Within one setting (dataset, model and form) p values are corrected "
    "for all of its hypotheses (Holm); across settings and studies they are not."
)


@dataclass(frozen=True)
class Hypothesis:
    """`name`: as `analysis.design.power` has it. `direction`: 1 or -1. `test` raises where the cells do not allow it."""

    name: str
    claim: str
    direction: int
    test: Callable[[], Estimate]


def answer(cells: Cells, power: pl.DataFrame | None) -> list[Verdict]:
    """Return a verdict on each hypothesis, p values corrected for all of them (Holm). One that cannot be tested says why.

    Where runs collapsed, what each estimate is without them stands beside the verdict, which is of all.

    `power`: that of the study's design, None where the design is not known.
    """
    from statsmodels.stats.multitest import multipletests

    asked = list(hypotheses(cells))
    found = [_tried(hypothesis) for hypothesis in asked]
    without = _without(cells)
    known = [estimate["p"] for estimate in found if not isinstance(estimate, SprachbundError)]
    corrected = iter(multipletests(known, method="holm")[1] if known else ())
    planned = {} if power is None else {row["hypothesis"]: row for row in power.iter_rows(named=True)}
    return [
        _unknown(hypothesis, estimate, planned.get(hypothesis.name, {})) if isinstance(estimate, SprachbundError)
        else _said(cells, hypothesis, estimate, next(corrected), planned.get(hypothesis.name, {}), without(hypothesis))
        for hypothesis, estimate in zip(asked, found, strict=True)
    ]  # fmt: skip


def hypotheses(cells: Cells) -> Iterator[Hypothesis]:
    """Those that the cells' methods, volumes and source sets are about."""
    methods, volumes = set(cells.rows["method"]), {volume for volume in cells.rows["volume"] if volume}
    score = cells.score
    if len(volumes) > 1:
        claim = f"Students score higher with more unlabeled text ({score} per tenfold text)"
        yield Hypothesis("rise with volume", claim, 1, lambda: _mean(_rises(cells), "rise"))
    if {"direct", "teacher-student"} <= methods:
        claim = f"Students with {cells.largest:,} unlabeled sentences score above their teachers ({score})"
        yield Hypothesis("gain over the teacher", claim, 1, lambda: _mean(cells.of("teacher-student"), "gain"))
    if "direct" in methods:
        claim = f"Direct transfer falls with distance ({score} {UNIT})"
        yield Hypothesis("F1 falls with distance", claim, -1, lambda: _slope(cells.of("direct"), "f1"))
    if "teacher-student" in methods:
        claim = f"The gain over the teacher falls with distance ({score} {UNIT})"
        yield Hypothesis("the gain falls with distance", claim, -1, lambda: _slope(cells.of("teacher-student"), "gain"))
    if (aligned := cells.rows[ALIGNMENT].drop_nulls().n_unique() > 1) and "direct" in methods:
        claim = f"Direct transfer rises with the alignment of source and target before training ({score} {ALIGNED})"
        yield Hypothesis("F1 rises with alignment", claim, 1, lambda: _slope(cells.of("direct"), "f1", ALIGNMENT))
    if aligned and "teacher-student" in methods:
        claim = f"The gain over the teacher rises with the alignment of source and target ({score} {ALIGNED})"
        yield Hypothesis("the gain rises with alignment", claim, 1, lambda: _slope(cells.of("teacher-student"), "gain", ALIGNMENT))
    several = cells.rows.filter(pl.col("n_sources") > 1)["sources"].list.join("+").n_unique() > 1
    for name, method, outcome in questions(methods) if several else ():
        claim = f"{name.capitalize()}, at the same distance to the target ({score} {SET_UNIT})"
        yield Hypothesis(name, claim, 1, partial(_diversity, cells, method, outcome))
    for perturbation in sorted(set(cells.perturbed["perturbation"])) if {"direct", "in-language"} <= methods else ():
        claim = f"Direct transfer loses less than in-language training to the perturbation {perturbation} ({score} per share of entities edited)"
        yield Hypothesis(f"robust to {perturbation}", claim, 1, partial(native_and_transfer, cells, perturbation))


def _tried(hypothesis: Hypothesis) -> Estimate | SprachbundError:
    try:
        return hypothesis.test()
    except SprachbundError as error:
        return error


def _without(cells: Cells) -> Callable[[Hypothesis], str]:
    """For a hypothesis, what is said of its estimate without the runs that collapsed: nothing where none did."""
    if cells.uncollapsed is None:
        return lambda hypothesis: ""
    left = [] if cells.uncollapsed.rows.is_empty() else hypotheses(cells.uncollapsed)
    others = {hypothesis.claim: hypothesis for hypothesis in left}

    def said(hypothesis: Hypothesis) -> str:
        found = _tried(others[hypothesis.claim]) if hypothesis.claim in others else DataError("too few runs are left.")
        if isinstance(found, SprachbundError):
            return " Without the collapsed runs it cannot be tested."
        return f" Without the collapsed runs: {signed(found['estimate'])} ({signed(found['low'])} to {signed(found['high'])})."

    return said


def _unknown(hypothesis: Hypothesis, error: SprachbundError, planned: Mapping[str, Any]) -> Verdict:
    power = said_power(SMALLEST, planned.get("power"), planned.get("detectable"))
    return Verdict("cannot tell", f"{hypothesis.claim}: cannot tell. {error}{power}")


def _said(
    cells: Cells, hypothesis: Hypothesis, found: Estimate, p: float, planned: Mapping[str, Any], without: str
) -> Verdict:
    transfer = cells.points.filter(pl.col("method").is_in(["direct", "teacher-student"]), pl.col("shots") == 0)
    languages = max((set(transfer[role]) for role in ("source", "target")), key=len)
    said = verdict(
        hypothesis.claim, found["estimate"], found["low"], found["high"], p, direction=hypothesis.direction, smallest=SMALLEST,
        languages=languages, over=found.get("over", f"{found['languages']} languages"), power=planned.get("power"),
        detectable=planned.get("detectable"),
    )  # fmt: skip
    return Verdict(said.kind, said.sentence.removesuffix(SANDBOX).rstrip() + without)  # the report's first line says it for all


def _rises(cells: Cells) -> pl.DataFrame:
    """By pair, the slope of a student's F1 on log10 of its volume."""
    students = cells.design.frame.filter(pl.col("method") == "teacher-student").with_columns(x=pl.col("volume").log10())
    slope = pl.cov("x", "f1") / pl.col("x").var()
    table = students.group_by("source", "target", maintain_order=True).agg(slope.alias("rise")).drop_nulls("rise").fill_nan(None)
    if table.is_empty():
        raise DataError("no pair has students at two volumes.")
    return table.drop_nulls("rise")


def _mean(frame: pl.DataFrame, outcome: str) -> Estimate:
    known = frame.drop_nulls(outcome).with_columns(all=pl.lit("all"))
    return contrast.paired(known, outcome, "all").row(0, named=True)


def _slope(frame: pl.DataFrame, outcome: str, column: str = DISTANCE) -> Estimate:
    known = frame.drop_nulls([outcome, column]).with_columns(x=pl.col(column) / pl.col(column).std())
    return contrast.degradation(known, outcome, "x", "method").row(0, named=True)


def _diversity(cells: Cells, method: str, outcome: str) -> Estimate:
    frame = cells.of(method).with_columns(pl.col("source").str.split("+").alias("sources"))
    row = diversity(frame, outcome).row(0, named=True)
    scale = row["per_sd"] / row["estimate"]
    return {"p": row["p"], "languages": row["languages"]} | {name: scale * row[name] for name in ("estimate", "low", "high")}
