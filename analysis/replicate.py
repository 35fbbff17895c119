"""Rerun a published analysis: `python -m analysis.replicate NAME --data DIR [--test DIR] [--json]`.

The analyses are `analysis.replications`'; the tables, `analysis.published` reads.
"""

import argparse
import json
import math
import sys
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from analysis.replications import Figure
from engine.errors import SprachbundError

NAMES = ("manafi", "sumeval", "devries", "langrank", "masakhaner2")


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; return the exit code."""
    parser = argparse.ArgumentParser("python -m analysis.replicate", description="Rerun a published analysis on its table.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the published tables")
    parser.add_argument("--test", type=Path, help="a folder with further rows of them: models fitted on DATA are scored on these")
    parser.add_argument("--json", action="store_true", help="print one JSON object, a figure's value by its name")
    options = parser.parse_args(arguments)
    try:
        figures = import_module(f"analysis.replications.{options.name}").replicate(options.data, options.test)
    except SprachbundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps({figure.name: _plain(figure.value) for figure in figures}, ensure_ascii=False))
    else:
        Console(width=None if sys.stdout.isatty() else 100).print(_table(options.name, figures))
    return 0


def _table(name: str, figures: list[Figure]) -> Table:
    table = Table("figure", "here", "published", title=name, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for figure in figures:
        table.add_row(figure.name, _text(figure.value), "" if figure.published is None else _text(figure.published))
    return table


def _plain(value: float | str | None) -> float | str | None:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: float | str | None) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
