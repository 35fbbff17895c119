"""The command line `python -m engine.study FILE`: load, plan, run, report to the terminal. Nothing else lives here.

Exit codes: 0 all done, 1 some cells failed, 2 the request was wrong, 3 a fault of the engine, 130 stopped with Ctrl-C.
"""

import argparse
import gc
import importlib.util
import re
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import engine
from engine.compiler import compile_study
from engine.compiler.material import open_labeled
from engine.data.corpora import leaks
from engine.data.example_corpora import example_leaks
from engine.errors import SprachbundError, StudyError, did_you_mean
from engine.mend import damage, mend
from engine.models.sizes import short_name
from engine.plan import Plan, make_plan, summary
from engine.records import without_collection
from engine.spec import AXES, SCORE_OF, Resources, Site, Study, parse_axis, takes_volume
from engine.store import Store
from engine.work import COLLAPSED

UNENDED = "The last run of this study has not ended, so cells may be missing here. The same command goes on from what is done."
SAY_EVERY = 60  # seconds between two lines of progress where the output is no terminal


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 140  # a file or a pipe has no width of its own
    try:
        return _run(options, console)
    except SprachbundError as error:
        return _say(f"error: {error}", 2)
    except KeyboardInterrupt:
        return _say("stopped. What is done is kept: the same command goes on from there.", 130)
    except Exception as error:  # noqa: BLE001, the last who could say something of it
        told = f"error: {type(error).__name__}: {error}\nThis is a fault of the engine, which did not foresee it. What is done is kept: the same command "
        return _say(f"{told}goes on from there. Please report what follows.\n\n{traceback.format_exc()}", 3)


def _say(text: str, code: int) -> int:
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m engine.study", description="Run a study of cross-lingual transfer.")
    parser.add_argument("file", help="a Python file that defines `study` (and `local` for --local)")
    parser.add_argument("--local", action="store_true", help="single-node mode: the study's local form, CPU allowed")
    parser.add_argument("--plan", action="store_true", help="say what is done and what is left, and stop")
    parser.add_argument("--out", help="folder or URL of the store; runs/<study name> if not given")
    parser.add_argument("--set", action="append", default=[], metavar="AXIS=V1,V2", help=f"axes: {', '.join(AXES)}; and measures")
    parser.add_argument("--data", help="folder with ner/<dataset>/<iso>/*.conll and text/<iso>.txt")
    parser.add_argument("--address", help="address of a Ray cluster, such as auto")
    parser.add_argument("--jobs", type=int, help="most steps at once; as many as fit if not given")
    return parser


def _run(options: argparse.Namespace, console: Console) -> int:
    if options.jobs is not None and options.jobs < 1:
        raise StudyError(f"--jobs {options.jobs}: must be at least 1")
    if options.local and options.address is not None:
        raise StudyError(
            f"--local with --address {options.address}: --local runs on this machine alone. Give one of the two."
        )
    study = load_study(Path(options.file), options.local)
    study = study.varied(**_overrides(options.set))
    on_gpu = not options.local
    with without_collection():
        graph, models = compile_study(study, options.data), local_models(study)
        store = Store(options.out or f"runs/{study.name}")
        plan, found = mend(graph, store, on_gpu) if not options.plan else (make_plan(graph, store, on_gpu), [])
        gc.freeze()  # they stay to the end: no collection need look through 100,000 cells
    warnings = _warnings(study, options.data)
    for line in [f"{study.name}: {study.question}", *warnings, *found, *damage(plan), *summary(plan, on_gpu)]:
        console.print(line, markup=False, soft_wrap=True)
    if options.plan:
        # The one look that the engine takes at the analysis, and only its command line does
        from analysis.design import lines

        for line in lines(study):
            console.print(line, markup=False, soft_wrap=True)
        return 0
    if plan.open:
        kept = _summary(study, plan, [*warnings, UNENDED])
        del kept["plan"]  # its counts are soon those of another moment
        left, made = len(plan.to_run), _execute(plan, study, kept, models, store, options, console)
        plan = make_plan(graph, store, on_gpu)
        if others := left - made - len(plan.to_run):
            console.print(f"{made} steps done by this run, {others} by another at the same time", markup=False)
    store.compact()
    store.write_study(study.name, _summary(study, plan, warnings))
    return _conclude(plan, store, console)


def load_study(file: Path, local: bool) -> Study:
    """Load `study` (or, with `local`, `local`) from a study file. Raises StudyError where the file does not give one."""
    if not file.is_file():
        raise StudyError(f"{file}: no such study file. Give the path of a Python file that defines `study`.")
    spec = importlib.util.spec_from_file_location("study_file", file)
    if spec is None or spec.loader is None:
        raise StudyError(f"{file}: not a Python file. A study file ends in .py and defines `study`.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there for the module of their class
    try:
        spec.loader.exec_module(module)
    except SprachbundError as error:
        raise StudyError(f"{file}: {error}") from error
    except (Exception, SystemExit) as error:  # a study file is the user's code and may raise anything
        frames = reversed(traceback.extract_tb(error.__traceback__))
        lines = (frame.lineno for frame in frames if Path(frame.filename).resolve() == file.resolve())  # Python makes it absolute
        line = error.lineno if isinstance(error, SyntaxError) else next(lines, "?")
        unknown = re.fullmatch(r"Study\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
        hint = did_you_mean(unknown[1], (field.name for field in fields(Study))) if unknown else ""
        raise StudyError(f"{file}, line {line}: the study file raised {type(error).__name__}: {error}.{hint}") from error
    name = "local" if local else "study"
    found = getattr(module, name, None)
    if not isinstance(found, Study):
        has = "nothing by that name" if found is None else f"a {type(found).__name__}"
        raise StudyError(
            f"{file}: `{name}` must be an engine.spec.Study, and the file defines {has}."
            + (" Add `local = study.varied(...)` for --local, or run without it." if local else "")
        )
    return found


def local_models(study: Study) -> dict[str, str]:
    """Where the study's model folders lie, by the short names that recipes have. Raises StudyError where two share a name."""
    places: dict[str, set[Path | None]] = {}  # None: at the hub
    for name in study.checkpoints:
        places.setdefault(short_name(name), set()).add(Path(name).resolve() if Path(name).is_dir() else None)
    for name, found in places.items():
        if len(found) > 1:
            where = " and ".join(sorted(str(place or "the hub's own") for place in found))
            raise StudyError(
                f"{where}: both are called {name} among the study's models, translator and aligners, and a step would find one in "
                "the place of the other. Rename a folder."
            )
    return {name: str(place) for name, (place,) in places.items() if place}


def _overrides(settings: list[str]) -> dict[str, Any]:
    """The axes given by --set. A model brings its own form, unless one is set."""
    changes: dict[str, Any] = {}
    for text in settings:
        axis, values = parse_axis(text)
        if axis in changes:
            raise StudyError(f"--set {axis} is given twice. List its values once, separated by commas.")
        changes[axis] = values
    if "model" in changes:
        changes.setdefault("form", ())
    return changes


def _warnings(study: Study, data: str | None) -> list[str]:
    """What a reader of the results should know: test sentences that stand in a train split."""
    lines = []
    if data and set(study.dataset) == {"sandbox"} and study.translator == "sandbox":
        lines.append(f"warning: --data {data} is not read: the sandbox is made, not read. Add --set dataset=NAME")
    leaks_of = leaks if study.task == "ner" else example_leaks
    for name in study.dataset:
        union, _ = open_labeled(study, name, data)
        for code in sorted({*study.targets, *chain.from_iterable(study.sources)}):
            if number := leaks_of(dataset := union.serving(code), code):
                lines.append(
                    f"warning: {dataset.name} {code}: {number} test sentences stand in its train split too; students never see them, "
                    "models trained on its labels do"
                )
    return lines


def _execute(
    plan: Plan, study: Study, kept: dict[str, Any], models: dict[str, str], store: Store, options: argparse.Namespace, console: Console
) -> int:
    """Run what is left; return how many steps this run did itself. `kept`: what the store keeps of the study should it not end."""
    # Ray takes seconds to import; --plan does without
    from engine.cluster import check_nodes, start_ray, with_threads
    from engine.schedule import State, run_units

    resources = study.resources or Resources(gpus=0 if options.local else "auto")
    resources = with_threads(resources, options.address, options.jobs)
    site = Site(data=options.data and str(Path(options.data).resolve()), models=models, resources=resources)
    store.probe()
    at_once = start_ray(options.address, options.local, options.jobs, resources)
    if options.address is not None:
        check_nodes(store)
    store.write_study(study.name, kept)
    room = f"{at_once} at once" if at_once else "waiting for the cluster to grow"
    console.print(f"store: {store.address}; {room}", markup=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
               TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, refresh_per_second=2) as bar:
        total = sum(unit.cost for unit in plan.units) or 1.0
        task, said = bar.add_task("starting", total=total), time.monotonic()

        def show(state: State) -> None:
            nonlocal said
            while state.notes:
                console.print(state.notes.pop(0), markup=False, soft_wrap=True)
            text = f"steps: {_counts(state)}"
            bar.update(task, description=text, completed=state.cost)
            if not console.is_terminal and time.monotonic() > said + SAY_EVERY:  # a file shows no bar before its end
                said = time.monotonic()
                console.print(f"{text}; {state.cost / total:.0%}", markup=False)

        return run_units(plan.units, store, site, at_once, show).made


def _counts(state: Any) -> str:
    """What the steps are doing, in words."""
    elsewhere, failed = state.elsewhere.total(), len(state.failed)
    counts = {
        f"{state.steps['done'] - failed} done": True, f"{failed} failed": failed, f"{state.steps['running']} running": True,
        f"{state.steps['pending']} waiting for room": state.steps["pending"],
        **{f"{number} being done by {run}": number for run, number in state.elsewhere.items()},
        f"{state.steps['waiting'] - elsewhere} waiting": True,
    }  # fmt: skip
    return ", ".join(text for text, said in counts.items() if said)


def _summary(study: Study, plan: Plan, warnings: list[str]) -> dict[str, Any]:
    """What the report says of the study, besides its rows."""
    axes = {axis: ["+".join(v) if isinstance(v, tuple) else v for v in getattr(study, axis)] for axis in AXES}
    return {
        "question": study.question,
        "hypothesis": study.hypothesis,
        "axes": axes,
        "measures": list(study.measures),
        "warnings": warnings,
        "plan": {
            "cells": len(plan.graph.cells),
            **{status: len(getattr(plan, status)) for status in ("done", "failed", "missing", "stale")},
            "steps": len(plan.graph.steps),
        },
        "fingerprints": [work.fingerprint for work in plan.graph.cells],
    }


def _conclude(plan: Plan, store: Store, console: Console) -> int:
    """Print the table and the failures; return the exit code."""
    frame = engine.results(store.address)
    # The store may have more: other studies, requests and recipes.
    asked = [work.fingerprint for work in plan.graph.cells]
    frame = frame.filter((frame["study"] == plan.graph.cells[0].cell.study) & frame["fingerprint"].is_in(asked))
    for setting, rows in _settings(frame):
        with_spread = _table(setting, rows, spread=True)
        wide = Measurement.get(console, console.options.update(width=1_000), with_spread).maximum > console.width
        console.print(_table(setting, rows, spread=False) if wide else with_spread)
    for work in plan.open:
        error = frame.filter((frame["fingerprint"] == work.fingerprint) & (frame["status"] == "failed"))["error"]
        text = f"failed: {work.cell}: {error[0]}" if len(error) else f"not run: {work.cell}"
        console.print(text, markup=False, soft_wrap=True)
    where = f"results: {store.address}/results/*.parquet   report: python -m analysis.report {store.address}"
    console.print(where, markup=False, soft_wrap=True)
    return 1 if plan.open else 0


def _settings(frame: Any) -> Iterator[tuple[str, Any]]:
    """The finished cells of each dataset, model, form and perturbation."""
    done = frame.filter((frame["entity_type"] == "ALL") & (frame["status"] == "done"))
    for (*setting, perturbation), rows in done.group_by(["dataset", "model", "form", "perturbation"], maintain_order=True):
        exposures = sorted({f"{exposure:.0%}" for exposure in (rows["exposure"].min(), rows["exposure"].max()) if exposure is not None})
        edited = f", test {perturbation} ({' to '.join(exposures)} of entities edited)" if perturbation != "none" else ""
        yield " ".join(setting) + edited, rows


def _table(setting: str, rows: Any, spread: bool) -> Table:
    """The scores by target, volume and shots."""
    import polars as pl

    task = rows["task"][0]
    transfer, ceiling = (rows.filter((pl.col("method") == "in-language") == yes) for yes in (False, True))
    amounts = sorted({*transfer.select("shots", "volume").iter_rows()})
    keys = ["method", "sources", "target", "volume", "shots"]
    seeds = sorted(set(rows.group_by(keys).agg(pl.col("seed").n_unique())["seed"]))
    title = (
        f"{setting}: {SCORE_OF[task]} on test by unlabeled target sentences, mean over {'-'.join(map(str, seeds))} seeds"
        f"{' ± standard deviation' * spread}; {rows['collapsed'].sum()} of {len(rows)} cells collapsed "
        f"({'one label for all' if task == 'nli' else f'F1 below {COLLAPSED}'})"
    )
    table = Table(title=title, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    headings = (f"{shots} shots" if shots else str(volume) for shots, volume in amounts)
    for heading in ("transfer", "on source", *headings, "in-lang."):
        table.add_column(heading, no_wrap=True)
    curves = list(_curves(transfer))
    several = len({name for name, _, _ in curves}) > 1
    for name, target, cells in curves:
        columns = [
            cells.filter(pl.col("volume") == cells["volume"].max()).unique("seed")["source_f1"],
            *(cells.filter(pl.col("shots") == shots, pl.col("volume") == volume)["f1"] for shots, volume in amounts),
            ceiling.filter(pl.col("target") == target)["f1"],
        ]
        label = f"{'+'.join(cells['sources'][0])}→{target}{f' {name}' * several}"
        table.add_row(label, *(_score(scores, spread) for scores in columns))
    alone = ceiling.filter(~pl.col("target").is_in(transfer["target"].unique().to_list()))
    for (target,), cells in alone.group_by(["target"], maintain_order=True):
        table.add_row(target, *[""] * (1 + len(amounts)), _score(cells["f1"], spread))
    return table


def _curves(transfer: Any) -> Iterator[tuple[str, str, Any]]:
    """A method, a target, and the cells of one source set; of a student those of direct transfer too, its volume 0."""
    for (_, target), cells in transfer.group_by(["sources", "target"], maintain_order=True):
        direct, students = cells.filter(cells["method"] == "direct"), {*filter(takes_volume, cells["method"])}
        for method in dict.fromkeys(cells["method"]):
            if method == "direct" and students and not direct["shots"].max():
                continue
            zero_shot = direct.filter(direct["shots"] == 0) if method in students else direct.clear()
            yield method, target, cells.filter(cells["method"] == method).extend(zero_shot)


def _score(scores: Any, spread: bool) -> str:
    """Mean of a polars series of scores, and their standard deviation."""
    if not len(scores):
        return ""
    texts = [f"{scores.mean():.3f}", *([f"±{scores.std():.3f}"] if spread and len(scores) > 1 else ())]
    return "".join(text.replace("0.", ".", 1) for text in texts)


if __name__ == "__main__":
    sys.exit(main())
