"""Anybody's table of transfer results: `python -m analysis.fit FILE.csv --outcome COL --source COL --target COL`.

Correlations, a mixed model, predictions for held-out languages and, of blocks that are named, the importance. `analysis.foreign`
reads and checks the table; here it is taken apart by group. The statistics are `analysis.correlate`'s, `mixed`'s, `regress`'s and
`importance`'s.
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
from analysis.features import products
from analysis.folds import BY
from analysis.foreign import TYPOLOGY, numeric, read
from analysis.importance import importance
from analysis.mixed import CrossedEffects
from analysis.pairs import FEWEST, Pairs, required
from analysis.regress import baselines, check_predictors, differences, errors, held_out, pipelines, predictors, scores
from analysis.typology import distances
from engine.errors import DataError, SprachbundError, did_you_mean

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
    products_of = [_factors(text) for text in options.interaction]
    frame, features, notes = read(options)
    for name in (name for pair in products_of for name in pair if name not in features):
        raise DataError(f"--interaction: {name!r} is no feature here.{did_you_mean(name, features)} There are: {', '.join(features)}.")
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
            found.append(group | analyse(part, features, blocks, products_of, options))
        except DataError as error:
            found.append(group | {"refused": str(error)})
            refused.append("".join(f"{column} {value}: " for column, value in group["group"].items()) + str(error))
    if len(refused) == len(found):
        raise DataError(" ".join(refused))
    return found, notes


def analyse(
    frame: pl.DataFrame, features: Sequence[str], blocks: Mapping[str, tuple[str, ...]], interactions: Sequence[tuple[str, str]],
    options: argparse.Namespace,
) -> dict[str, Any]:  # fmt: skip
    """All statistics of one group's rows, by name; where one is refused, why. Raises DataError where none can be made."""
    varying = [column for column in features if frame[column].cast(pl.Float64).fill_nan(None).drop_nulls().n_unique() > 1]
    pairs = Pairs.of(frame, options.outcome, varying)
    if not varying:
        raise DataError(f"no feature says anything: {', '.join(features)} each have one value or none. Name others with --features.")
    own = [column for column in varying if column not in TYPOLOGY or options.no_typology]
    crossed = [pair for pair in interactions if set(pair) <= set(varying)]
    frame = frame.with_columns(products(crossed))
    check_predictors(frame, [*own, *(f"{a}:{b}" for a, b in crossed)])
    notes = [f"{column} says nothing here: it has one value or none" for column in features if column not in varying]
    correlations = correlate(frame, options.outcome, varying, draws=options.draws, random_state=options.seed)
    doubtful = correlations.filter(pl.col("r").abs() >= SUSPICIOUS, pl.col("feature").is_in(own))["feature"].unique().sort()
    notes += [f"{column} all but equals the outcome: is it a feature? (leave it out with --features)" for column in doubtful]
    counted = predictors(frame, [*varying, *(f"{a}:{b}" for a, b in crossed)])
    chosen = varying if all(number < languages for number, languages in counted.values()) else own
    if chosen is not varying:
        notes.append(f"{len(varying)} features, and what of them is unknown, are too many for {pairs.units} languages: the models do without typology")
        crossed = [pair for pair in crossed if set(pair) <= set(own)]
    notes += [f"{a}:{b} is left out, for one of the two is" for a, b in interactions if (a, b) not in crossed]
    chosen = [*chosen, *(f"{a}:{b}" for a, b in crossed)]
    return {
        "rows": len(frame), "languages": pairs.units, "notes": notes, "correlations": correlations.to_dicts(),
        "mixed": _or_why(lambda: _mixed(frame, options.outcome, chosen)),
        "held_out": _or_why(lambda: _held_out(frame, chosen, options)),
        "importance": _or_why(lambda: importance(frame, options.outcome, blocks, draws=1_000, random_state=options.seed).to_dicts()) if blocks else [],
    }  # fmt: skip


def _check_some(features: Sequence[str]) -> None:
    if not features:
        raise DataError("no feature is left: the table has none of its own, and typology has too many for so few languages. Add a column.")


def _mixed(frame: pl.DataFrame, outcome: str, features: Sequence[str]) -> dict[str, Any]:
    _check_some(features)
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
    """Targets are held out if the command does not say what; sources where there are too few targets."""
    _check_some(features)
    by = options.hold_out or ("target" if frame["target"].n_unique() >= FEWEST else "source")
    english = next((code for code in ("eng", "en") if code in frame["source"].unique()), None)
    size, overlap = (name if name in features else None for name in (options.size, options.overlap))
    near = None
    if by != "source" and not options.no_typology:
        near = distances(frame["target"].unique().sort().to_list()).with_columns(distance=pl.mean_horizontal(*TYPOLOGY))
    simple = baselines(size=size, overlap=overlap, distances=near, english=english)
    models = pipelines(features, options.seed) | simple
    predictions = held_out(frame, options.outcome, features, by, models, random_state=options.seed, n_jobs=-1 if len(frame) > LARGE else None)
    table = scores(predictions)
    by_language = errors(predictions).filter(pl.col("model").is_in(list(simple))).group_by("model", maintain_order=True).agg(pl.col("mae").mean())
    best = by_language.sort("mae", nulls_last=True, maintain_order=True)[0, "model"]
    beaten = differences(predictions, best).filter(~pl.col("model").is_in(list(simple)))
    known = "target" if by == "source" else "source"
    return {"by": by, "known": known, "scores": table.to_dicts(), "baseline": best, "differences": beaten.to_dicts()}


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


def _factors(text: str) -> tuple[str, str]:
    a, found, b = text.partition(":")
    if not (found and a and b):
        raise DataError(f"--interaction {text!r}: write COLUMN:COLUMN.")
    return a, b


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
        _rows(console, "correlations (low, high: leaves out each language; p: permutes them; trust what both show. row_*: as if rows were independent)", shown)
        for row in part["correlations"]:
            if row["note"]:
                console.print(f"{row['feature']} ({row['method']}): {row['note']}", markup=False)
        mixed, held = part["mixed"], part["held_out"]
        if "refused" not in mixed:
            title = "mixed model, source and target as random effects: marginal R2 {r2_marginal:.2f}, conditional {r2_conditional:.2f}, {n} rows"
            _rows(console, title.format(**mixed), mixed["coefficients"])
        if "refused" not in held:
            _rows(console, f"predictions for a {held['by']} that was held out", held["scores"])
            if held["differences"]:
                _rows(console, f"means over what was held out, less those of the best baseline, {held['baseline']} (p not corrected)", held["differences"])
        if part["importance"] and "refused" not in part["importance"]:
            _rows(console, "importance of blocks: shares of R2", part["importance"])
        for name in ("mixed", "held_out", "importance"):
            if "refused" in part[name]:
                console.print(f"{name}: refused. {part[name]['refused']}", markup=False)


def _rows(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        table.add_row(*map(_shown, row.values()))
    console.print(table)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"
    return "-" if value is None else str(value)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m analysis.fit", description="The statistics of a table of transfer results.")
    parser.add_argument("file", type=Path, help="a CSV file with a header, one row per result; ; and tabs may separate, too")
    parser.add_argument("--outcome", required=True, help="the column to explain, F1 say")
    parser.add_argument("--source", required=True, help="the column with the source's code; a set is written eng+deu")
    parser.add_argument("--target", required=True, help="the column with the target's code")
    parser.add_argument("--groups", nargs="+", default=[], metavar="COL", help="columns whose values are analyzed apart: model, task; a group that is refused is named, and the exit code is 1")
    parser.add_argument("--features", nargs="+", metavar="COL", help="numeric columns; all that have no other role if not given")
    parser.add_argument("--block", action="append", default=[], metavar="NAME=COL,COL", help="features whose importance is asked for together")
    parser.add_argument("--interaction", action="append", default=[], metavar="COL:COL", help="two features whose product the models get, too")
    parser.add_argument("--size", metavar="COL", help="the feature, log sizes say, of the baseline 'size only' of the predictions")
    parser.add_argument("--overlap", metavar="COL", help="the feature of the baseline 'overlap only'")
    parser.add_argument("--hold-out", choices=BY, help="what predictions are for: a new target (if not given), source, language, family of targets")
    parser.add_argument("--no-typology", action="store_true", help="do not read the codes (en and eng are two languages then), and join no distances")
    parser.add_argument("--draws", type=int, default=10_000, help="of the bootstrap and the permutation test (10,000)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
