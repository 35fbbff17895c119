"""Timing on noisy machines: medians of alternating pairs, and each memory peak in a process of its own."""

import re
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Pair:
    """Median seconds of a baseline and of ours, and the median of the pairs' ratios (baseline / ours)."""

    baseline: float
    ours: float
    ratio: float


def medians(times: Sequence[tuple[float, float]]) -> Pair:
    """The medians of pairs of seconds, the baseline's first."""
    first, second = zip(*times, strict=True)
    return Pair(statistics.median(first), statistics.median(second), statistics.median(a / b for a, b in times))


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def alone(function: Callable[..., Any], *arguments: Any) -> tuple[Any, int]:
    """Call a module's function in a fresh process; return its result and the most bytes it ever held in memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_with_peak, function, arguments).result()


def _with_peak(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, int]:
    result = function(*arguments)
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss also counts what the parent held when it started this process
        return result, 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])
    return result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on a Mac
