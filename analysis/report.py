"""The report: `python -m analysis.report OUT` turns the results table into one HTML file with its figures inside.

For now the table, the curves with intervals over seeds, the plan's counts and the provenance.
"""

import argparse
import base64
import io
import math
import sys
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from scipy.stats import t as student_t

from engine.errors import SprachbundError, StoreError
from engine.languages import language
from engine.store import Store

KEYS = ["study", "dataset", "model", "form"]
SANDBOX = (
    "These results are on languages that the sandbox made. They test the engine and are no evidence about real languages."
)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; color: #1a1a1a }
.warning { background: #fff3cd; border-left: .3rem solid #b58900; padding: .6rem 1rem }
.wide { overflow-x: auto } table { border-collapse: collapse } th, td { padding: .2rem .7rem; text-align: left;
border-bottom: 1px solid #ddd } td.number { text-align: right; font-variant-numeric: tabular-nums }
img { max-width: 100%; height: auto } caption { text-align: left; padding: .5rem 0 }
</style></head><body>
{% if sandbox %}<p class="warning" role="note">{{ sandbox }}</p>{% endif %}
<h1>{{ title }}</h1>
{% for study in studies %}
<h2>{{ study.name }}</h2>
<p><strong>Question.</strong> {{ study.question }}</p>
<p><strong>Hypothesis.</strong> {{ study.hypothesis }}</p>
<p><strong>Axes.</strong> {% for axis, values in study.axes.items() if values %}{{ axis }}: {{ values | join(", ") }}{{
"; " if not loop.last }}{% endfor %}</p>
<p><strong>Plan.</strong> {{ study.plan }}</p>
{% for warning in study.warnings %}<p class="warning" role="note">{{ warning }}</p>{% endfor %}
{% endfor %}
{% for group in groups %}
<h2>{{ group.title }}</h2>
<figure><img alt="{{ group.alt }}" src="data:image/png;base64,{{ group.figure }}">
<figcaption>Mean over seeds; bars are 95% t intervals over seeds. Volume 0 is direct transfer, the teacher itself; a
student starts from the pretrained base as its teacher did. Dashed: the in-language ceiling.</figcaption></figure>
<div class="wide"><table><caption>Span F1 on the test split (all entity types)</caption>
<thead><tr>{% for name in group.columns %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in group.rows %}<tr>{% for value in row %}<td{% if value.number %} class="number"{% endif %}>{{ value.text
}}</td>{% endfor %}</tr>{% endfor %}</tbody></table></div>
{% endfor %}
{% if failed %}<h2>Failed cells</h2><ul>{% for text in failed %}<li>{{ text }}</li>{% endfor %}</ul>{% endif %}
<h2>Provenance</h2>
<ul>{% for line in provenance %}<li>{{ line }}</li>{% endfor %}</ul>
</body></html>
"""


def main(arguments: list[str] | None = None) -> int:
    """Write the report and print its path; return the exit code."""
    parser = argparse.ArgumentParser("python -m analysis.report", description="Turn a results table into a report.")
    parser.add_argument("out", help="the store's folder or URL, as given to the study with --out")
    parser.add_argument("--to", help="the HTML file; report.html in OUT (or here, if OUT is a URL) if not given")
    options = parser.parse_args(arguments)
    try:
        store = Store(options.out)
        page = render(store)
    except SprachbundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    target = Path(options.to or (Path(store.root, "report.html") if store.local else "report.html"))
    target.write_text(page, "utf-8")
    print(f"report: {target}")
    return 0


def render(store: Store) -> str:
    """Return the report's HTML. Raises StoreError where the store has no results."""
    frame = store.results()
    if frame.is_empty():
        raise StoreError(f"{store.address} has no results yet. Run a study with --out {store.address} first.")
    whole = frame.filter(pl.col("entity_type") == "ALL")
    done = whole.filter(pl.col("status") == "done")
    groups = [_group(key, part) for key, part in done.group_by(KEYS, maintain_order=True)]
    studies = [{"name": name, **kept, "plan": _plan(kept["plan"])} for name, kept in store.studies().items()]
    environment = jinja2.Environment(autoescape=True)
    return environment.from_string(PAGE).render(
        title="Sprachbund report: " + ", ".join(sorted(set(whole["study"]))),
        sandbox=SANDBOX if any(language(code).sandbox for code in set(whole["target"])) else None,
        studies=studies,
        groups=groups,
        failed=_failed(whole),
        provenance=_provenance(store, done),
    )


def summarize(rows: pl.DataFrame) -> pl.DataFrame:
    """Return F1 by method, sources, target and volume: `seeds`, `mean`, `sd`, and the `half` width of a 95% t interval.

    `half` is null for a single seed: one run says nothing about the spread.
    """
    keys = ["method", "sources", "target", "volume"]
    table = rows.group_by(keys).agg(
        pl.len().alias("seeds"), pl.col("f1").mean().alias("mean"), pl.col("f1").std().alias("sd"),
        pl.col("gain").mean(), pl.col("source_f1").mean(), pl.col("collapsed").sum(),
    ).sort(keys)  # fmt: skip
    half = [_half(sd, seeds) for sd, seeds in zip(table["sd"], table["seeds"], strict=True)]
    return table.with_columns(pl.Series("half", half, dtype=pl.Float64))


def _half(sd: float | None, seeds: int) -> float | None:
    return None if sd is None else float(student_t.ppf(0.975, seeds - 1)) * sd / math.sqrt(seeds)


def _group(key: tuple[Any, ...], rows: pl.DataFrame) -> dict[str, Any]:
    study, dataset, model, form = key
    table = summarize(rows)
    columns = ["method", "sources", "target", "volume", "F1", "± 95%", "gain over teacher", "source F1", "seeds", "collapsed"]
    body = [
        [
            _text(row["method"]), _text("+".join(row["sources"])), _text(row["target"]), _number(row["volume"], 0),
            _number(row["mean"]), _number(row["half"]), _number(row["gain"]), _number(row["source_f1"]),
            _number(row["seeds"], 0), _number(row["collapsed"], 0),
        ]
        for row in table.iter_rows(named=True)
    ]  # fmt: skip
    return {
        "title": f"{study}: {model} ({form}) on {dataset}",
        "alt": f"Span F1 against the volume of unlabeled target text, {model} on {dataset}; the numbers are in the table.",
        "figure": _curves(table),
        "columns": columns,
        "rows": body,
    }


def _curves(table: pl.DataFrame) -> str:
    """Return a PNG (base64) with one curve a source set and target."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), dpi=120)
    transfer = table.filter(pl.col("method") != "in-language").sort("volume")
    for number, ((sources, target), curve) in enumerate(transfer.group_by(["sources", "target"], maintain_order=True)):
        color = f"C{number % 10}"
        half = [0.0 if value is None else value for value in curve["half"]]
        label = f"{'+'.join(sources)} → {target}"
        axes.errorbar(curve["volume"], curve["mean"], yerr=half, marker="o", capsize=3, color=color, label=label)
        for ceiling in table.filter((pl.col("method") == "in-language") & (pl.col("target") == target))["mean"]:
            axes.axhline(ceiling, color=color, linestyle="--", linewidth=0.8)
    volumes = sorted(set(transfer["volume"]))
    axes.set_xscale("symlog", linthresh=100)
    axes.set_xlim(-20, 1.3 * max([100, *volumes]))
    axes.set_xticks(volumes, [f"{volume:,}" for volume in volumes])
    axes.minorticks_off()
    axes.set_xlabel("unlabeled target sentences")
    axes.set_ylabel("span F1 (test)")
    axes.set_ylim(0, 1)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    image = io.BytesIO()
    figure.savefig(image, format="png", bbox_inches="tight")
    pyplot.close(figure)
    return base64.b64encode(image.getvalue()).decode()


def _failed(whole: pl.DataFrame) -> list[str]:
    rows = whole.filter(pl.col("status") == "failed").iter_rows(named=True)
    return [
        f"{row['method']} {'+'.join(row['sources'])} → {row['target']} volume {row['volume']} seed {row['seed']}: "
        f"{row['error']}"
        for row in rows
    ]


def _plan(counts: dict[str, int]) -> str:
    states = ", ".join(f"{counts[state]} {state}" for state in ("done", "failed", "missing", "stale"))
    return f"{counts['cells']} cells ({states}) from {counts['steps']} steps."


def _provenance(store: Store, done: pl.DataFrame) -> list[str]:
    """What made the models: from the records of the training steps, each distinct line once."""
    records = [store.record(name) for name in sorted(store.artifacts()) if name.startswith(("pretrain", "finetune", "distill"))]
    seconds = sum(record["figures"]["seconds"] for record in records)
    lines = [
        f"store: {store.address}",
        f"last row: {done['finished'].max()}",
        f"training: {seconds:.0f} s in all, for {len(records)} models",
    ]
    kept = {}
    for record in records:
        origin = record["provenance"]
        versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items() if version)
        kept[f"{origin['machine']}; Python {origin['python']}; {versions}; git {origin['git']}"] = None
    return lines + list(kept)


def _text(value: str) -> dict[str, Any]:
    return {"text": value, "number": False}


def _number(value: float | None, digits: int = 3) -> dict[str, Any]:
    return {"text": "–" if value is None else f"{value:.{digits}f}", "number": True}


if __name__ == "__main__":
    sys.exit(main())
