"""How a study's values are checked: StudyError says the value received and the rule."""

import math
from dataclasses import fields
from typing import Any

from engine.errors import StudyError, did_you_mean


def require(holds: bool, message: str) -> None:
    """Raise StudyError with the message unless the rule holds."""
    if not holds:
        raise StudyError(message)


def one_of(name: str, value: Any, choices: tuple[Any, ...], why: str = "") -> None:
    """Raise StudyError, naming the choices, unless the value is one of them."""
    if value not in choices:
        raise StudyError(
            f"{name}={value!r}{why}: must be one of {', '.join(map(str, choices))}."
            + did_you_mean(str(value), map(str, choices))
        )


_KINDS: dict[Any, tuple[str, tuple[type, ...]]] = {
    int: ("a whole number", (int,)), float: ("a number", (int, float)), str: ("text", (str,)), bool: ("True or False", (bool,)),
}  # fmt: skip
LARGEST = 2**31 - 1  # of whole numbers, for columns and counters hold no more


def typed(part: Any) -> None:
    """Raise StudyError unless the plain fields of a dataclass (numbers, text, truth values) hold what they say."""
    for field in fields(part):
        kind, taken = _KINDS.get(field.type, ("", ()))
        value = getattr(part, field.name)
        if kind:
            right = isinstance(value, taken) and (field.type is bool or not isinstance(value, bool))
            require(right, f"{field.name}={value!r}: must be {kind}")
            require(not isinstance(value, float) or math.isfinite(value), f"{field.name}={value}: must be a finite number")
            require(field.type is not int or abs(value) <= LARGEST, f"{field.name}={value}: must not be above {LARGEST}")
