"""Several runs on one store: none takes a step that another has, and what a dead run had is free again."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import Queue
from random import Random
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import leases as module
from engine.errors import StorageError
from engine.leases import EXPIRY, Leases, Run, check_seen
from engine.store import Store

STEPS = [f"step-{number}" for number in range(12)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path))
    store.probe()
    return store


def run_of(store: Store, name: str, **changes: object) -> Leases:
    """Another run on the store, which says that it is another process, and has a machine that nobody can look into."""
    leases = Leases(store)
    leases.own = replace(leases.own, **{"name": f"{name}.json", "machine": "elsewhere", **changes})
    return leases


def test_a_step_is_one_runs_until_it_gives_it_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0)
    with run_of(store, "one") as one, run_of(store, "two") as two:
        assert one.claim(["teacher", "scores"])
        assert not two.claim(["scores", "other"]) and two.claim(["other"])
        assert two.elsewhere().keys() == {"teacher", "scores"}
        one.release(["scores"])
        assert two.claim(["scores"]) and not one.claim(["scores"])
    assert not list(Path(store.root, "leases").iterdir())


def test_of_two_that_want_a_step_neither_takes_it_from_the_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLE", 0)
    with run_of(store, "b") as one:
        for name in ("a", "c"):  # the first to withdraw is the later name: "a" is waited for by nobody, for "c" one waits
            rival = run_of(store, name)
            rival._say(wants=frozenset(["step"]))
            assert not one._settled(["step"])
            store.take_back(rival.own.name)
        one._look()
        assert one.claim(["step"])


def test_the_steps_of_a_dead_process_are_free_at_once(store: Store) -> None:
    code = (
        "import os, sys; from engine.leases import Leases; from engine.store import Store\n"
        "leases = Leases(Store(sys.argv[1])).__enter__()\n"
        "print(leases.claim(['step']), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, store.address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other, Leases(store) as ours:
        assert other.stdout.readline() == "True\n"
        assert not ours.claim(["step"]) and f"process {other.pid}" in str(ours.elsewhere()["step"])
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        ours._look()
        assert ours.claim(["step"]) and len(store.said()) == 1


def test_a_run_that_cannot_be_seen_is_gone_when_it_was_silent_for_long(store: Store) -> None:
    with run_of(store, "other") as other, Leases(store) as ours:
        assert other.claim(["step"])
        file = Path(store.root, "leases", other.own.name)
        for silent, free in ((EXPIRY / 2, False), (2 * EXPIRY, True)):  # the store's clock tells, not this machine's
            at = Path(store.root, "leases", ours.own.name).stat().st_mtime - silent
            os.utime(file, (at, at))
            ours._look()
            assert ours.claim(["step"]) == free


def test_another_process_with_the_number_of_a_dead_one_does_not_stand_for_it(store: Store) -> None:
    ours = Leases(store)
    assert not ours.own.ended()
    assert replace(ours.own, started=ours.own.started - 5).ended()
    assert not replace(ours.own, started=0.5, machine="another").ended()
    assert Run.read(ours.own.written()) == ours.own


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no time since the machine's start is known")
def test_a_step_of_the_wall_clock_ends_no_run_of_this_machine(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    other = run_of(store, "other", machine=Leases(store).own.machine)
    assert other.claim(["step"])
    told = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: told(process) + 1.0)  # as after such a step
    with Leases(store) as ours:
        assert not ours.claim(["step"]) and len(store.said()) == 2


@pytest.mark.parametrize("failing", [1, 2])
def test_a_claim_that_could_not_be_written_keeps_nobody_off(store: Store, failing: int) -> None:
    class Failing(Store):
        """Takes one of the words of a claim not: the first says what is wanted, the second what it got."""

        def say(self, run: str, content: bytes) -> None:
            calls.append(run)
            if len(calls) == failing:
                raise StorageError("the store is closed")
            super().say(run, content)

    calls: list[str] = []
    one = Leases(Failing(store.address))
    one.own = replace(one.own, machine="elsewhere")
    with pytest.raises(StorageError, match="closed"):
        one.claim(["step"])
    one.store.say(one.own.name, one.own.written())  # its next beat
    with Leases(store) as two:
        assert two.claim(["step"])


@pytest.mark.parametrize("taken", [True, False])
def test_a_run_that_was_silent_for_long_says_whether_its_steps_are_done_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    asleep, said = 0.0, Queue()
    clock = module._clock
    monkeypatch.setattr(module, "BEAT", 0.01)
    monkeypatch.setattr(module, "_clock", lambda: clock() + asleep)
    ours = Leases(store, said.put)
    assert ours.claim(["step", "other"])
    store.take_back(ours.own.name)  # as another does that has not heard of it for long
    other = run_of(store, "other")
    assert other.claim(["step"] if taken else ["third"])
    asleep = 2 * EXPIRY
    with ours:
        line = said.get(timeout=60)
    assert "did not hear of this run for 120 s" in line and said.empty()
    assert f"1 by {other.own}" in line if taken else "Nobody took one" in line


def test_a_file_that_is_no_word_of_a_run_holds_nothing(store: Store) -> None:
    for number, content in enumerate((b"", b"[]", b"{}", b'{"has": 3, "wants": []}', b"\xff")):
        store.say(f"{number}.json", content)
    with Leases(store) as ours:
        assert ours.claim(STEPS)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.randoms(use_true_random=False), st.integers(2, 4))
def test_no_two_ever_have_a_step_in_any_interleaving(random: Random, number: int) -> None:
    """The protocol's parts (say, look, decide) of several runs one after another in any order, on words in memory."""
    said: dict[str, tuple[float, bytes]] = {}
    words = SimpleNamespace(say=lambda name, content: said.update({name: (0.0, content)}), said=lambda: dict(said))
    runs = [Leases(words) for _ in range(number)]
    for place, leases in enumerate(runs):
        leases.own = replace(leases.own, name=f"{place}", machine="elsewhere")

    def claim(leases: Leases) -> Iterator[None]:  # as Leases.claim, with a pause wherever another may come between
        leases._say(wants=frozenset(STEPS))
        yield
        got = leases._settled(STEPS)
        yield
        leases._say(has=frozenset(STEPS if got else ()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SETTLE", 0)
        going = [claim(leases) for leases in runs]
        while going:
            one = random.choice(going)
            if next(one, "over") == "over":
                going.remove(one)
    assert sum(bool(leases.own.has) for leases in runs) <= 1


def test_a_worker_that_sees_no_run_has_another_store(store: Store, tmp_path: Path) -> None:
    with Leases(store):
        check_seen(store)
        with pytest.raises(StorageError, match="another folder there"):
            check_seen(Store(str(tmp_path / "other")))


def _work(address: str, seed: int, log: str) -> None:
    """Do every step that nobody else does, in an order of its own; write down each begin and end."""
    order = STEPS.copy()
    Random(seed).shuffle(order)
    store = Store(address)
    with Leases(store) as leases, open(log, "a", buffering=1) as file:
        while left := [step for step in order if not store.has(step)]:
            for step in left:
                if leases.claim([step]):
                    if not store.has(step):
                        file.write(f"begin {step}\n")
                        with store.scratch(step) as folder:
                            store.publish(step, folder, {})
                        file.write(f"end {step}\n")
                    leases.release([step])


def test_processes_at_once_do_each_step_once(store: Store, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    workers = [spawn.Process(target=_work, args=(store.address, seed, str(tmp_path / "log"))) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    begun = [line.split()[1] for line in (tmp_path / "log").read_text().splitlines() if line.startswith("begin")]
    assert sorted(begun) == sorted(STEPS)
    assert not store.said()
