"""How a study's values are checked: StudyError says the value received and the rule."""

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
