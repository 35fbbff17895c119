"""The command `python -m benchmarks NAME [--json] [--save]`; `all` runs every one and saves it.

`--save` puts the benchmark's section into benchmarks/RESULTS.md, where the others' stay: not all need run on one machine.
"""

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.report import Skipped, machine

NAMES = ("train", "tag", "encoder", "study", "overhead", "scale", "gpu", "memory", "limit", "profile", "design_matrix", "statistics", "projection", "alignment", "checksum")
RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = "# Benchmarks\n\nA section says what is a median and what was run once. `python -m benchmarks all` runs all of it.\n"
MARK = "<!-- {} -->\n"  # before each section


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure speed against a named baseline.")
    parser.add_argument("name", choices=(*NAMES, "all"))
    parser.add_argument("--json", action="store_true", help="print one JSON object of figures by name")
    parser.add_argument("--save", action="store_true", help=f"put the section into {RESULTS.name}")
    options = parser.parse_args()
    if options.name == "all":
        return _all()
    try:
        report = importlib.import_module(f"benchmarks.{options.name}").run()
        figures, text = report.figures, report.markdown(f"`python -m benchmarks {options.name}`: {machine()}.")
    except Skipped as reason:
        figures, text = {"skipped": str(reason)}, f"## {options.name}\n\nSkipped: {reason}\n"
    print(json.dumps(figures) if options.json else text)
    if options.save:
        save(RESULTS, options.name, text, skipped="skipped" in figures)
    return 0


def _all() -> int:
    """Each in a process of its own, so that none warms the next one's caches."""
    failed = 0
    for name in NAMES:
        ran = subprocess.run([sys.executable, "-m", "benchmarks", name, "--save"], check=False)
        failed += ran.returncode != 0
    return 1 if failed else 0


def save(file: Path, name: str, text: str, skipped: bool = False) -> None:
    """Put a benchmark's section in the place of its last one; one that was skipped here takes no place of figures."""
    there = file.read_text("utf-8") if file.exists() else ""
    sections = {}
    for other in NAMES:
        _, mark, rest = there.partition(MARK.format(other))
        if mark:
            sections[other] = rest.partition("<!-- ")[0].strip() + "\n"
    if not skipped or name not in sections:
        sections[name] = text
    ordered = [MARK.format(other) + sections[other] for other in NAMES if other in sections]
    file.write_text("\n".join([HEAD, *ordered]), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
