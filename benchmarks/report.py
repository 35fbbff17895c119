"""What a benchmark returns, and how it is printed: a table for people, figures by name for programs."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path


class Skipped(Exception):
    """This machine cannot run the benchmark; the text says why."""


@dataclass(frozen=True)
class Report:
    """One benchmark's outcome. `rows`: one a line of the table, numbers already rounded as text. `notes`: what was compared."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Mapping[str, float]
    notes: Sequence[str] = field(default=())

    def markdown(self, where: str) -> str:
        """The report as a section of a Markdown page. `where`: the command, the machine and the date."""
        lines = [f"## {self.title}", "", where, "", *(f"{note}\n" for note in self.notes)]
        for cells in (self.columns, ["---"] * len(self.columns), *self.rows):
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"


def machine() -> str:
    """This machine, the versions and the date, as one line."""
    names = ("torch", "transformers", "tokenizers", "deepspeed", "ray", "polars", "pyarrow")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names if _installed(name))
    return f"{datetime.now(UTC):%Y-%m-%d}, {_processor()}, {os.cpu_count()} CPU cores, Python {platform.python_version()}, {versions}"


def _installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def _processor() -> str:
    """The processor's name; Linux tells it in a file only."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
