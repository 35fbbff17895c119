"""Soak: the driver of a study killed at random moments. `python -m tests.soak.kills [--kills 25] [--seed 0]`

Runs the tests' small study once undisturbed, for its table and its time; then again and again the same command on another
store, each killed (SIGKILL to the command's process alone: Ray's end by themselves), the last one not. A third of the kills,
drawn, come at any moment from the command's start until its first step would be done: in loading, mending, planning, probing,
Ray's start or that step. The others come when the run has begun a step, done a random number of them (0 to 3) and run for up
to `--within` seconds more. Where the study ends before, the next one begins with an empty store.

Every process of a run writes down when it begins to build an artifact, and when it has it whole, even where another one has
published it before. Prints what was found; fails where the table or the models' weights differ from the undisturbed ones,
a step was done to its end twice, a finished one begun again, or one begun twice by one run.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import polars as pl

import engine
from tests.small_study import ROOT, STUDY

IDENTITY = ["method", "target", "volume", "seed", "entity_type"]
COUNTS = ["tp", "fp", "fn", "f1", "status"]
EARLY = 1 / 3  # of the kills
LONGEST = 600  # seconds that a command may take
NO_RAY, RETRIES = "Ray could not be started here", 10
FAULTS = ("done twice", "begun though done", "begun twice by a run", "scratch left")
REPORTED = ("kills", "before a step", "in mid-step", "studies", "equal", "steps", "begun by several runs", "Ray did not start", *FAULTS)
# Python runs this in each process that finds it: the command and Ray's workers.
WITNESS = r"""
import os, re, sys

scratch = re.compile(r".*/artifacts/\.tmp-.*-\d+-([0-9a-f]{8})-([^/]+)$")
log = os.open(os.environ["SOAK_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def see(event, arguments):
    if event in ("os.mkdir", "os.rename") and (found := scratch.match(os.fsdecode(arguments[0]))):
        os.write(log, f"{'begin' if event == 'os.mkdir' else 'end'} {found[2]} {found[1]}\n".encode())

sys.addaudithook(see)
"""


def command(file: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "engine.study", str(file), "--local", "--jobs", "2", "--out", str(out)]


def begin(file: Path, out: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start the command; `log` is of this run alone. The witness lies beside it, and what the command says."""
    path = os.pathsep.join(filter(None, [str(log.parent), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "SOAK_LOG": str(log)}
    with log.with_suffix(".txt").open("wb") as said:
        return subprocess.Popen(command(file, out), cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT)


def ended_well(run: subprocess.Popen[bytes], log: Path) -> bool:
    """False where Ray could not be started, as on a very busy machine: the command asks to be given again."""
    said = log.with_suffix(".txt").read_text()
    if run.returncode not in (0, 2) or (run.returncode == 2 and NO_RAY not in said):
        raise SystemExit(f"a command ended with {run.returncode}:\n{said[-3000:]}")
    return run.returncode == 0


def seen(log: Path, what: str) -> Counter[str]:
    """How often a run did begin or end each step."""
    lines = {tuple(line.split()) for line in log.read_text().splitlines()} if log.exists() else set()
    return Counter(artifact for event, artifact, _ in lines if event == what)


def finished(out: Path) -> set[str]:
    """The steps that the store has."""
    return {path.parent.name for path in out.glob("artifacts/[!.]*/step.json")}


def weights(out: Path) -> dict[str, str]:
    """Hashes of all that the steps made, but for their records, which hold times."""
    files = [path for path in out.glob("artifacts/[!.]*/*") if path.name != "step.json"]
    return {f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def table(out: Path) -> pl.DataFrame:
    return engine.results(str(out)).select(IDENTITY + COUNTS).sort(IDENTITY)


def to_its_end(file: Path, out: Path, log: Path) -> float:
    """Run the command to its end; return the seconds that passed before it had its first step."""
    for _ in range(RETRIES):
        started, first, run = time.monotonic(), 0.0, begin(file, out, log)
        while run.poll() is None:
            first = first or (time.monotonic() - started if finished(out) else 0.0)
            if time.monotonic() > started + LONGEST:
                run.kill()
            time.sleep(0.02)
        if ended_well(run, log):
            return first
    raise SystemExit(f"Ray could not be started {RETRIES} times")


def killed(run: subprocess.Popen[bytes], wait: float) -> bool:
    """Kill the run after so many seconds. Whether that was before its end."""
    try:
        run.wait(wait)
    except subprocess.TimeoutExpired:
        run.kill()
        run.wait()
        return True
    return False


def killed_in_mid_study(run: subprocess.Popen[bytes], out: Path, log: Path, steps: int, wait: float) -> bool:
    """Kill the run `wait` seconds after it had begun a step and done so many. Whether that was before its end."""
    enough, deadline = len(finished(out)) + steps, time.monotonic() + LONGEST
    while run.poll() is None and time.monotonic() < deadline and (len(finished(out)) < enough or not seen(log, "begin")):
        time.sleep(0.02)
    return killed(run, wait)


def one_study(file: Path, out: Path, most: int, first: float, within: float, random: Random) -> Counter[str]:
    """Run a study, kill it at most so often, and let it end; say what came of it. `first`: seconds to its first step."""
    found, logs, there, going = Counter(studies=1), [], [], True
    while going and found["kills"] < most:
        logs.append(file.parent / "witness" / f"{out.name}-{len(logs)}.log")
        there.append(finished(out))
        run = begin(file, out, logs[-1])
        if random.random() < EARLY:
            going = killed(run, random.uniform(0, first))
        else:
            going = killed_in_mid_study(run, out, logs[-1], random.randint(0, 3), random.uniform(0, within))
        if going:
            begun = seen(logs[-1], "begin")
            found.update({"kills": 1, "before a step": not begun, "in mid-step": begun != seen(logs[-1], "end")})
        elif not ended_well(run, logs[-1]):
            found["Ray did not start"] += 1
            going = found["Ray did not start"] < RETRIES
    there.append(finished(out))
    logs.append(file.parent / "witness" / f"{out.name}-last.log")
    to_its_end(file, out, logs[-1])
    found["scratch left"] = len([*out.glob("artifacts/.*")])
    return found + judge(logs, there)


def judge(logs: list[Path], there: list[set[str]]) -> Counter[str]:
    """What the runs of one study did, and did more than once; `there`: the steps that were finished before each."""
    begun, ended = [seen(log, "begin") for log in logs], [seen(log, "end") for log in logs]
    runs = Counter(step for of_run in begun for step in of_run)
    return Counter({
        "steps": len(set().union(*ended)), "begun by several runs": sum(number > 1 for number in runs.values()),
        "done twice": sum(number > 1 for number in sum(ended, Counter()).values()),
        "begun though done": sum(len(of_run.keys() & before) for of_run, before in zip(begun, there, strict=True)),
        "begun twice by a run": sum(number > 1 for of_run in begun for number in of_run.values()),
    })  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.soak.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--within", type=float, default=4.0)
    options = parser.parse_args()
    random, found = Random(options.seed), Counter()
    with tempfile.TemporaryDirectory(prefix="sprachbund-soak-") as name:
        file, whole = Path(name, "small.py"), Path(name, "whole")
        file.write_text(STUDY)
        Path(name, "witness").mkdir()
        Path(name, "witness", "sitecustomize.py").write_text(WITNESS)
        first = to_its_end(file, whole, Path(name, "witness", "whole.log"))
        while found["kills"] < options.kills:
            out, started = Path(name, f"out-{found['studies']}"), time.monotonic()
            found += one_study(file, out, options.kills - found["kills"], first, options.within, random)
            found["equal"] += table(out).equals(table(whole)) and weights(out) == weights(whole)
            print(f"{found['studies']} studies whole, {found['kills']} kills, {time.monotonic() - started:.0f} s", flush=True)
        all_seen = found["steps"] == found["studies"] * len(finished(whole))
    print(json.dumps({key: found[key] for key in REPORTED}, indent=1))
    return 0 if all_seen and found["equal"] == found["studies"] and not any(found[key] for key in FAULTS) else 1


if __name__ == "__main__":
    sys.exit(main())
