"""Objects of which a plan has hundreds of thousands: their dataclasses, and how to make so many."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

Kind = TypeVar("Kind", bound=type)


@dataclass_transform(frozen_default=True)
def record(*, eq: bool = True, kw_only: bool = False) -> Callable[[Kind], Kind]:
    """Make a class a dataclass that nobody changes: type checkers say so of an assignment to a field.

    While a program runs nothing does: `frozen` makes an instance five times as dear, and was an eighth of a plan's time.
    """
    return dataclass(eq=eq, unsafe_hash=eq, kw_only=kw_only, slots=True)


@contextmanager
def without_collection() -> Iterator[None]:
    """Make many objects: Python would look through them again and again, a quarter of the time, for garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
