"""A finished store of invented results on real languages, large enough that every section of a report has something to say.

F1 falls with syntactic distance (and so rises with alignment), rises with volume and saturates; sources and targets differ; one
run collapsed, and of two cells that failed one has other seeds. Unseen names cost native models more F1 than transferred ones,
for more of them are edited and each costs more.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from analysis.typology import distances
from engine.store import COLUMNS, Store

SOURCES = ("deu", "eng", "hin", "spa", "deu+eng", "deu+hin", "eng+tur", "hin+spa", "spa+tur")
TARGETS = ("afr", "ben", "cym", "eus", "fas", "fin", "hau", "jav", "swa", "tgl")
VOLUMES = (0, 100, 1_000, 10_000, 100_000)
SEEDS = (0, 1, 2)
EXPOSED = {"in-language": 0.6, "direct": 0.3, "teacher-student": 0.3}  # the share of entities that "names" edits
COST = {"in-language": 0.5, "direct": 0.2, "teacher-student": 0.2}  # of editing all of them
STUDY = "synthetic"


def write(
    folder: Path, sources: Sequence[str] = SOURCES, targets: Sequence[str] = TARGETS, volumes: Sequence[int] = VOLUMES
) -> Store:
    """Make the store in a folder, and return it."""
    store, rng = Store(str(folder)), np.random.default_rng(0)
    store.probe()
    codes = sorted({*targets, *(code for source in sources for code in source.split("+"))})
    known = {(a, b): value for a, b, value in distances(codes).select("source", "target", "syntactic").iter_rows()}
    easy = {code: rng.normal(0, 0.05) for code in (*sources, *targets)}
    rows = [_row("in-language", target, target, 0, seed, 0.88 + easy[target] / 2 + rng.normal(0, 0.01), None)
            for target, seed in product(targets, SEEDS)]  # fmt: skip
    for source, target, seed in product(sources, targets, SEEDS):
        distance = np.mean([known[code, target] for code in source.split("+")])
        teacher = 0.85 - 0.5 * distance + easy[source] + easy[target] + rng.normal(0, 0.015)
        measured = {"alignment_cka": 0.9 - 0.6 * distance, "lml_target": 2 + targets.index(target) / 10}
        rows.append(_row("direct", source, target, 0, seed, teacher, None) | measured)
        for volume in volumes[1:]:
            gained = 0.12 - 0.3 * (1 + volume / 300) ** -0.5
            score = teacher + gained + rng.normal(0, 0.01)
            rows.append(_row("teacher-student", source, target, volume, seed, score, teacher) | measured)
    if teacher := rows[-1]["teacher_f1"]:
        rows[-1] |= {"f1": 0.01, "collapsed": True, "gain": 0.01 - teacher}
    rows += [_perturbed(row, rng) for row in rows if row["volume"] in (0, max(volumes)) and not row["collapsed"]]
    failed = [_row(*cell, None, None) | {"status": "failed", "error": "RuntimeError: invented, to be shown"}
              for cell in (("direct", "rus", targets[0], 0, 0), ("teacher-student", "eng", targets[0], volumes[-1], 3))]  # fmt: skip
    store.write_rows("synthetic", "cells", "0" * 12, rows)
    for number, row in enumerate(failed):
        store.write_rows("synthetic", f"failed{number}", "0" * 12, [row])
    store.write_study(STUDY, summary(sources, targets, volumes, len(rows)))
    return store


def _row(method: str, source: str, target: str, volume: int, seed: int, f1: float | None, teacher: float | None) -> dict[str, Any]:
    sources = source.split("+")
    known = {
        "study": STUDY, "task": "ner", "dataset": STUDY, "model": STUDY, "form": "slots", "method": method,
        "sources": sources, "n_sources": len(sources), "target": target, "volume": volume, "shots": 0,
        "perturbation": "none", "seed": seed, "entity_type": "ALL", "collapsed": False, "status": "done", "recipe_version": 4,
        "updates": 350, "fingerprint": f"of {target}", "finished": datetime(2026, 11, 21, tzinfo=UTC), "f1": f1,
        "source_f1": 0.9, "teacher_f1": teacher,
        "gain": None if teacher is None else f1 - teacher, "sentences": 1_000, "entities": 1_500,
    }  # fmt: skip
    return dict.fromkeys(COLUMNS.names) | known


def _perturbed(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    exposure = EXPOSED[row["method"]] + rng.normal(0, 0.03)
    f1 = row["f1"] - COST[row["method"]] * exposure + rng.normal(0, 0.01)
    return row | {"perturbation": "names", "exposure": exposure, "f1": f1, "gain": None, "teacher_f1": None}


def summary(sources: Sequence[str], targets: Sequence[str], volumes: Sequence[int], done: int) -> dict[str, Any]:
    """What a run of the study would have written of it."""
    return {
        "question": "Does more unlabeled target text help, and for which pairs? (invented numbers)",
        "hypothesis": "F1 rises with log volume and saturates; the gain over the teacher falls with distance.",
        "axes": {
            "dataset": [STUDY], "model": [STUDY], "form": [], "methods": ["direct", "teacher-student", "in-language"],
            "sources": [*sources, "rus"], "targets": [*targets], "volumes": [*volumes], "seeds": [*SEEDS, 3],
            "perturbations": ["none", "names"],
        },
        "measures": ["alignment", "lm"],
        "warnings": [],
        "plan": {"cells": done + 2, "done": done, "failed": 2, "missing": 0, "stale": 0, "steps": 99},
        "fingerprints": [f"of {target}" for target in targets],
    }  # fmt: skip
