"""Putting row files together: killed anywhere, run twice at once, or with writers between, it loses and doubles nothing."""

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.store import Store
from engine.store.parts import generation


class Killed(BaseException):
    """What a kill is to the code: nothing catches it."""


class Stepped(Store):
    """A store that does something just before the `at`-th file that it writes or deletes, counted from 0."""

    at: int | None = None
    act: Callable[[], None] = staticmethod(lambda: None)
    steps = 0

    def fork(self, at: int | None = None, act: Callable[[], None] | None = None) -> "Stepped":
        """Another process's view of the same files."""
        other = copy.copy(self)
        other.at, other.act, other.steps, other.dead = at, act or kill, 0, False
        return other

    def _step(self) -> None:
        if self.dead:
            raise Killed
        self.steps += 1
        if self.steps - 1 == self.at:
            try:
                self.act()
            except Killed:
                self.dead = True
                raise

    def _write(self, path: str, content: bytes) -> None:
        self._step()
        super()._write(path, content)

    def _delete(self, path: str) -> None:
        self._step()
        super()._delete(path)


def kill() -> None:
    raise Killed


class History:
    """A store, and what was written to it: each write has a moment of its own, which is also its score."""

    def __init__(self, address: str = "mock:///out") -> None:
        self.store = Stepped(address).fork()
        self.store.probe()
        self.last: dict[str, tuple[str, str, int]] = {}
        self.moments = 0

    def write(self, cell: str, fingerprint: str = "f1", status: str = "done") -> None:
        self.moments += 1
        finished = datetime.fromtimestamp(self.moments / 1000, UTC)
        shared = {"study": cell, "status": status, "fingerprint": fingerprint, "finished": finished, "tp": self.moments}
        kinds = ("ALL", "PER") if status == "done" else ("ALL",)
        self.store.fork().write_rows(f"about-{cell}", cell, fingerprint, [shared | {"entity_type": kind} for kind in kinds])
        self.last[cell] = (fingerprint, status, self.moments)

    def compact(self, above: int = 0, at: int | None = None, act: Callable[[], None] | None = None) -> int:
        """Compact, doing `act` before the `at`-th step. Return the number of steps, which may have been cut short."""
        store = self.store.fork(at, act)
        try:
            store.compact(above)
        except Killed:
            pass
        return store.steps

    def check(self) -> None:
        """Each cell counts once, as it was last written, and no rows ever written are lost."""
        store = self.store.fork()
        assert {cell: (rows.fingerprint, rows.done, rows.finished) for cell, rows in store.cells().items()} == {
            cell: (fingerprint, status == "done", moment) for cell, (fingerprint, status, moment) in self.last.items()
        }
        frame = store.results()
        kinds = {"done": ["ALL", "PER"], "failed": ["ALL"]}
        expected = [(cell, kind, *last) for cell, last in sorted(self.last.items()) for kind in kinds[last[1]]]
        assert frame.select("study", "entity_type", "fingerprint", "status", "tp").rows() == expected
        assert {moment for file in self.files(recursive=True) for moment in self.frame(file)["tp"]} == {*range(1, self.moments + 1)}

    def files(self, recursive: bool = False) -> list[str]:
        found = self.store._list("results", recursive)
        return [file.path for file in found if file.path.endswith(".parquet")]

    def frame(self, path: str) -> pl.DataFrame:
        with self.store._fs.open_input_file(path) as file:
            return pl.read_parquet(file.read())


def some_history(address: str = "mock:///out") -> History:
    """Two parts that both hold some of the cells, as a kill leaves them, and row files of new, old and failed cells."""
    history = History(address)
    for cell in "abcd":
        history.write(cell)
    history.compact(at=2)  # the part is there, and nothing was deleted
    history.write("e")
    history.compact(at=2)
    for cell, fingerprint, status in (("a", "f2", "done"), ("b", "f1", "failed"), ("g", "f1", "failed"), ("g", "f1", "done")):
        history.write(cell, fingerprint, status)
    return history


def test_compaction_leaves_each_cell_in_one_file_that_any_reader_can_read(tmp_path: Path) -> None:
    history = some_history(str(tmp_path / "out"))
    history.check()
    history.compact()
    history.check()
    files = [Path(name).name for name in history.files()]
    assert len(files) == 1 and generation(files[0])
    frame = pl.read_parquet(tmp_path / "out" / "results" / "*.parquet")
    assert frame.drop("sources").sort("tp", "entity_type").equals(
        history.store.results().drop("sources").sort("tp", "entity_type")
    )
    assert history.compact() == 0  # nothing is left to do


def test_few_row_files_are_left_alone() -> None:
    history = History()
    for cell in "abc":
        history.write(cell)
    before = history.files()
    assert history.compact(above=3) == 0 and history.files() == before
    assert history.compact(above=2) > 0 and len(history.files()) == 1


def test_the_number_of_parts_grows_slowly() -> None:
    history = History()
    for number in range(40):
        history.write(f"c{number}")
        history.compact()
        assert len(history.files()) <= number.bit_length() + 1
    history.check()


@pytest.mark.parametrize("address", ["folder", "mock:///out"])
def test_killed_at_any_step_and_run_again(tmp_path: Path, address: str) -> None:
    steps = some_history().compact()
    assert steps > 4
    for step in range(steps):
        history = some_history(str(tmp_path / str(step)) if address == "folder" else address)
        assert history.compact(at=step) > step
        history.check()
        history.compact()
        history.check()
        assert len(history.files()) == 1


def test_writers_between_the_steps() -> None:
    def writes(history: History) -> None:
        history.check()
        history.write("a", "f3")
        history.write("z")
        history.check()

    for step in range(some_history().compact()):
        history = some_history()
        history.compact(at=step, act=lambda: writes(history))  # noqa: B023, called at once
        history.check()
        history.compact()
        history.check()


def test_two_at_once_with_a_third_between_never_delete_each_others_copies() -> None:
    def between(history: History, killed: int) -> None:
        history.compact(at=killed)
        history.check()
        history.compact()
        history.check()

    steps = some_history().compact()
    for step in range(steps):
        for killed in range(step % 3, steps, 3):  # a third of the pairs, in which every step is paired
            history = some_history()
            history.compact(at=step, act=lambda: between(history, killed))  # noqa: B023, called at once
            history.check()


actions = st.one_of(
    st.tuples(st.just("write"), st.sampled_from("abc"), st.sampled_from(["f1", "f2"]), st.sampled_from(["done", "failed"])),
    st.tuples(st.just("compact"), st.integers(0, 3), st.integers(0, 12)),
)


@given(st.lists(st.tuples(actions, st.lists(actions, max_size=2), st.booleans()), max_size=8))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_any_history_of_writes_and_of_compactions_cut_short_or_interleaved(story: list[tuple[tuple, list[tuple], bool]]) -> None:
    history = History()

    def do(action: tuple, act: Callable[[], None]) -> None:
        if action[0] == "write":
            history.write(*action[1:])
        else:
            history.compact(action[1], at=action[2], act=act)
        history.check()

    for action, between, ends in story:

        def act(between: list[tuple] = between, ends: bool = ends) -> None:
            for inner in between:
                do(inner, kill)
            if ends:
                kill()

        do(action, act)
    history.compact()
    history.check()
    assert sum(len(history.frame(file)) for file in history.files()) == len(history.store.results())


@pytest.mark.parametrize("seen", ["neither", "the old"])
def test_a_reader_whose_listing_compaction_overtakes_reads_again(seen: str) -> None:
    history = some_history()

    class Slow(Stepped):
        """A listing that began before a compaction and ended after it."""

        def _names(self, folder: str) -> list[str]:
            before = super()._names(folder)
            history.compact()
            return [name for name in before if name in super(Slow, self)._names(folder)] if seen == "neither" else before

    reader = Slow("mock:///out").fork()
    reader._fs = history.store._fs
    expected = history.store.results()
    assert reader.results().equals(expected) and len(expected)
    history.check()
