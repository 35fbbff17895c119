"""Trying again what a network or a server may do the next time, and telling that from what nobody but the user can change."""

import random
import re
import time
from collections.abc import Callable
from functools import partial
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


def no_room(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is that a file could not be written: a full disk, or one closed to us."""
    while error is not None:
        if _NO_ROOM.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
