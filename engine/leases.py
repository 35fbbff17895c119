"""Leases: what each run of a store does at the moment, so that several runs at once do no step twice.

A run keeps one file, <out>/leases/<run>.json, which nobody else writes: the steps that it has and those that it wants.
It writes the file again every `BEAT` seconds and takes it away at its end. To get steps it says that it wants them, then
reads what the others say. It has them if no other has one of them or wants one; of two that want the same, the one whose
name comes first waits until the other has withdrawn or got it, and the other withdraws. Whoever wants writes before it
reads, so of two at once at least one sees the other: plain files and a listing are enough, and no rename, lock or
conditional write is needed. A run is gone `EXPIRY` seconds after its last word, both told by the store's own clock, or
as soon as its process is seen to have ended on this machine.

What this guarantees: on a store whose listings show what was written (S3, Google's, a local disk) no two runs have the
same step, as long as each writes again in time. A run that slept for longer, or a network file system that shows an old
listing, may do a step twice. That costs the time and nothing else: results never depend on leases, for steps are
deterministic and an artifact appears whole, the first one's.
"""

import json
import os
import socket
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Self

import psutil

from engine.errors import StorageError, StoreError
from engine.store import Store
from engine.store.machine import machine

BEAT = 10.0  # seconds between two words of a run
EXPIRY = 60.0  # seconds after a run's last word until its steps are free
LOOK = 1.0  # seconds for which what the others said is not read again
SETTLE, SETTLES = 0.05, 40  # seconds between two looks at another that wants the same, and their number


@dataclass(frozen=True)
class Run:
    """What a run says of itself. `process` began at `started` (`_started`), both as `machine` counts them."""

    name: str
    host: str
    process: int
    started: float
    machine: str
    has: frozenset[str] = frozenset()
    wants: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"another run ({self.host}, process {self.process})"

    def written(self) -> bytes:
        """The content of its file."""
        return json.dumps(asdict(self) | {"has": sorted(self.has), "wants": sorted(self.wants)}, indent=1).encode()

    @classmethod
    def read(cls, content: bytes) -> "Run":
        """What `written` wrote. Raises ValueError, TypeError or KeyError where it did not."""
        known: Mapping[str, Any] = json.loads(content)
        return cls(**{**known, "has": frozenset(known["has"]), "wants": frozenset(known["wants"])})

    def ended(self) -> bool:
        """Whether its process is seen to have ended: False where this machine cannot see it."""
        return self.machine == machine() and _started(self.process) != self.started


class Leases:
    """This run's steps among those of the others, for the time of a `with`. Raises StoreError as the store does.

    `tell` gets a line when this run was silent for so long that others may have begun its steps.
    """

    def __init__(self, store: Store, tell: Callable[[str], object] = print) -> None:
        self.store, self.tell = store, tell
        name, process = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.json", os.getpid()
        self.own = Run(name, socket.gethostname(), process, _started(process), machine())
        self.met = False  # whether another run was ever seen
        self._elsewhere: dict[str, Run] = {}
        self._looked = -LOOK
        self._spoken = _clock()
        self._lock, self._over = Lock(), Event()
        self._heart = Thread(target=self._beat, name="leases", daemon=True)

    def __enter__(self) -> Self:
        self._say()
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._heart.join()
        self.store.take_back(self.own.name)

    def elsewhere(self) -> Mapping[str, Run]:
        """The steps that other runs have or want, as said at most `LOOK` seconds ago."""
        if time.monotonic() >= self._looked + LOOK:
            self._look()
        return self._elsewhere

    def claim(self, steps: Collection[str]) -> bool:
        """Get the steps, or none of them where another run has one: ask again later."""
        if not self.elsewhere().keys().isdisjoint(steps):
            return False
        before = self.own.has
        try:
            self._say(wants=frozenset(steps))
            got = self._settled(steps)
            self._say(has=before | frozenset(steps) if got else before)
        except StoreError:
            with self._lock:  # nobody works at them: no later beat may keep others off
                self.own = replace(self.own, has=before, wants=frozenset())
            raise
        return got

    def release(self, steps: Collection[str]) -> None:
        """Give the steps back, done or not."""
        self._say(has=self.own.has - frozenset(steps))

    def _settled(self, steps: Collection[str]) -> bool:
        """Whether the steps, which this run has said that it wants, are its own."""
        for _ in range(SETTLES):
            others = self._look()
            if any(not run.has.isdisjoint(steps) for run in others):
                return False
            rivals = [run.name for run in others if not run.wants.isdisjoint(steps)]
            if not rivals or min(rivals) < self.own.name:
                return not rivals
            time.sleep(SETTLE)
        return False

    def _look(self) -> list[Run]:
        """Read what the others say; take the files of those that are gone away."""
        said = self.store.said()
        now = max((at for at, _ in said.values()), default=0.0) if self.own.name not in said else said[self.own.name][0]
        others = []
        for name, (at, content) in said.items():
            with suppress(ValueError, TypeError, KeyError):  # not what a run of this engine writes: it holds nothing
                run = Run.read(content)
                if name == self.own.name:
                    continue
                if run.ended() or now - at > EXPIRY:
                    self.store.take_back(name)
                else:
                    others.append(run)
        self.met |= bool(others)
        self._elsewhere = {step: run for run in others for step in run.has | run.wants}
        self._looked = time.monotonic()
        return others

    def _say(self, has: frozenset[str] | None = None, wants: frozenset[str] = frozenset()) -> None:
        with self._lock:
            self.own = replace(self.own, has=self.own.has if has is None else has, wants=wants)
            self.store.say(self.own.name, self.own.written())

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            # Where the store cannot be written, the next claim says so; steps that are running need it not yet.
            with suppress(StoreError):
                with self._lock:
                    self.store.say(self.own.name, self.own.written())
                self._heard()

    def _heard(self) -> None:
        """Look whether the steps are still this run's alone, where its last word was so long ago that they were free."""
        silent = _clock() - self._spoken
        if silent > EXPIRY and self.own.has:
            taken = [str(run) for run in self._look() for _ in run.has & self.own.has]
            shared = ", ".join(f"{number} by {run}" for run, number in Counter(taken).items())
            self.tell(
                f"the store did not hear of this run for {silent:.0f} s; after {EXPIRY:.0f} s its steps were free for others. "
                + (f"Being done twice now, which costs their time and nothing else: {shared}." if taken else "Nobody took one.")
            )
        self._spoken = _clock()


def check_seen(store: Store) -> None:
    """Raise StorageError on a machine that does not see the run it works for: its store is another one of the same name.

    `engine.cluster` asks all nodes at the start; this is for those that come later.
    """
    if not store.said():
        raise StorageError(
            f"--out {store.address}: the node {socket.gethostname()} does not see what the driver wrote there, so it is another "
            "folder there. Give a bucket's URL (s3://, gs://), or a folder of a file system that all nodes have at that place."
        )


def _clock() -> float:
    """Seconds that go on while the machine sleeps, where it tells them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


def _started(process: int) -> float:
    """When the process began; 0 where it has ended. In a container one may stay as a zombie.

    On Linux in the kernel's ticks since the machine's start, for a step of the wall clock moves every other account of it.
    """
    try:
        if sys.platform == "linux":
            state, *fields = Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            return 0.0 if state in "ZX" else float(fields[18])
        found = psutil.Process(process)
        return 0.0 if found.status() == psutil.STATUS_ZOMBIE else found.create_time()
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return 0.0
