"""What the checksum of a large artifact costs beside writing and reading it: one file of 1 GB, as weights are."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import Report
from engine.store.integrity import RECORD, folder_fault, sealed

BLOCK = bytes(range(250)) * 200_000  # 50 MB
BLOCKS = 20
LARGE = 4.9  # of GB: mt5-large's 1.23 billion weights of 4 bytes
TIMES = 3


def run() -> Report:
    """Time each part of publishing an artifact and of reading it, by the clock and by what it takes of a processor."""
    with tempfile.TemporaryDirectory(prefix="sprachbund-") as name:
        folder = Path(name)
        file = folder / "model.safetensors"
        parts: dict[str, Callable[[], object]] = {
            "write": lambda: _write(file),
            "bring to the disk (fsync)": lambda: _sync(file),
            "checksum, when published": lambda: (folder / RECORD).write_bytes(sealed({}, _anew(folder))),
            "read, from memory": lambda: _read(file),
            "checksum, when read": lambda: folder_fault(_anew(folder)),
        }
        times = [[_took(part) for part in parts.values()] for _ in range(TIMES)]
    medians = [[statistics.median(one) for one in zip(*part, strict=True)] for part in zip(*times, strict=True)]
    named = list(zip(parts, medians, strict=True))
    return Report(
        title="checksum: SHA-256 beside writing and reading",
        columns=("1 GB", "s by the clock", "s of a processor", f"mt5-large ({LARGE} GB), s of a processor"),
        rows=[[part, f"{clock:.2f}", f"{processor:.2f}", f"{processor * LARGE:.1f}"] for part, (clock, processor) in named],
        figures={f"{part}, s of a processor": processor for part, (_, processor) in named},
        notes=[f"Medians of {TIMES}. The checksum runs in one thread, over one file after the other."],
    )


def _took(part: Callable[[], object]) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    part()
    return time.perf_counter() - clock, time.process_time() - processor


def _anew(folder: Path) -> Path:
    """The folder, its files as if just written: what was read once, a process does not read again."""
    for file in folder.iterdir():
        os.utime(file)
    return folder


def _write(file: Path) -> None:
    with file.open("wb") as opened:
        for _ in range(BLOCKS):
            opened.write(BLOCK)


def _read(file: Path) -> None:
    into = bytearray(len(BLOCK))
    with file.open("rb") as opened:
        while opened.readinto(into):
            pass


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
