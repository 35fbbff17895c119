"""Trying again what a network or a server may do the next time, and telling that from what nobody but the user can change."""

import os
import random
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

TRIES = 5  # pyarrow tries for 6 seconds each time, at a steady pace, before it says so
FIRST, LONGEST = 1.0, 30.0  # seconds to wait at most, after the first failure and after any

Answer = TypeVar("Answer")

_PASSING = re.compile(
    r"SLOW_DOWN|INTERNAL_FAILURE|SERVICE_UNAVAILABLE|THROTTLING|REQUEST_TIMEOUT|NETWORK_CONNECTION|HTTP status (429|5\d\d)"
    r"|Resource temporarily unavailable|Connection reset|Connection timed out|Stale file handle"
)
# What an operating system says of a full or closed disk, then what numpy and torch say, which leave its words out.
_NO_ROOM = re.compile(
    r"No space left on device|Disk quota exceeded|Read-only file system|File too large|Permission denied"
    r"|\d+ requested and \d+ written|unexpected pos \d+ vs \d+|PytorchStreamWriter failed|iostream error"
)


def retried(operation: Callable[..., Answer], *arguments: Any, **named: Any) -> Answer:
    """The operation's result. An OSError that may pass is waited out: twice as long each time, by chance less (full jitter).

    Raises the error of the last try, and at once one that will not pass.
    """
    attempt = partial(operation, *arguments, **named)
    for number in range(TRIES - 1):
        try:
            return attempt()
        except OSError as error:
            if not _PASSING.search(str(error)):
                raise
            time.sleep(random.uniform(0, min(LONGEST, FIRST * 2**number)))
    return attempt()


def full(error: BaseException | None, places: Sequence[str]) -> str | None:
    """Which of the folders an error, or what it came from, says cannot be written: on a full disk, or one closed to us.

    An error of the operating system mostly names its file: one that is elsewhere (a corpus that may not be read, a cache of
    models) is not meant. Where no file is named it may be in any of them, but a missing permission tells nothing then.
    """
    while error is not None:
        if _NO_ROOM.search(str(error)):
            files = [os.path.realpath(file) for file in _files_of(error)]
            found = [place for place in places if any(Path(file).is_relative_to(os.path.realpath(place)) for file in files)]
            if found:
                return found[0]
            if not files and "Permission denied" not in str(error):
                return " or ".join(places)
        error = error.__cause__ or error.__context__
    return None


def _files_of(error: BaseException) -> list[str]:
    """The files that an OSError names: as attributes, else as absolute paths in its text, as pyarrow's and polars' do."""
    if not isinstance(error, OSError):
        return []
    named = [name for name in (error.filename, error.filename2) if isinstance(name, str)]
    return named or re.findall(r"(?<=')/[^']+|(?<![\w/.:'])/[^\s'\",):]+", str(error))
