"""The report's figures as SVG for a page: how things are drawn, not what is drawn.

Colors of text and ground are variables of the page's style, so a figure follows it to print and to the dark; text is
text, in the page's font. Panels are small and many rather than wide: they stand side by side on a desk and below each
other on a phone.
"""

import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from analysis.tables import Table

# Placeholders for the page's variables.
INK, SOFT, RULE, GROUND = "#010203", "#040506", "#070809", "#0a0b0c"
_VARIABLES = {INK: "var(--ink)", SOFT: "var(--soft)", RULE: "var(--rule)", GROUND: "var(--ground)"}
# Told apart without red and green, on white and on black (after Okabe & Ito 2008).
COLORS = (
    "#1f83b4", "#d1662b", "#2a9d74", "#9a6bc7", "#b8860b", "#d0588f", "#7a8794", "#5bb3c9", "#8d6e63", "#94a62b", "#5c6bc0",
    "#e58a8a",
)  # fmt: skip
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "sprachbund", "font.size": 9, "axes.titlesize": 9, "axes.titlelocation": "left",
    "axes.titleweight": "bold", "text.color": INK, "axes.labelcolor": SOFT, "axes.edgecolor": RULE, "xtick.color": SOFT,
    "ytick.color": SOFT, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": RULE,
    "grid.linewidth": 0.6, "axes.axisbelow": True, "figure.facecolor": "none", "axes.facecolor": "none",
    "savefig.facecolor": "none", "lines.linewidth": 1.6, "lines.markersize": 4, "xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0,
}  # fmt: skip
BY = {"by language": COLORS[0], "by row, too narrow": COLORS[1]}  # a forest's legend
WIDTH = 4.2  # inches: about 400 px, a phone's width
LABELED = 12  # columns of a heat map that leave room for numbers


@dataclass(frozen=True)
class Panel:
    """One drawing. `alt`: what it shows, in words."""

    svg: str
    alt: str


@dataclass(frozen=True, eq=False)
class Figure:
    """Panels that belong together, their caption, and the table of the numbers drawn."""

    panels: Sequence[Panel]
    caption: str
    table: Table
    legend: Mapping[str, str] = field(default_factory=dict)  # name -> color


def curves(
    title: str, lines: Mapping[str, pl.DataFrame], fitted: Mapping[str, tuple[np.ndarray, np.ndarray]], ceiling: float | None,
    colors: Mapping[str, str], score: str,
) -> Panel:  # fmt: skip
    """A score against volume, one color a source; that at volume 0, the teacher's, goes on as a dotted line.

    `lines`: `volume`, `mean`, `half` (null: unknown); `fitted`: volumes and values.
    """
    with _axes(2.7) as axes:
        for name, line in lines.items():
            half = line["half"].fill_null(0.0)
            axes.errorbar(line["volume"], line["mean"], yerr=half, fmt="o", elinewidth=1, color=colors[name], label=name)
            for teacher in line.filter(pl.col("volume") == 0)["mean"]:
                axes.axhline(teacher, color=colors[name], linestyle=":", linewidth=0.8)
            if name in fitted:
                axes.plot(*fitted[name], color=colors[name], linewidth=1.2, alpha=0.8)
        if ceiling is not None:
            axes.axhline(ceiling, color=SOFT, linestyle="--", linewidth=1)
            axes.annotate("in-language", (1, ceiling), (-2, 2), xycoords=("axes fraction", "data"),
                          textcoords="offset points", ha="right", fontsize=8, color=SOFT)  # fmt: skip
        _by_volume(axes, title, sorted(set().union(*(line["volume"] for line in lines.values()))), score)
        alt = "; ".join(
            f"{name}: " + ", ".join(f"{mean:.2f} at {volume:,}" for volume, mean in zip(line["volume"], line["mean"], strict=True))
            for name, line in lines.items()
        )
        return _panel(axes, f"{title}: {score} by unlabeled target sentences. {alt}.")


def band(title: str, volumes: Sequence[int], grid: np.ndarray, values: np.ndarray, score: str) -> Panel:
    """One curve with its interval: `values`, (n, 3), estimate, low and high at the `grid`, (n,)."""
    with _axes(2.7) as axes:
        axes.fill_between(grid, values[:, 1], values[:, 2], color=COLORS[0], alpha=0.2, linewidth=0)
        axes.plot(grid, values[:, 0], color=COLORS[0])
        _by_volume(axes, title, volumes, score)
        (first, *_), (last, low, high) = values[0], values[-1]
        return _panel(axes, f"{title}: from {first:.2f} at {volumes[0]:,} sentences to {last:.2f} ({low:.2f} to {high:.2f}) at {volumes[-1]:,}.")


def heat_map(title: str, values: np.ndarray, marks: np.ndarray, sources: Sequence[str], targets: Sequence[str]) -> Panel:
    """A score in [0, 1] by target (rows) and source (columns), NaN where there is none; `marks`: text behind a number."""
    from matplotlib.colors import LinearSegmentedColormap

    with _axes(0.9 + 0.26 * len(targets)) as axes:
        shades = LinearSegmentedColormap.from_list("score", ["#f3efe6", "#8fc0d3", "#1f6f9a", "#0b3350"])
        axes.pcolormesh(np.ma.masked_invalid(values), cmap=shades, vmin=0, vmax=1, edgecolor=GROUND, linewidth=1.5)
        for (row, column), value in np.ndenumerate(values):
            number = "" if np.isnan(value) or len(sources) > LABELED else f"{value:.2f}".removeprefix("0")
            if text := (number + marks[row, column]).strip():
                color = INK if np.isnan(value) else ("#ffffff" if value > 0.5 else "#1d2328")
                axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=8, color=color)
        axes.set_xticks(np.arange(len(sources)) + 0.5, sources, rotation=90 if len(sources) > 6 else 0)
        axes.set_yticks(np.arange(len(targets)) + 0.5, targets)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.invert_yaxis()
        axes.set(title=title, xlabel="source", ylabel="target")
        known = values[~np.isnan(values)]
        spread = f" From {known.min():.2f} to {known.max():.2f}." if len(known) else ""
        return _panel(axes, f"{title}: {len(targets)} targets by {len(sources)} columns.{spread} The numbers are in the table.")


def scatter(title: str, x: str, y: str, points: pl.DataFrame, note: str) -> Panel:
    """An outcome against a feature: `x`, `mean`, `half` (null: unknown) and `label` a pair; `note` says what was found."""
    with _axes(2.7) as axes:
        half = points["half"].fill_null(0.0)
        axes.errorbar(points["x"], points["mean"], yerr=half, fmt="o", color=COLORS[0], elinewidth=0.8, alpha=0.75)
        if len(points) <= 24:
            for place, mean, label in points.select("x", "mean", "label").iter_rows():
                axes.annotate(label, (place, mean), (3, 3), textcoords="offset points", fontsize=7, color=SOFT)
        axes.set(title=title, xlabel=x, ylabel=y)
        return _panel(axes, f"{title}: {len(points)} pairs. {note}")


def forest(title: str, rows: pl.DataFrame, label: str, zero: float = 0.0) -> Panel:
    """Estimates with intervals below each other: `name`, `estimate`, `low`, `high`; `row_low` and `row_high` are drawn thin.

    The latter, where there are any, are intervals that take each row for independent.
    """
    with _axes(0.7 + 0.3 * len(rows)) as axes:
        places = np.arange(len(rows))
        axes.axvline(zero, color=SOFT, linewidth=0.8)
        if "row_low" in rows.columns:
            axes.hlines(places + 0.22, rows["row_low"], rows["row_high"], color=BY["by row, too narrow"], linewidth=1.2)
        axes.hlines(places, rows["low"], rows["high"], color=BY["by language"], linewidth=2.2)
        axes.plot(rows["estimate"], places, "o", color=BY["by language"], markersize=5)
        axes.set_yticks(places, rows["name"])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set(title=title, xlabel=label)
        said = "; ".join(
            f"{name} {estimate:.2f}" + ("" if low is None or high is None else f" ({low:.2f} to {high:.2f})")
            for name, estimate, low, high in rows.select("name", "estimate", "low", "high").iter_rows()
        )
        return _panel(axes, f"{title}: {said}.")


def predicted(title: str, rows: pl.DataFrame, note: str) -> Panel:
    """Held-out predictions: `truth` against `prediction`, with `low` and `high`."""
    with _axes(3.4) as axes:
        axes.axline((rows["truth"][0],) * 2, slope=1, color=SOFT, linewidth=0.8)
        axes.vlines(rows["truth"], rows["low"], rows["high"], color=COLORS[0], linewidth=0.8, alpha=0.35)
        axes.plot(rows["truth"], rows["prediction"], "o", color=COLORS[0], alpha=0.8)
        axes.set(title=title, xlabel="measured", ylabel="predicted, held out")
        return _panel(axes, f"{title}: {len(rows)} predictions against what was measured. {note}")


@contextmanager
def _axes(height: float) -> Iterator[Any]:
    import matplotlib  # half a second that other commands do without
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(_STYLE):
        yield Canvas(figsize=(WIDTH, height), layout="constrained").add_subplot()


def _panel(axes: Any, alt: str) -> Panel:
    """The <svg> element alone, as wide as its place, named for who cannot see it, its ids the page's only ones."""
    image = io.StringIO()
    axes.figure.savefig(image, format="svg", metadata={"Date": None})
    svg = re.sub(r"<metadata>.*?</metadata>", "", image.getvalue(), flags=re.DOTALL)
    box, body = re.search(r'<svg[^>]*(viewBox="[^"]*")[^>]*>(.*)</svg>', svg, re.DOTALL).groups()
    prefix = f"f{hashlib.sha256(svg.encode()).hexdigest()[:8]}-"
    body = re.sub(r"<g id=[^>]*>", "<g>", re.sub(r"(\d\.\d\d)\d+", r"\1", body))  # hundredths of a point do
    body = re.sub(r'(\bid="|url\(#|href="#)', lambda match: match[1] + prefix, body)
    for color, variable in _VARIABLES.items():
        body = body.replace(color, variable)
    label = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return Panel(f'<svg {box} role="img" aria-label="{label}">{body}</svg>', alt)


def _by_volume(axes: Any, title: str, volumes: Sequence[int], score: str) -> None:
    smallest = min((volume for volume in volumes if volume), default=1)
    axes.set_xscale("symlog", linthresh=smallest, linscale=0.6)
    axes.set_xticks(ticks := _apart(volumes), [_short(volume) for volume in ticks])
    axes.minorticks_off()
    axes.set(xlim=(-0.2 * smallest, 1.3 * volumes[-1]), ylim=(0, 1), title=title)
    axes.set(xlabel="unlabeled target sentences", ylabel=score)


def _apart(volumes: Sequence[int]) -> list[int]:
    """The largest, and below it those whose labels have room on an axis of logarithms."""
    kept = [volumes[-1]]
    for volume in reversed(volumes):
        if volume <= kept[-1] / 4:
            kept.append(volume)
    return kept


def _short(number: int) -> str:
    """100000 as 100k."""
    return f"{number // 1000}k" if number >= 1000 and number % 1000 == 0 else f"{number:,}"
