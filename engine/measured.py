"""What becomes of the figures of steps that measure languages: the columns of a cell. Of several sources: the mean."""

from collections.abc import Mapping, Sequence
from typing import Any


def columns(sources: Sequence[str], measured: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, float | None]:
    """The columns of a cell from the roles and figures of its steps: means over the sources that have a value.

    A figure of a language is a column for the source, one for the target, and "<figure>_difference", target less source.
    """
    values: dict[str, list[float]] = {}
    for role, figures in measured:
        known = figures.get("measured", {})
        if "weights" in figures:
            known = {"identity_weight": sum(figures["weights"].get(code, 0.0) for code in sources) / len(sources)}
        for name, value in known.items():
            if value is not None:
                values.setdefault(name if role == "pair" else f"{name}_{role}", []).append(value)
    found = {name: sum(each) / len(each) for name, each in values.items()}
    for name in [name.removesuffix("_source") for name in found if name.endswith("_source")]:
        if f"{name}_target" in found:
            found[f"{name}_difference"] = found[f"{name}_target"] - found[f"{name}_source"]
    return found
