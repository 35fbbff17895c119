"""The errors the engine raises on purpose. Their text is for the user: what is wrong, the value, the rule, the fix."""

from collections.abc import Iterable
from difflib import get_close_matches


class SprachbundError(Exception):
    """Base of every error below; the command line prints its text and exits with 2."""


class StudyError(SprachbundError):
    """The study or the request cannot be run as it stands."""


class DataError(SprachbundError):
    """A corpus is missing, malformed or too small."""


class ModelError(SprachbundError):
    """A checkpoint is missing, or cannot do what the study asks of it."""


class StoreError(SprachbundError):
    """The output folder or bucket cannot be read or written."""


class OutOfMemoryError(SprachbundError):
    """A step needs more memory than its device has."""


class StorageError(StoreError):
    """The output folder or bucket is full, closed to us or out of reach: no cell's fault, and the run stops."""


class CheckpointError(SprachbundError):
    """What a killed training left behind to go on from cannot be read."""


def did_you_mean(value: str, choices: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest of `choices`, or "" where none is near."""
    near = get_close_matches(value, list(choices), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
