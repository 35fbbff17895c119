"""Soak: the driver of a study killed at random moments. `python -m tests.soak.kills [--kills 25] [--seed 0]`

Runs the tests' small study once undisturbed, for its table and its time; then again and again the same command on another
store, each killed (SIGKILL to the command's process alone: Ray's end by themselves), the last one not. A kill comes when
the run has done a random number of steps (0 to 3) and up to `--within` seconds more; where the study ends before, the next
one begins with an empty store. Prints what was found; fails where the table or the models' weights differ from the
undisturbed ones, or a step that was finished was done again.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import polars as pl

import engine
from tests.small_study import ROOT, STUDY

IDENTITY = ["method", "target", "volume", "seed", "entity_type"]
COUNTS = ["tp", "fp", "fn", "f1", "status"]


def command(file: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "engine.study", str(file), "--local", "--jobs", "2", "--out", str(out)]


def finished(out: Path) -> dict[str, int]:
    """When each finished step was finished, by its name."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("artifacts/[!.]*/step.json")}


def weights(out: Path) -> dict[str, str]:
    """Hashes of all that the steps made, but for their records, which hold times."""
    files = [path for path in out.glob("artifacts/[!.]*/*") if path.name != "step.json"]
    return {f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def table(out: Path) -> pl.DataFrame:
    return engine.results(str(out)).select(IDENTITY + COUNTS).sort(IDENTITY)


def killed_once(file: Path, out: Path, steps: int, wait: float) -> bool:
    """Run the command and kill it `wait` seconds after it did so many steps. Whether it was killed before its end."""
    enough = len(finished(out)) + steps
    with subprocess.Popen(command(file, out), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
        for line in run.stdout or ():
            if line.startswith("store:"):
                break
        while run.poll() is None and len(finished(out)) < enough:
            time.sleep(0.02)
        try:
            run.wait(wait)
        except subprocess.TimeoutExpired:
            os.kill(run.pid, signal.SIGKILL)
            return True
    return False


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.soak.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--within", type=float, default=4.0)
    options = parser.parse_args()
    random = Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="sprachbund-soak-") as name:
        file, whole, out = Path(name, "small.py"), Path(name, "whole"), Path(name, "out")
        file.write_text(STUDY)
        subprocess.run(command(file, whole), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        found = {"kills": 0, "studies": 1, "steps done again": 0, "in mid-step": 0, "scratch left": 0, "equal": 0}
        while found["kills"] < options.kills:
            before = finished(out)
            killed = killed_once(file, out, random.randint(0, 3), random.uniform(0, options.within))
            after = finished(out)
            found["steps done again"] += sum(after.get(step) != at for step, at in before.items())
            if killed:
                found["kills"] += 1
                found["in mid-step"] += any(out.glob("artifacts/.tmp-*"))
            if not killed or found["kills"] == options.kills:
                started = time.monotonic()
                subprocess.run(command(file, out), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
                found["equal"] += table(out).equals(table(whole)) and weights(out) == weights(whole)
                found["scratch left"] += len([*out.glob("artifacts/.*")])
                print(f"study {found['studies']} whole after {found['kills']} kills, {time.monotonic() - started:.0f} s", flush=True)
                if found["kills"] < options.kills:
                    found["studies"] += 1
                    out.rename(Path(name, f"out-{found['studies']}"))
    print(json.dumps(found, indent=1))
    return 0 if found["equal"] == found["studies"] and not found["steps done again"] and not found["scratch left"] else 1


if __name__ == "__main__":
    sys.exit(main())
