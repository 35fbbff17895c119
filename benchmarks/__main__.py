"""The command `python -m benchmarks NAME [--json]`; `all` runs every one and writes benchmarks/RESULTS.md."""

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.report import Skipped, machine

NAMES = ("train", "tag", "encoder", "study", "overhead", "scale", "gpu", "memory", "limit")
RESULTS = Path(__file__).parent / "RESULTS.md"


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure speed against a named baseline.")
    parser.add_argument("name", choices=(*NAMES, "all"))
    parser.add_argument("--json", action="store_true", help="print one JSON object of figures by name")
    options = parser.parse_args()
    if options.name == "all":
        return _all()
    try:
        report = importlib.import_module(f"benchmarks.{options.name}").run()
    except Skipped as reason:
        print(json.dumps({"skipped": str(reason)}) if options.json else f"## {options.name}\n\nSkipped: {reason}\n")
        return 0
    print(json.dumps(report.figures) if options.json else report.markdown())
    return 0


def _all() -> int:
    """Each in a process of its own, so that none warms the next one's caches. Write what they print."""
    sections, failed = [], 0
    for name in NAMES:
        print(f"{name} ...", flush=True)
        ran = subprocess.run([sys.executable, "-m", "benchmarks", name], stdout=subprocess.PIPE, text=True, check=False)
        failed += ran.returncode != 0
        sections.append(ran.stdout if ran.returncode == 0 else f"## {name}\n\nFailed with exit code {ran.returncode}.\n")
    head = f"# Benchmarks\n\n`python -m benchmarks all`: {machine()}. Times are medians; ratios are medians of pairs.\n"
    RESULTS.write_text("\n".join([head, *sections]), "utf-8")
    print(f"written: {RESULTS}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
