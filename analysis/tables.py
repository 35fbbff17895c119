"""A table as a reader sees it: cells of HTML, Markdown, and LaTeX with booktabs. What stands in it comes from elsewhere."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

UNKNOWN = "–"
PAGE = 45  # rows
# What LaTeX reads as a command, and letters that its usual fonts lack.
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "→": r"$\to$", "–": "--", "—": "---", "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$",
    "²": r"$^2$", "ρ": r"$\rho$", "Δ": r"$\Delta$", "…": r"\ldots{}", "“": "``", "”": "''", "’": "'",
}  # fmt: skip


class Shown(NamedTuple):
    """One cell."""

    text: str
    number: bool


@dataclass(frozen=True, eq=False)
class Table:
    """`name` names files and anchors; the columns of `frame` are the headings. `digits`: after the point, 3 if not told."""

    name: str
    caption: str
    frame: pl.DataFrame
    digits: Mapping[str, int] = field(default_factory=dict)

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """The headings, and whether numbers stand below."""
        return [(name, dtype.is_numeric()) for name, dtype in self.frame.schema.items()]

    @property
    def long(self) -> bool:
        """Whether it is longer than a page."""
        return len(self.frame) > PAGE

    def rows(self) -> list[list[Shown]]:
        """The cells, row by row."""
        return [
            [self._shown(value, name, number) for value, (name, number) in zip(row, self.columns, strict=True)]
            for row in self.frame.iter_rows()
        ]

    def _shown(self, value: Any, column: str, number: bool) -> Shown:
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return Shown(UNKNOWN, number)
        if not number:
            return Shown(str(value), False)
        digits = self.digits.get(column, 3 if isinstance(value, float) else 0)
        return Shown(f"{value:,.{digits}f}".replace("-", "−"), True)

    def markdown(self) -> str:
        """A pipe table under its caption."""
        head = [name for name, _ in self.columns]
        rule = ["---:" if number else "---" for _, number in self.columns]
        body = [[cell.text.replace("|", "\\|").replace("\n", " ") for cell in row] for row in self.rows()]
        lines = [f"| {' | '.join(cells)} |" for cells in (head, rule, *body)]
        return "\n".join([f"**{self.caption}**", "", *lines])

    def latex(self) -> str:
        """A table in the form of booktabs; one longer than a page as a longtable (the packages' names stand in its head)."""
        form = "".join("r" if number else "l" for _, number in self.columns)
        head = " & ".join(latex(name) for name, _ in self.columns) + r" \\"
        body = [" & ".join(latex(cell.text) for cell in row) + r" \\" for row in self.rows()]
        caption = rf"\caption{{{latex(self.caption)}}}\label{{tab:{self.name}}}"
        if self.long:
            lines = [r"% needs \usepackage{booktabs,longtable}", rf"\begin{{longtable}}{{{form}}}", caption + r" \\"]
            lines += [r"\toprule", head, r"\midrule", r"\endhead", *body, r"\bottomrule", r"\end{longtable}"]
        else:
            lines = [r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering", caption]
            lines += [rf"\begin{{tabular}}{{{form}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule"]
            lines += [r"\end{tabular}", r"\end{table}"]
        return "\n".join(lines) + "\n"


def latex(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return re.sub("|".join(map(re.escape, _LATEX)), lambda match: _LATEX[match[0]], text.replace("\n", " "))
