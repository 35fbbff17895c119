"""Anybody's table of transfer results: `python -m analysis.fit FILE.csv --outcome COL --source COL --target COL`.

Correlations, a mixed model, predictions for held-out languages and, of blocks that are named, the importance. Here the table
is read, checked and taken apart by group; the statistics are `analysis.correlate`'s, `mixed`'s, `regress`'s and `importance`'s.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from analysis.correlate import correlate
from analysis.features import with_typology
from analysis.foreign import no_number, numeric, read_csv, with_codes
from analysis.importance import importance
from analysis.mixed import CrossedEffects
from analysis.pairs import FEWEST, Pairs, required
from analysis.regress import baselines, check_predictors, held_out, pipelines, scores
from analysis.typology import DISTANCES, distances
from engine.errors import DataError, SprachbundError

TYPOLOGY = tuple(name for name in DISTANCES if name != "featural")  # the union of three others
KNOWN = 0.8  # of the rows: the mixed model leaves out a row in which a feature is unknown, so it gets no feature known in fewer
LARGE = 2_000  # rows: below, starting further processes takes longer than they save
FEWEST_DRAWS = 100
SHOWN = ("feature", "method", "r", "low", "high", "p", "p_holm", "row_low", "row_high", "row_p", "n", "languages", "detectable")
SUSPICIOUS = 0.98  # |r| with the outcome of what is hardly a feature but a second outcome


def main(arguments: list[str] | None = None) -> int:
    """Print the statistics; return the exit code: 0, or 1 where a group is refused and others are not, or 2 where all are."""
    options = _options(arguments)
    try:
        found, notes = _found(options)
    except SprachbundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(_plain({"outcome": options.outcome, "notes": notes, "analyses": found}), ensure_ascii=False))
    else:
        _show(found, notes)
    return int(any("refused" in part for part in found))


def _found(options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Each group's statistics, or why they are refused, and the notes. Raises DataError where all groups are refused."""
    if options.draws < FEWEST_DRAWS:
        raise DataError(f"--draws {options.draws}: at least {FEWEST_DRAWS} are needed, for a 95% interval leaves out but one in 20.")
    blocks = _blocks(options.block)
    frame, features, notes = read(options)
    asked = list(dict.fromkeys(name for names in blocks.values() for name in names))
    required(frame, asked)
    if options.outcome in asked:
        raise DataError(f"--block names {options.outcome}, which is the outcome.")
    frame = numeric(frame, asked)
    parts = frame.partition_by(options.groups, as_dict=True, maintain_order=True) if options.groups else {(): frame}
    found, refused = [], []
    for key, part in parts.items():
        group = {"group": dict(zip(options.groups, map(str, key), strict=True))}
        try:
            found.append(group | analyse(part, features, blocks, options))
        except DataError as error:
            found.append(group | {"refused": str(error)})
            refused.append("".join(f"{column} {value}: " for column, value in group["group"].items()) + str(error))
    if len(refused) == len(found):
        raise DataError(" ".join(refused))
    return found, notes


def read(options: argparse.Namespace) -> tuple[pl.DataFrame, list[str], list[str]]:
    """The table's rows of transfer, "source" and "target" as text and typology joined; its features; what there is to say of them.

    Features are the columns of `--features`, or else all columns of numbers without another role. Raises DataError for a file that
    is no table, columns that are missing or no numbers, and features that cannot be; StudyError for an unknown language code.
    """
    frame = read_csv(options.file)
    roles = [options.source, options.target, options.outcome, *options.groups, *(options.features or [])]
    required(frame, roles)
    if several := sorted({name for name in roles if roles.count(name) > 1}):
        raise DataError(f"a column has one role, and these have several: {', '.join(several)}.")
    frame = numeric(frame, [options.outcome, *(options.features or [])])
    for role in (options.source, options.target, *options.groups):
        if frame[role].null_count():
            raise DataError(f"{frame[role].null_count()} rows have no {role}: every row names its languages and its group.")
    notes = []
    for name in sorted({"source", "target"} & set(frame.columns) - {options.source, options.target}):
        if name in roles:
            raise DataError(f"the column {name!r} is not this table's --{name}, and has another role: rename it.")
        notes.append(f"the column {name!r} is left out: --{name} is {getattr(options, name)!r}")
        frame = frame.drop(name)
    frame = frame.rename({options.source: "source", options.target: "target"}).with_columns(pl.col("source", "target").cast(pl.String))
    features, said = _features(frame, options, {"source", "target", *roles})
    frame, of_rows = _transfer(numeric(frame, features), options)
    return (frame, features, notes + said + of_rows) if options.no_typology else (_joined(frame), [*features, *TYPOLOGY], notes + said + of_rows)


def _features(frame: pl.DataFrame, options: argparse.Namespace, roles: set[str]) -> tuple[list[str], list[str]]:
    """The table's own features, and what there is to say of them."""
    if options.features:
        return list(options.features), []
    others = [name for name in frame.columns if name not in roles]
    found = {name: no_number(frame[name]) for name in others}
    numbers = [name for name in others if found[name] is None]
    if not numbers and options.no_typology:
        raise DataError("there is no feature: no column of numbers is left, and --no-typology leaves out the distances.")
    notes = [f"features, for they are numeric: {', '.join(numbers)} (choose with --features)"] if numbers else []
    almost = [name for name in others if found[name] and frame[name].cast(pl.Float64, strict=False).count()]
    return numbers, notes + [f"{name} is no feature: row {found[name][0]} holds {found[name][1]!r}, which is no number" for name in almost]


def _transfer(frame: pl.DataFrame, options: argparse.Namespace) -> tuple[pl.DataFrame, list[str]]:
    """The rows whose source is not just the target, languages written as `with_codes` does if codes are read; what was changed."""
    notes = []
    if not options.no_typology:
        frame, renamed = with_codes(frame)
        if renamed:
            notes.append(f"languages were written in several ways, or in others than here: {', '.join(f'{a} is {b}' for a, b in renamed.items())}")
    own = frame["source"] == frame["target"]
    among = (frame["source"].str.split("+").list.contains(frame["target"]) & ~own).sum()
    if own.any():
        notes.append(f"{own.sum()} rows are left out, for their source is their target: that is no transfer")
    if among:
        notes.append(f"{among} rows have their target among several sources: they are counted as transfer")
    if own.all():
        raise DataError("the source is the target in all rows: there is no transfer to explain.")
    return frame.filter(~own), notes


def _joined(frame: pl.DataFrame) -> pl.DataFrame:
    try:
        return with_typology(frame)
    except DataError as error:
        raise DataError(f"{error} Or leave typology out with --no-typology.") from None


def analyse(
    frame: pl.DataFrame, features: Sequence[str], blocks: Mapping[str, tuple[str, ...]], options: argparse.Namespace
) -> dict[str, Any]:
    """All statistics of one group's rows, by name; where one is refused, why. Raises DataError where none can be made."""
    varying = [column for column in features if frame[column].cast(pl.Float64).fill_nan(None).drop_nulls().n_unique() > 1]
    pairs = Pairs.of(frame, options.outcome, varying)
    own = [column for column in varying if column not in TYPOLOGY or options.no_typology]
    check_predictors(len(own), pairs.units)
    notes = [f"{column} says nothing here: it has one value or none" for column in features if column not in varying]
    correlations = correlate(frame, options.outcome, varying, draws=options.draws, random_state=options.seed)
    doubtful = correlations.filter(pl.col("r").abs() >= SUSPICIOUS, pl.col("feature").is_in(own))["feature"].unique().sort()
    notes += [f"{column} all but equals the outcome: is it a feature? (leave it out with --features)" for column in doubtful]
    chosen = varying if len(varying) < pairs.units else own
    if chosen is not varying:
        notes.append(f"{len(varying)} features are too many for {pairs.units} languages: the models do without typology")
    return {
        "rows": len(frame), "languages": pairs.units, "notes": notes, "correlations": correlations.to_dicts(),
        "mixed": _or_why(lambda: _mixed(frame, options.outcome, chosen)),
        "held_out": _or_why(lambda: _held_out(frame, chosen, options)),
        "importance": _or_why(lambda: importance(frame, options.outcome, blocks, draws=1_000, random_state=options.seed).to_dicts()) if blocks else [],
    }  # fmt: skip


def _mixed(frame: pl.DataFrame, outcome: str, features: Sequence[str]) -> dict[str, Any]:
    known = frame.select(pl.col(features).cast(pl.Float64).fill_nan(None).count() / len(frame)).row(0)
    used = [name for name, share in zip(features, known, strict=True) if share >= KNOWN]
    if not used:
        raise DataError(f"no feature is known in {KNOWN:.0%} of the rows.")
    model = CrossedEffects().fit(frame, outcome, used)
    return {
        "n": model.n_, "left_out": model.dropped_, "features_left_out": [name for name in features if name not in used],
        "r2_marginal": model.r2_marginal_, "r2_conditional": model.r2_conditional_,
        "coefficients": model.coef_.to_dicts(), "variances": model.variances_.to_dicts(),
    }  # fmt: skip


def _held_out(frame: pl.DataFrame, features: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Targets are held out; sources where there are too few targets."""
    by, other = ("target", "source") if frame["target"].n_unique() >= FEWEST else ("source", "target")
    near = None
    codes = frame[by].unique().sort()
    if not options.no_typology and not codes.str.contains("+", literal=True).any():
        near = distances(codes.to_list()).with_columns(distance=pl.mean_horizontal(*TYPOLOGY))
    english = next((code for code in ("eng", "en") if code in frame["source"].unique()), None)
    models = pipelines(features, options.seed) | baselines(english=english)
    if near is not None and by == "target":
        models |= {"nearest language": baselines(distances=near)["nearest language"]}
    predictions = held_out(frame, options.outcome, features, by, models, random_state=options.seed, n_jobs=-1 if len(frame) > LARGE else None)
    return {"by": by, "known": other, "scores": scores(predictions).to_dicts()}


def _or_why(statistic: Any) -> Any:
    """What it returns, or why it cannot be had from this table: the other statistics still can."""
    try:
        return statistic()
    except DataError as error:
        return {"refused": str(error)}


def _blocks(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    blocks = {}
    for text in texts:
        name, found, columns = text.partition("=")
        if not found or not name or not columns:
            raise DataError(f"--block {text!r}: write NAME=COLUMN,COLUMN.")
        blocks[name] = tuple(columns.split(","))
    return blocks


def _plain(value: Any) -> Any:
    """JSON has no NaN, and polars' numbers are Python's already."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show(found: list[dict[str, Any]], notes: list[str]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    for note in notes:
        console.print(f"note: {note}", markup=False)
    for part in found:
        group = ", ".join(f"{column} {value}" for column, value in part["group"].items())
        if "refused" in part:
            console.print(f"\n{group}: refused. {part['refused']}", markup=False)
            continue
        console.print(f"\n{group or 'all rows'}: {part['rows']} rows, {part['languages']} languages in the role that varies more", markup=False)
        for note in part["notes"]:
            console.print(f"note: {note}", markup=False)
        shown = [{name: row[name] for name in SHOWN} for row in part["correlations"]]
        _rows(console, "correlations (low, high, p: by language; row_*: as if rows were independent)", shown)
        for row in part["correlations"]:
            if row["note"]:
                console.print(f"{row['feature']} ({row['method']}): {row['note']}", markup=False)
        mixed, held = part["mixed"], part["held_out"]
        if "refused" not in mixed:
            title = "mixed model, source and target as random effects: marginal R2 {r2_marginal:.2f}, conditional {r2_conditional:.2f}, {n} rows"
            _rows(console, title.format(**mixed), mixed["coefficients"])
        if "refused" not in held:
            _rows(console, f"predictions for a {held['by']} that was held out", held["scores"])
        if part["importance"] and "refused" not in part["importance"]:
            _rows(console, "importance of blocks: shares of R2", part["importance"])
        for name in ("mixed", "held_out", "importance"):
            if "refused" in part[name]:
                console.print(f"{name}: refused. {part[name]['refused']}", markup=False)


def _rows(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else "-" if value is None else str(value) for value in row.values()))
    console.print(table)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m analysis.fit", description="The statistics of a table of transfer results.")
    parser.add_argument("file", type=Path, help="a CSV file with a header, one row per result; ; and tabs may separate, too")
    parser.add_argument("--outcome", required=True, help="the column to explain, F1 say")
    parser.add_argument("--source", required=True, help="the column with the source's code; a set is written eng+deu")
    parser.add_argument("--target", required=True, help="the column with the target's code")
    parser.add_argument("--groups", nargs="+", default=[], metavar="COL", help="columns whose values are analyzed apart: model, task; a group that is refused is named, and the exit code is 1")
    parser.add_argument("--features", nargs="+", metavar="COL", help="numeric columns; all that have no other role if not given")
    parser.add_argument("--block", action="append", default=[], metavar="NAME=COL,COL", help="features whose importance is asked for together")
    parser.add_argument("--no-typology", action="store_true", help="do not read the codes (en and eng are two languages then), and join no distances")
    parser.add_argument("--draws", type=int, default=10_000, help="of the bootstrap and the permutation test (10,000)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
