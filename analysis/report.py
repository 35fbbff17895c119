"""The report: `python -m analysis.report OUT` turns the results table into one HTML file that needs nothing else.

Beside it: report.md, the tables in LaTeX under tables/, and the design matrix as design.parquet. What each section shows
is `analysis.sections`' and `analysis.explained`'s, what is said of the hypotheses `analysis.answers`'.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from analysis import answers, design, explained, features, measured, robustness, sections
from analysis.sections import Cells, Section
from analysis.tables import Table
from analysis.verdict import Verdict
from engine.errors import SprachbundError, StoreError, StudyError
from engine.languages import language
from engine.spec import Study
from engine.store import Store, slug

KEYS = ["dataset", "model", "form"]  # one setting's effects at a time
SECTIONS = (
    ("curves", "The volume of unlabeled text", sections.volume_curves),
    ("map", "Source and target", sections.transfer_map),
    ("distance", "Distance", explained.distance),
    ("coefficients", "Distances together", explained.coefficients),
    ("importance", "Which distances matter", explained.blocks),
    ("measures", "Measures on languages", measured.measures),
    ("contrasts", "Near and far, by method", explained.near_and_far),
    ("sets", "Diversity of the sources", explained.source_sets),
    ("robustness", "Perturbed test text", robustness.robustness),
    ("prediction", "Predicting a language not seen", explained.prediction),
    ("sentences", "Students and teachers, sentence by sentence", explained.sentences),
    ("broken", "Collapsed and failed cells", sections.broken),
    ("results", "All results", sections.results),
)
SANDBOX = (
    "These results are on languages that the sandbox made. They test the engine and are no evidence about real languages."
)


@dataclass(frozen=True, eq=False)
class Setting:
    """One dataset, model and form of a study: what it says and shows. `design`: the design matrix."""

    name: str
    title: str
    answers: Sequence[Verdict]
    sections: Sequence[Section]
    design: pl.DataFrame


@dataclass(frozen=True, eq=False)
class StudyReport:
    """One study as its last run asked for it."""

    name: str
    question: str
    hypothesis: str
    design: Mapping[str, str]
    warnings: Sequence[str]
    settings: Sequence[Setting]


@dataclass(frozen=True, eq=False)
class Report:
    """All that the page says."""

    title: str
    sandbox: str | None
    studies: Sequence[StudyReport]
    provenance: Sequence[str]

    @property
    def settings(self) -> list[Setting]:
        """Those of all studies."""
        return [setting for study in self.studies for setting in study.settings]

    def tables(self) -> Iterator[Table]:
        """Every table of the page."""
        for part in (part for setting in self.settings for part in setting.sections):
            yield from (figure.table for figure in part.figures)
            yield from part.tables


def main(arguments: list[str] | None = None) -> int:
    """Write the report and print its path; return the exit code."""
    parser = argparse.ArgumentParser("python -m analysis.report", description="Turn a results table into a report.")
    parser.add_argument("out", help="the store's folder or URL, as given to the study with --out")
    parser.add_argument(
        "--to", help="the .html file, what else there is goes beside it, or a folder for report.html; OUT (or here, if OUT is a URL) if not given"
    )
    options = parser.parse_args(arguments)
    try:
        store = Store(options.out)
        target = _page(options.to or (store.root if store.local else "."))
        _write_checked(make_report(store), target)
    except SprachbundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"report: {target}")
    return 0


def _page(place: str) -> Path:
    """The page's file: the place itself where it ends in .html, else report.html in that folder."""
    path = Path(place)
    return path if path.suffix.lower() == ".html" and not path.is_dir() else path / "report.html"


def _write_checked(report: Report, target: Path) -> None:
    """`write`. Raises StoreError where that cannot be done."""
    try:
        write(report, target)
    except OSError as error:
        raise StoreError(
            f"{target}: the report cannot be written ({error}). Make room, or name with --to another folder, or a file in it that ends in .html."
        ) from error


def make_report(store: Store) -> Report:
    """Read the store and compute all that the page says. Raises StoreError where the store has no results."""
    frame = store.results()
    if frame.is_empty():
        raise StoreError(f"{store.address} has no results yet. Run a study with --out {store.address} first.")
    whole = frame.filter(pl.col("entity_type") == "ALL")
    studies = [_study(store, name, rows) for (name,), rows in whole.group_by("study", maintain_order=True)]
    return Report(
        title=", ".join(study.name for study in studies),
        sandbox=SANDBOX if any(language(code).sandbox for code in set(whole["target"])) else None,
        studies=studies,
        provenance=_provenance(store, whole),
    )


def write(report: Report, target: Path) -> None:
    """Write the page, and beside it its text as Markdown, its tables in LaTeX, the design matrix as Parquet."""
    folder = target.parent / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(html(report), "utf-8")
    target.with_suffix(".md").write_text(markdown(report), "utf-8")
    matrix = pl.concat([setting.design for setting in report.settings] or [pl.DataFrame()], how="diagonal_relaxed")
    matrix.write_parquet(target.parent / "design.parquet")
    for table in report.tables():
        (folder / f"{table.name}.tex").write_text(table.latex(), "utf-8")


def html(report: Report) -> str:
    """The page."""
    environment = jinja2.Environment(loader=jinja2.PackageLoader("analysis", "."), autoescape=True, trim_blocks=True)
    return environment.get_template("page.html.jinja").render(report=report, corrected=answers.CORRECTED)


def markdown(report: Report) -> str:
    """The page's text and tables, without its figures."""
    lines = [f"# {report.title}", *([f"> {report.sandbox}"] if report.sandbox else ())]
    for study in report.studies:
        lines += [f"## {study.name}: {study.question}", f"Hypothesis: {study.hypothesis}"]
        lines += [f"> {warning}" for warning in study.warnings]
        lines.append("\n".join(f"- {name}: {value}" for name, value in study.design.items()))
        for setting in study.settings:
            lines += [f"### {setting.title}", "\n".join(f"- **{said.kind}**: {said.sentence}" for said in setting.answers), answers.CORRECTED]
            for part in setting.sections:
                lines += [f"#### {part.title}", part.text, part.why_not]
                lines += [figure.caption + "\n\n" + figure.table.markdown() for figure in part.figures]
                lines += [table.markdown() for table in part.tables]
    lines += ["## Provenance", "\n".join(f"- {line}" for line in report.provenance)]
    return "\n\n".join(line for line in lines if line) + "\n"


def _kept(store: Store, name: str) -> Mapping[str, Any]:
    """What the last run of a study wrote of it; where that is damaged the other studies are shown all the same."""
    try:
        if kept := store.study(name):
            return kept
        return {"question": "no run of this study has said its question here.", "hypothesis": "–"}
    except StoreError as error:
        return {"question": "its question cannot be read.", "hypothesis": "–", "warnings": [str(error)]}


def _study(store: Store, name: str, rows: pl.DataFrame) -> StudyReport:
    """A study's part."""
    kept = _kept(store, name)
    inside = pl.col("fingerprint").is_in(kept["fingerprints"]) if "fingerprints" in kept else pl.lit(True)
    wanted, other = rows.filter(inside), rows.filter(~inside)
    power = _power(name, kept) if "axes" in kept else None
    settings = [_setting(store, power, name, *key, part) for key, part in wanted.group_by(KEYS, maintain_order=True)]
    return StudyReport(
        name, kept["question"], kept["hypothesis"], _design(kept), [*kept.get("warnings", ()), *_mixed(wanted), *_others(other)], settings
    )


def _power(name: str, kept: Mapping[str, Any]) -> pl.DataFrame | None:
    """The power of the study's design, None where the study is none any more (a language that the table has lost, say)."""
    try:
        asked = kept["axes"] | {"measures": kept.get("measures", ())}  # stores of earlier versions do not say which
        return design.power(Study(name=name, question=kept["question"], hypothesis=kept["hypothesis"], **asked))
    except StudyError:
        return None


def _design(kept: Mapping[str, Any]) -> dict[str, str]:
    shown = {name: ", ".join(map(str, values)) for name, values in kept.get("axes", {}).items() if values}
    if "plan" in kept:
        counts = kept["plan"]
        states = ", ".join(f"{counts[state]} {state}" for state in ("done", "failed", "missing", "stale"))
        shown["cells"] = f"{counts['cells']} ({states}) from {counts['steps']} steps"
    return shown


def _mixed(rows: pl.DataFrame) -> list[str]:
    """A warning where cells that are compared were trained by different recipes."""
    found = []
    for (*setting, method), part in rows.filter(pl.col("status") == "done").group_by([*KEYS, "method"], maintain_order=True):
        recipes = part.select("updates", "recipe_version").unique().sort("updates").rows()
        if len(recipes) > 1:
            said = "; ".join(f"{updates:,} updates (recipe version {version})" for updates, version in recipes)
            found.append(f"The cells of {method} ({' '.join(setting)}) were not all trained alike: {said}. Run the study again.")
    return found


def _others(rows: pl.DataFrame) -> list[str]:
    if rows.is_empty():
        return []
    targets = ", ".join(sorted(set(rows["target"])))
    return [(
        f"The store has {len(rows)} more cells of this study (targets {targets}), of earlier requests and maybe of other recipes. "
        "They are left out here. Run the study with them to have them in: what is done is not done again."
    )]  # fmt: skip


def _setting(
    store: Store, power: pl.DataFrame | None, study: str, dataset: str, model: str, form: str, rows: pl.DataFrame
) -> Setting:
    plain = pl.col("perturbation") == "none"
    name = slug(study, dataset, model.rpartition("/")[2], form, length=200)
    cells = Cells(name, rows.filter(plain), rows.filter(~plain), store)
    return Setting(
        name, f"{model} ({form}) on {dataset}", answers.answer(cells, power), [sections.section(*part, cells) for part in SECTIONS],
        _matrix(rows),
    )  # fmt: skip


def _matrix(rows: pl.DataFrame) -> pl.DataFrame:
    try:
        return features.design(rows).frame
    except SprachbundError:  # the sections say why
        return pl.DataFrame()


def _provenance(store: Store, done: pl.DataFrame) -> list[str]:
    """What made the models: from the records of the training steps, each distinct line once."""
    records = [store.record(name) for name in sorted(store.artifacts()) if name.startswith(("pretrain", "finetune", "distill"))]
    seconds = sum(record["figures"]["seconds"] for record in records)
    lines = [
        f"store: {store.address}",
        f"last row: {done['finished'].max():%Y-%m-%d %H:%M} UTC; recipe versions "
        + ", ".join(map(str, sorted(set(done["recipe_version"].drop_nulls())))),
        f"training: {seconds:,.0f} s in all, for {len(records)} models",
    ]
    kept = {}
    for record in records:
        origin = record["provenance"]
        versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items() if version)
        kept[f"{origin['machine']}; Python {origin['python']}; {versions}; git {origin['git']}"] = None
    return lines + list(kept)


if __name__ == "__main__":
    sys.exit(main())
