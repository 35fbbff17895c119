"""The store: files are there whole or not at all, a cell counts once, and nothing done is lost."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.errors import StoreError
from engine.store import RowFile, Store, slug


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "out"))
    store.probe()
    return store


def row(**values: object) -> dict[str, object]:
    return {"study": "s", "entity_type": "ALL", "status": "done", "finished": datetime.now(UTC)} | values


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


def test_scratch_of_a_dead_process_is_removed(store: Store) -> None:
    with store.scratch("step-a-1") as folder:
        dead = folder.with_name(folder.name.replace(f"-{__import__('os').getpid()}-", "-999999999-"))
        dead.mkdir()
        store.probe()
        assert folder.exists() and not dead.exists()


def test_newer_rows_of_a_cell_set_the_older_aside(store: Store) -> None:
    store.write_rows("cell", "aaa", "fp1", [row(status="failed", error="boom", fingerprint="fp1")])
    assert store.results()["status"].to_list() == ["failed"]
    store.write_rows("cell", "aaa", "fp1", [row(f1=0.5, fingerprint="fp1")])
    store.write_rows("cell", "aaa", "fp2", [row(f1=0.7, fingerprint="fp2")])
    assert store.results()["f1"].to_list() == [0.7]
    assert store.row_files() == [RowFile("cell-aaa-fp2.parquet", "aaa", "fp2", False)]
    kept = sorted(path.name for path in Path(store.root, "results", "superseded").iterdir())
    assert kept == ["cell-aaa-fp1.failed.parquet", "cell-aaa-fp1.parquet"]


def test_the_frame_has_the_schema_even_when_empty(store: Store) -> None:
    columns = (
        "study task dataset model form method sources n_sources target volume shots perturbation seed entity_type tp fp fn "
        "precision recall f1 sentences entities parse_failures collapsed teacher_precision teacher_recall teacher_f1 gain "
        "source_f1 train_data pool_data test_data updates tokens seconds peak_memory status error recipe_version fingerprint "
        "finished"
    )
    assert store.results().columns == columns.split()
    assert store.results().is_empty()


def test_an_unreadable_row_file_is_named(store: Store) -> None:
    Path(store.root, "results", "cell-aaa-fp1.parquet").write_bytes(b"garbage")
    with pytest.raises(StoreError, match=r"cell-aaa-fp1\.parquet"):
        store.results()


def test_no_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no results"):
        Store(str(tmp_path / "nowhere")).results()


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(str(tmp_path / "out")).probe()


@pytest.mark.parametrize("name", ["../../etc", "a/b", "x" * 500, "naïve <script>", "con"])
def test_a_slug_is_a_plain_piece_of_a_file_name(name: str) -> None:
    made = slug(name)
    assert len(made) <= 60 and "/" not in made and "." not in made
