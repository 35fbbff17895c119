"""The store: a folder or bucket with artifacts and Parquet results, the only truth about what is done.

    <out>/artifacts/<kind>-<slug>-<fingerprint>/   a step's output; its step.json is written last and marks it done
    <out>/results/<slug>-<cell>-<fingerprint>.parquet         the rows of one finished cell
    <out>/results/<slug>-<cell>-<fingerprint>.failed.parquet  the row of one failed cell
    <out>/studies/<name>.json                      the last plan of each study, for the report

Files appear whole or not at all: local ones under a temporary name and then renamed, objects of a bucket in one
upload. Nothing here knows what a step does.
"""

import hashlib
import json
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from engine.errors import StoreError

# The results table, one row per cell x entity type. Identity first, then the counts, then where they came from.
COLUMNS = pa.schema(
    [
        ("study", pa.string()),  # the study's name
        ("task", pa.string()),
        ("dataset", pa.string()),
        ("model", pa.string()),  # hub id or name of the folder
        ("form", pa.string()),  # slots, encoder
        ("method", pa.string()),  # direct, teacher-student, in-language
        ("sources", pa.list_(pa.string())),  # sorted codes; the target itself for in-language
        ("n_sources", pa.int32()),
        ("target", pa.string()),
        ("volume", pa.int64()),  # unlabeled target sentences the student saw; 0 where there is no student
        ("shots", pa.int32()),  # labeled target sentences
        ("perturbation", pa.string()),  # of the test set
        ("seed", pa.int32()),
        ("entity_type", pa.string()),  # ALL for the whole
        ("tp", pa.int64()),  # spans right in borders and type
        ("fp", pa.int64()),
        ("fn", pa.int64()),
        ("precision", pa.float64()),  # 0 where nothing was predicted, as seqeval counts
        ("recall", pa.float64()),
        ("f1", pa.float64()),
        ("sentences", pa.int64()),  # of the test split
        ("entities", pa.int64()),  # gold spans of this type in it
        ("parse_failures", pa.int64()),  # answers that could not be read; always 0 in forms with one slot a word
        ("collapsed", pa.bool_()),  # F1 over all types below 0.05, where there are entities
        ("teacher_precision", pa.float64()),  # the teacher on the same test split; null where there is none
        ("teacher_recall", pa.float64()),
        ("teacher_f1", pa.float64()),
        ("gain", pa.float64()),  # f1 - teacher_f1
        ("source_f1", pa.float64()),  # the transferring model (the teacher, where there is one) on its sources' test
        ("train_data", pa.string()),  # hash of the labeled training splits
        ("pool_data", pa.string()),  # hash of the unlabeled pool; null where none was used
        ("test_data", pa.string()),  # hash of the test split
        ("updates", pa.int64()),  # optimizer steps of the model that was scored
        ("tokens", pa.int64()),  # real (not padded) input subwords it was trained on
        ("seconds", pa.float64()),  # wall time of that training
        ("peak_memory", pa.int64()),  # bytes: the process's (CPU) or device's (GPU) highest
        ("status", pa.string()),  # done, failed
        ("error", pa.string()),  # what failed; null when done
        ("recipe_version", pa.int32()),  # of the training step that was scored
        ("fingerprint", pa.string()),  # of everything that decided the row
        ("finished", pa.timestamp("ms", tz="UTC")),
    ]
)


@dataclass(frozen=True)
class RowFile:
    """One file of results/, known from its name alone: which cell, from which fingerprint, and whether it failed."""

    name: str
    cell: str
    fingerprint: str
    failed: bool

    @classmethod
    def parse(cls, name: str) -> "RowFile | None":
        """Read a file name; None for a file that is no row file."""
        stem, _, ending = name.partition(".")
        parts = stem.rsplit("-", 2)
        if len(parts) != 3 or ending not in ("parquet", "failed.parquet"):
            return None
        return cls(name, parts[1], parts[2], ending.startswith("failed"))


class Store:
    """The artifacts and results under one folder or URL (file, s3, gs). Cheap to make; holds no connection open.

    Raises StoreError where the address cannot be understood.
    """

    def __init__(self, address: str) -> None:
        try:
            self._fs, self.root = _filesystem(str(address))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise StoreError(f"--out {address}: not a folder or URL that can be opened ({error}).") from error
        self.local = isinstance(self._fs, fs.LocalFileSystem)
        # Absolute, for the workers' folder is another than the driver's.
        self.address = self.root if self.local else str(address).rstrip("/")

    def probe(self) -> None:
        """Make the folders, and write, list, read and delete a file. Raises StoreError where one of these fails."""
        name, content = f".probe-{uuid.uuid4().hex}", b"probe"
        with self._writing():
            for folder in ("artifacts", "results", "studies"):
                self._fs.create_dir(f"{self.root}/{folder}", recursive=True)
            self._write(f"results/{name}", content)
            seen = name in self._names("results") and self._read(f"results/{name}") == content
            self._fs.delete_file(f"{self.root}/results/{name}")
        if not seen:
            raise StoreError(f"--out {self.address}: a file written there did not come back. Name another place.")
        if self.local:
            self._remove_scratch_of_the_dead()

    # Artifacts

    def artifacts(self) -> set[str]:
        """Names of the finished artifacts."""
        files = (file.path.split("/") for file in self._list("artifacts", recursive=True) if file.base_name == "step.json")
        return {path[-2] for path in files if not path[-2].startswith(".")}

    def has(self, artifact: str) -> bool:
        """Whether the artifact of this name is finished."""
        return self._fs.get_file_info(f"{self.root}/artifacts/{artifact}/step.json").type == fs.FileType.File

    def record(self, artifact: str) -> dict[str, Any]:
        """The artifact's step.json: its recipe, provenance and figures."""
        return json.loads(self._read(f"artifacts/{artifact}/step.json"))

    @contextmanager
    def fetch(self, artifact: str) -> Iterator[Path]:
        """Give a local folder with the artifact's files (downloaded for the block's time if the store is remote)."""
        folder = f"{self.root}/artifacts/{artifact}"
        if self.local:
            yield Path(folder)
            return
        with tempfile.TemporaryDirectory(prefix="sprachbund-") as copy:
            fs.copy_files(folder, copy, source_filesystem=self._fs, destination_filesystem=fs.LocalFileSystem())
            yield Path(copy)

    @contextmanager
    def scratch(self, artifact: str) -> Iterator[Path]:
        """Give an empty local folder to build the artifact in; `publish` moves it in, else it is removed."""
        parent = f"{self.root}/artifacts" if self.local else tempfile.gettempdir()
        folder = Path(parent, f".tmp-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}-{artifact}")
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def checkpoints(self, artifact: str) -> Iterator[str]:
        """Give the folder or URL for a running step's checkpoints. It is removed when the step has ended well."""
        folder = f"artifacts/.run-{artifact}"
        yield f"{self.address}/{folder}"
        if self._fs.get_file_info(f"{self.root}/{folder}").type == fs.FileType.Directory:
            self._fs.delete_dir(f"{self.root}/{folder}")

    def publish(self, artifact: str, folder: Path, record: Mapping[str, Any]) -> None:
        """Make the files of a scratch folder the artifact, with `record` as its step.json. First one wins."""
        content = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False).encode()
        if not self.local:
            target = f"{self.root}/artifacts/{artifact}"
            fs.copy_files(str(folder), target, source_filesystem=fs.LocalFileSystem(), destination_filesystem=self._fs)
            self._write(f"artifacts/{artifact}/step.json", content)
            return
        (folder / "step.json").write_bytes(content)
        try:
            os.rename(folder, f"{self.root}/artifacts/{artifact}")
        except OSError:
            if not self.has(artifact):
                raise

    def write_log(self, artifact: str, text: str) -> None:
        """Keep the traceback of a step that failed."""
        self._write(f"artifacts/{artifact}.log", text.encode())

    # Results

    def row_files(self) -> list[RowFile]:
        """The files of results/, read from their names alone."""
        files = (RowFile.parse(name) for name in self._names("results"))
        return [file for file in files if file is not None]

    def write_rows(self, about: str, cell: str, fingerprint: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write one cell's rows, then set aside what the store had for the cell under another fingerprint or status.

        Older rows move to results/superseded/: results() counts a cell once, and nothing done is lost.
        """
        failed = rows[0]["status"] == "failed"
        name = f"{about}-{cell}-{fingerprint}{'.failed' if failed else ''}.parquet"
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=COLUMNS), sink)
        older = [file.name for file in self.row_files() if file.cell == cell and file.name != name]
        self._write(f"results/{name}", sink.getvalue().to_pybytes())
        for old in older:
            self._fs.create_dir(f"{self.root}/results/superseded", recursive=True)
            self._fs.move(f"{self.root}/results/{old}", f"{self.root}/results/superseded/{old}")

    def results(self) -> pl.DataFrame:
        """All rows, sorted by the identity columns; of a cell written twice, the later one's.

        Raises StoreError where there is no store, or a row file cannot be read.
        """
        if self._fs.get_file_info(f"{self.root}/results").type != fs.FileType.Directory:
            raise StoreError(f"{self.address} holds no results: it has no folder results/. Run a study with --out first.")
        tables = [self._table(file.name) for file in self.row_files()]
        frame = pl.from_arrow(pa.concat_tables(tables) if tables else COLUMNS.empty_table())
        keys = COLUMNS.names[: COLUMNS.names.index("entity_type") + 1]
        return frame.sort("finished").unique(keys, keep="last").sort(keys)

    def _table(self, name: str) -> pa.Table:
        try:
            return pq.read_table(f"{self.root}/results/{name}", filesystem=self._fs, schema=COLUMNS)
        except (pa.ArrowException, OSError) as error:
            raise StoreError(
                f"{self.address}: results/{name} cannot be read ({error}). Move it away and run the study again: its "
                "cell is then redone from the artifacts."
            ) from error

    # The last plan of each study

    def write_study(self, name: str, summary: Mapping[str, Any]) -> None:
        """Keep a study's question, axes and plan for the report."""
        self._write(f"studies/{name}.json", json.dumps(summary, indent=1, ensure_ascii=False).encode())

    def studies(self) -> dict[str, dict[str, Any]]:
        """The kept summaries by study name."""
        names = [name for name in self._names("studies") if name.endswith(".json") and not name.startswith(".")]
        return {name.removesuffix(".json"): json.loads(self._read(f"studies/{name}")) for name in sorted(names)}

    # Files

    def _names(self, folder: str) -> list[str]:
        return [file.base_name for file in self._list(folder) if file.type == fs.FileType.File]

    def _list(self, folder: str, recursive: bool = False) -> list[fs.FileInfo]:
        try:
            return self._fs.get_file_info(fs.FileSelector(f"{self.root}/{folder}", True, recursive))
        except OSError as error:
            raise StoreError(f"--out {self.address}: cannot be read ({error}). Check the address and your access.") from error

    def _read(self, path: str) -> bytes:
        with self._fs.open_input_stream(f"{self.root}/{path}") as stream:
            return stream.read()

    def _write(self, path: str, content: bytes) -> None:
        """Write a file that is there whole or not at all."""
        final = f"{self.root}/{path}"
        folder, _, name = final.rpartition("/")
        target = f"{folder}/.tmp-{uuid.uuid4().hex[:8]}-{name}" if self.local else final
        with self._writing():
            with self._fs.open_output_stream(target) as stream:
                stream.write(content)
            if self.local:
                os.replace(target, final)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"--out {self.address}: cannot be written ({error}). Name a folder or bucket that you may write to."
            ) from error

    def _remove_scratch_of_the_dead(self) -> None:
        """Remove scratch folders that a killed process of this machine left behind."""
        here = f".tmp-{socket.gethostname()}-"
        for folder in Path(self.root, "artifacts").glob(f"{here}*"):
            process = folder.name.removeprefix(here).partition("-")[0]
            if process.isdigit() and not Path("/proc", process).exists() and Path("/proc").exists():
                shutil.rmtree(folder, ignore_errors=True)


def slug(*parts: str, length: int = 60) -> str:
    """Join `parts` to a piece of a file name: letters, digits, '+', '_' and '-'; cut where long."""
    text = "-".join(part for part in parts if part)
    return "".join(c if c.isascii() and (c.isalnum() or c in "+_-") else "_" for c in text)[:length]


def digest(*parts: str) -> str:
    """12 hexadecimal digits that stand for several hashes together; the same whatever their order."""
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:12]


def _filesystem(address: str) -> tuple[fs.FileSystem, str]:
    if "://" in address:
        return fs.FileSystem.from_uri(address)
    return fs.LocalFileSystem(), str(Path(address).resolve())
