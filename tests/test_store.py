"""The store: files are there whole or not at all, a cell counts once, and nothing done is lost."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from engine.errors import StoreError
from engine.store import Store, files, slug
from engine.store.parts import Rows


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "out"))
    store.probe()
    return store


def row(moment: int, **values: object) -> dict[str, object]:
    """A row that was finished so many milliseconds after 1970 began."""
    finished = datetime.fromtimestamp(moment / 1000, UTC)
    return {"study": "s", "entity_type": "ALL", "status": "done", "finished": finished} | values


def test_an_artifact_appears_with_its_record_or_not_at_all(store: Store) -> None:
    with store.scratch("step-a-1") as folder:
        (folder / "weights").write_bytes(b"w")
        assert not store.has("step-a-1") and store.artifacts() == set()
        store.publish("step-a-1", folder, {"kind": "step"})
    with pytest.raises(RuntimeError), store.scratch("step-b-2") as folder:
        (folder / "weights").write_bytes(b"half")
        raise RuntimeError
    assert store.artifacts() == {"step-a-1"} and store.record("step-a-1") == {"kind": "step"}
    with store.fetch("step-a-1") as folder:
        assert (folder / "weights").read_bytes() == b"w"
    assert [path.name for path in Path(store.root, "artifacts").iterdir()] == ["step-a-1"]


def test_the_first_of_two_writers_wins(store: Store) -> None:
    for content in (b"first", b"second"):
        with store.scratch("step-a-1") as folder:
            (folder / "weights").write_bytes(content)
            store.publish("step-a-1", folder, {})
    with store.fetch("step-a-1") as folder:
        assert (folder / "weights").read_bytes() == b"first"


@pytest.mark.parametrize("tidy", [Store.probe, Store.compact])
def test_scratch_of_a_dead_process_is_removed(store: Store, tidy: Callable[[Store], None]) -> None:
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # it has ended; nobody asked for its exit code yet
    with store.scratch("step-a-1") as folder:
        dead = [folder.with_name(folder.name.replace(f"-{os.getpid()}-", f"-{pid}-")) for pid in (999_999_999, zombie.pid)]
        for left in dead:
            left.mkdir()
        tidy(store)
        assert folder.exists() and not any(left.exists() for left in dead)
    zombie.wait()


def test_scratch_of_another_machine_stays_whatever_its_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as there:  # a machine of the same host name, where process 999,999,999 is at work
        there.setattr(files, "machine", lambda: "another boot")
        there.setattr("os.getpid", lambda: 999_999_999)
        folder = Path(store.root, "artifacts", files.temporary("step-a-1"))
        folder.mkdir()
        there.undo()
    store.probe()
    assert folder.exists()
    monkeypatch.setattr(files, "machine", lambda: "another boot")
    store.probe()
    assert not folder.exists()


def test_a_remote_artifact_is_copied_once() -> None:
    store = Store("mock:///out")
    store.probe()
    store._fs.create_dir("out/artifacts/step-a-1")  # a bucket needs none
    with store.scratch("step-a-1") as folder:
        (folder / "weights").write_bytes(b"w")
        store.publish("step-a-1", folder, {})
    with store.fetch("step-a-1") as one, store.fetch("step-a-1") as other:
        assert one == other and (one / "weights").read_bytes() == b"w"


def test_newer_rows_of_a_cell_count_and_the_older_are_set_aside(store: Store) -> None:
    store.write_rows("cell", "aaa", "fp1", [row(1, status="failed", error="boom", fingerprint="fp1")])
    assert store.results()["status"].to_list() == ["failed"]
    store.write_rows("cell", "aaa", "fp1", [row(2, f1=0.5, fingerprint="fp1")])
    store.write_rows("cell", "aaa", "fp2", [row(3, f1=0.7, fingerprint="fp2")])
    assert store.results()["f1"].to_list() == [0.7]
    assert store.cells() == {"aaa": Rows(3, True, "fp2", "aaa")}
    store.compact()
    assert store.results()["f1"].to_list() == [0.7]
    [kept] = Path(store.root, "results", "superseded").iterdir()
    assert pl.read_parquet(kept).sort("finished")["status"].to_list() == ["failed", "done"]


def test_the_frame_has_the_schema_even_when_empty(store: Store) -> None:
    columns = (
        "study task dataset model form method sources n_sources target volume shots perturbation seed entity_type tp fp fn "
        "precision recall f1 position_free_f1 exact_match sentences entities exposure parse_failures truncated collapsed teacher_precision teacher_recall teacher_f1 gain "
        "source_f1 lml_source lml_target lml_difference lmem_source lmem_target lmem_difference word_overlap word_jaccard subword_overlap "
        "subword_jaccard ttr_distance entity_overlap fertility_source fertility_target fertility_difference unknown_source unknown_target "
        "unknown_difference alignment_cosine alignment_cka alignment_retrieval alignment_distance alignment_procrustes identity_weight "
        "teacher_entropy teacher_agreement train_data pool_data test_data updates tokens seconds peak_memory status error recipe_version fingerprint "
        "scored finished"
    )
    assert store.results().columns == columns.split()
    assert store.results().is_empty()


@pytest.mark.parametrize("name", ["cell-aaa-fp1.parquet", "cell-aaa-fp1.123.parquet", "part1-0123456789ab.parquet"])
def test_an_unreadable_file_with_rows_is_named(store: Store, name: str) -> None:
    Path(store.root, "results", name).write_bytes(b"garbage")
    for read in (store.results, lambda: store.compact(above=0)):
        with pytest.raises(StoreError, match=name):
            read()
    assert Path(store.root, "results", name).read_bytes() == b"garbage"


def test_a_parquet_file_by_a_parts_name_that_is_none_is_an_error(store: Store) -> None:
    pl.DataFrame({"x": [1]}).write_parquet(Path(store.root, "results", "part1-0123456789ab.parquet"))
    assert store.cells() == {} and list(store.damaged()) == ["part1-0123456789ab.parquet"]
    with pytest.raises(StoreError, match="part1-0123456789ab"):
        store.results()


def test_rows_of_a_time_with_fewer_columns_and_shorter_names_are_read(store: Store) -> None:
    store.write_rows("cell", "aaa", "fp1", [row(1, f1=0.5), row(1, f1=0.25, entity_type="PER")])
    [file] = Path(store.root, "results").glob("*.parquet")
    pl.read_parquet(file).drop("gain", "tokens").write_parquet(file.with_name("old-bbb-fp1.parquet"))
    store.write_rows("cell", "ccc", "fp1", [row(2, f1=0.75)])
    for _ in range(2):
        assert store.cells()["bbb"] == Rows(0, True, "fp1", "bbb")
        frame = store.results()
        assert sorted(frame["f1"]) == [0.25, 0.25, 0.5, 0.5, 0.75] and frame["gain"].null_count() == 5
        store.compact(above=0)
    store.write_rows("cell", "bbb", "fp1", [row(3, f1=1.0)])
    assert sorted(store.results()["f1"]) == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("address", ["folder", "mock:///out"])  # the latter is pyarrow's own, and not a local one
def test_a_folder_without_its_record_is_no_artifact(tmp_path: Path, address: str) -> None:
    store = Store(str(tmp_path / address) if address == "folder" else address)
    store.probe()
    with store.scratch("step-a-1") as folder:
        (folder / "weights").write_bytes(b"w")
        if not store.local:
            store._fs.create_dir(f"{store.root}/artifacts/step-a-1")  # which a bucket does without
        store.publish("step-a-1", folder, {"kind": "step"})
    store.write_log("step-b-2", "a traceback")
    with store.scratch("step-c-3") as folder:
        assert not store.has("step-c-3") and store.artifacts() == {"step-a-1"}
    store._fs.create_dir(f"{store.root}/artifacts/step-d-4")
    assert not store.has("step-d-4") and store.artifacts() == {"step-a-1"}
    with store.fetch("step-a-1") as folder:
        assert (folder / "weights").read_bytes() == b"w"


def test_no_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no results"):
        Store(str(tmp_path / "nowhere")).results()


@pytest.mark.parametrize("address", ["{}/out", "{}/out/below/it", "file://{}/out"])
def test_a_file_in_the_way_is_an_error(tmp_path: Path, address: str) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StoreError, match="/out is a file: --out is a folder or a URL"):
        Store(address.format(tmp_path))
    with pytest.raises(StoreError, match="cannot be written"):
        store = Store(str(tmp_path / "store"))
        (tmp_path / "store").write_text("a file that came later")
        store.probe()


@pytest.mark.parametrize("name", ["../../etc", "a/b", "x" * 500, "naïve <script>", "con"])
def test_a_slug_is_a_plain_piece_of_a_file_name(name: str) -> None:
    made = slug(name)
    assert len(made) <= 60 and "/" not in made and "." not in made
