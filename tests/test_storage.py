"""A store that is full, closed or slow: what may pass is waited out, what will not stops the run, nothing half-written counts."""

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import sham
import synthetic_store

from analysis import report
from engine.errors import StorageError, StoreError
from engine.mend import mend
from engine.store import Store, retry
from engine.train.loop import FolderCheckpoints

GRAPH = sham.graph()
SLOW = "When listing objects: AWS Error SLOW_DOWN during ListObjectsV2 operation: Please reduce your request rate."

TOUCHING = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries, which are not waited."""
    found: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", found.append)
    return found


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Gives a real file system of its own in memory, mounted with the options; call it again to change them."""
    folder, mounted = tmp_path / "disk", False

    def mount(*options: str) -> Path:
        nonlocal mounted
        folder.mkdir(exist_ok=True)
        how = ["remount"] if mounted else []
        run = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join([*how, *options]), "tmpfs", str(folder)], capture_output=True, text=True, check=False
        )
        if run.returncode:
            pytest.skip(f"no file system can be mounted here: {run.stderr.strip()}")
        mounted = True
        return folder

    yield mount
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def fails(times: int, text: str) -> Callable[[], str]:
    left = [OSError(text)] * times

    def operation() -> str:
        if left:
            raise left.pop()
        return "done"

    return operation


def test_what_may_pass_is_tried_again_after_longer_and_longer_waits(waits: list[float]) -> None:
    assert retry.retried(fails(retry.TRIES - 1, SLOW)) == "done"
    assert all(0 <= wait <= retry.FIRST * 2**number for number, wait in enumerate(waits)) and len(waits) == retry.TRIES - 1
    with pytest.raises(OSError, match="SLOW_DOWN"):
        retry.retried(fails(retry.TRIES, SLOW))


@pytest.mark.parametrize("text", ["AWS Error ACCESS_DENIED during PutObject", "[Errno 28] No space left on device", "gone"])
def test_what_will_not_pass_is_not_tried_again(waits: list[float], text: str) -> None:
    with pytest.raises(OSError, match="DENIED|space|gone"):
        retry.retried(fails(1, text))
    assert waits == []


def test_a_full_disk_stops_the_run_and_with_room_it_goes_on(
    disk: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Store(str(tmp_path / "whole"))
    sham.run(GRAPH, whole, monkeypatch)
    stops = 0
    for pages in range(20, 400, 20):  # of 4 kB: the disk is full at another moment each time
        store = Store(str(disk(f"size={pages * 4}k")))
        try:
            sham.run(GRAPH, store, monkeypatch)
            break
        except StorageError as error:
            stops += 1
            assert "the same command goes on" in str(error) and "No space left" in str(error)
        rows = store.results()
        assert (rows["status"] == "done").all()  # the disk's fault is no cell's
        assert store.damaged() == {} == store.faults(sorted(store.artifacts()))
        assert not [path for path in Path(store.root).rglob(".tmp-*") if path.is_file()]
    assert stops >= 2
    columns = ["method", "target", "volume", "entity_type", "f1"]
    assert store.results().select(columns).equals(whole.results().select(columns))


def test_a_closed_disk_is_a_clear_error_and_can_be_read(disk: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(disk("size=20m")))
    sham.run(GRAPH, store, monkeypatch)
    disk("ro")
    for touch in (store.probe, lambda: store.write_study("sham", {}), lambda: store.scratch("step-a-1").__enter__()):
        with pytest.raises(StorageError, match="cannot be written.*Read-only file system"):
            touch()
    assert len(store.results()) == 4 * len(GRAPH.cells) and not mend(GRAPH, store, on_gpu=False)[0].open


def test_a_file_that_grows_too_large_is_no_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's limit on a file's size cuts it as a full disk does, and needs no mount."""
    store, limits = Store(str(tmp_path)), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))  # a sham step's weights have 3,200 bytes
    try:
        with pytest.raises(StorageError, match="File too large"):
            sham.run(GRAPH, store, monkeypatch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store.artifacts() == set() and store.results().is_empty()
    sham.run(GRAPH, store, monkeypatch)
    assert not mend(GRAPH, store, on_gpu=False)[0].open


def breaking(error: Callable[[str], Exception]) -> Callable[..., None]:
    def step(_recipe: object, _inputs: object, out: Path, *_: object) -> None:
        raise error(str(out))

    return step


@pytest.mark.parametrize("address", ["OUT", "mock:///out"])
@pytest.mark.parametrize(
    ("error", "stops"),
    [(lambda _: PermissionError(errno.EACCES, "Permission denied", "/data/ner/toy/eng/train.conll"), False),
     (lambda _: OSError("Failed to open local file '/data/ner/toy/eng.parquet'. Detail: [errno 13] Permission denied"), False),
     (lambda _: OSError(errno.ENOSPC, "No space left on device", "/data/cache/model.safetensors"), False),
     (lambda _: RuntimeError("worker 1: PermissionError: [Errno 13] Permission denied: '/data/x'"), False),
     (lambda out: PermissionError(errno.EACCES, "Permission denied", f"{out}/weights"), True),
     (lambda out: OSError(f"No space left on device (os error 28): {out}/counts.parquet"), True),
     (lambda _: OSError(errno.ENOSPC, "No space left on device"), True),
     (lambda _: RuntimeError("[enforce fail at /pytorch/caffe2/serialize/inline_container.cc:664] . unexpected pos 64 vs 0"), True)],
)  # fmt: skip
def test_only_a_place_of_the_store_stops_the_run_and_is_named(
    address: str, error: Callable[[str], Exception], stops: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(address.replace("OUT", str(tmp_path / "out")))
    monkeypatch.setattr(sham, "sham_step", breaking(error))
    if not stops:
        _, _, outcomes = sham.run(GRAPH, store, monkeypatch)
        assert any(type(error("")).__name__ in failed for outcome in outcomes for failed in outcome.failed.values())
        return
    place = store.root if store.local else tempfile.gettempdir()
    with pytest.raises(StorageError, match=f"Make room in {place}[, ]") as raised:
        sham.run(GRAPH, store, monkeypatch)
    assert "mock" not in str(raised.value)


def test_a_full_disk_on_the_way_to_a_bucket_is_named(disk: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store("mock:///out")
    store.probe()
    store._make_folder("artifacts/step-a-1")  # a bucket needs none
    (tmp_path / "weights").write_bytes(b"w" * 100_000)
    store.publish("step-a-1", tmp_path, {})
    monkeypatch.setattr(tempfile, "tempdir", str(disk("size=16k")))
    with pytest.raises(StorageError, match=rf"^{re.escape(tempfile.gettempdir())} on .* cannot be written .*No space left.*set TMPDIR"), store.fetch("step-a-1"):
        pass


@pytest.mark.parametrize("content", [b'{"question": "Does', b"", b"[]", b"{}", b"\xff"])
def test_a_damaged_summary_of_a_study_is_an_error_with_what_to_do(content: bytes, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.probe()
    store.write_study("sham", {"question": "?", "hypothesis": "."})
    assert store.study("sham") == {"question": "?", "hypothesis": "."} and store.study("other") is None
    store._write("studies/sham.json", content)
    with pytest.raises(StoreError, match=r"studies/sham.json is damaged \(.*\). Run the study again"):
        store.study("sham")


def test_the_report_shows_a_study_whose_summary_is_damaged_and_the_others(tmp_path: Path) -> None:
    store = synthetic_store.write(tmp_path, sources=["eng"], targets=["afr", "fin"], volumes=(0, 100))
    rows = store.results().filter(method="direct").to_dicts()
    store.write_rows("other", "others", "0" * 12, [row | {"study": "other"} for row in rows])
    store.write_study(synthetic_store.STUDY, {"question": "Is it shown?", "hypothesis": "It is."})
    store._write("studies/other.json", b'{"question": "Do')
    other, sound = sorted(report.make_report(store).studies, key=lambda study: study.name)
    assert "studies/other.json is damaged" in other.warnings[0] and other.settings
    assert sound.question == "Is it shown?" and not sound.warnings and sound.settings


# ---------------------------------------------------------------------------------------------------------------
# Two at once, in a bucket


@pytest.mark.parametrize("moment", ["before", "during", "after"])
def test_the_first_that_is_published_in_a_bucket_stays(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store("mock:///out")  # pyarrow's own, and not a local one
    store.probe()
    store._make_folder("artifacts/step-a-1")  # a bucket needs none
    upload = store._upload

    def publish(by: str) -> None:
        with store.scratch("step-a-1") as folder:
            for name in ("counts", "weights"):
                (folder / name).write_text(by)
            store.publish("step-a-1", folder, {"by": by})

    def overtaken(folder: Path, path: str) -> None:
        """The other's upload ends before this one, in its midst, or after it."""
        monkeypatch.setattr(store, "_upload", upload)
        if moment == "before":
            publish("first")
        store._write(f"{path}/counts", b"other")
        if moment == "during":
            publish("first")
        store._write(f"{path}/weights", b"other")
        if moment == "after":
            publish("first")

    monkeypatch.setattr(store, "_upload", overtaken)
    publish("other")
    assert store.record("step-a-1") == {"by": "first"}
    if moment == "after":
        publish("third")
        with store.fetch("step-a-1") as folder:
            assert {path.read_text() for path in folder.iterdir() if path.name != "step.json"} == {"first"}
    else:  # files of the one under the record of the other, were they not equal: found, and made again
        with pytest.raises(StoreError, match="is damaged: counts|is damaged: weights"), store.fetch("step-a-1"):
            pass


# ---------------------------------------------------------------------------------------------------------------
# Kills


def killed_before(moment: int, work: Callable[[], None]) -> bool:
    """Do the work in a process that is killed before the `moment`-th thing that it does to a file. Return whether it was."""
    if (process := os.fork()) == 0:
        left = iter(range(moment))
        # What Python is about to do to a file, it tells its audit hooks.
        sys.addaudithook(lambda event, _: event in TOUCHING and next(left, None) is None and os.kill(os.getpid(), signal.SIGKILL))
        work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def test_a_kill_while_a_checkpoint_is_replaced_leaves_a_whole_one(tmp_path: Path) -> None:
    def write(checkpoints: FolderCheckpoints, content: str) -> None:
        with checkpoints.writing() as folder:
            for name in ("plain.pt", "rank-0-of-1.pt"):
                (folder / name).write_text(content)

    kills = 0
    for leftover in (None, ".before", ".unfinished"):  # by a kill before this one
        for moment in count():
            checkpoints = FolderCheckpoints(tmp_path / f"{leftover}-{moment}" / "newest", every=1)
            write(checkpoints, "first")
            if leftover:
                shutil.copytree(checkpoints.folder, checkpoints.folder.with_name(f"newest{leftover}"))
            killed = killed_before(moment, lambda: write(checkpoints, "second"))  # noqa: B023
            with checkpoints.reading() as folder:
                assert folder and len({(folder / name).read_text() for name in ("plain.pt", "rank-0-of-1.pt")}) == 1
            write(checkpoints, "third")
            with checkpoints.reading() as folder:
                assert folder and {path.read_text() for path in folder.iterdir()} == {"third"}
            assert os.listdir(checkpoints.folder.parent) == ["newest"]
            if not killed:
                break
            kills += 1
    assert kills > 20
