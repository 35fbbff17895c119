"""The store: a folder or bucket with artifacts and Parquet results, the only truth about what is done.

    <out>/artifacts/<kind>-<slug>-<fingerprint>/   a step's output; its step.json is written last and marks it done
    <out>/results/<slug>-<cell>-<fingerprint>.<finished>.<size>-<hash>.parquet  the rows of one finished cell
    <out>/results/<the same>.failed.parquet        the row of one failed cell
    <out>/results/part<generation>-<hash>.parquet  the rows of many cells, put together by `Store.compact`
    <out>/results/superseded/                      rows in whose place later ones of the same cell have come
    <out>/studies/<name>.json                      the last plan of each study, for the report
    <out>/leases/<run>.json                        what each run does at the moment (`engine.leases`)
    <out>/quarantine/<when>/                       what was found damaged, each with a line why.txt; never deleted

How files are read and written, `engine.files` knows, whether a file is what was written, `engine.integrity`, and which rows
of a cell count, `engine.parts`. Nothing here knows what a step does.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from engine.errors import StoreError
from engine.files import Tree, temporary
from engine.integrity import folder_fault, rows_fault, sealed, size_fault, sizes_in, unsealed
from engine.parts import Files, Place, Rows, cells_of, current, generation, places, to_merge, write_part

COMPACT_ABOVE = 500  # row files; so many are read in a second
READS = 5  # tries to read the results while others put them together
AT_ONCE = 16  # files read or deleted at a time
COPIES = 4  # artifacts of a remote store that a process keeps on its disk
BATCH = 1_000  # row files kept apart in memory, where each takes ten times its rows
AGAIN = "Run the study again: the same command moves it to quarantine/ and does again what is lost."

UNPARSED = (pa.ArrowException, OSError, KeyError, ValueError)  # what reading a file that is no Parquet file may raise

Answer = TypeVar("Answer")

# Measures on a cell's languages, means over its sources; null where the study asked for none (engine.measured, docs/methods.md).
MEASURED = (
    "lml_source", "lml_target", "lml_difference", "lmem_source", "lmem_target", "lmem_difference",  # the base filling in masked text
    "word_overlap", "word_jaccard", "subword_overlap", "subword_jaccard", "ttr_distance",  # of unlabeled text
    "entity_overlap",  # of the target's test entities with the source's training text: it reads gold test labels
    "fertility_source", "fertility_target", "fertility_difference",  # subwords a word
    "unknown_source", "unknown_target", "unknown_difference",  # share of words with a piece that the tokenizer lacks
    "alignment_cosine", "alignment_cka", "alignment_retrieval", "alignment_distance", "alignment_procrustes",  # of parallel text
    "identity_weight",  # the source's among all sources of the study, by language identification
    "teacher_entropy", "teacher_agreement",  # of soft labels on the target's text; of students alone
)  # fmt: skip

# The results table, one row per cell x entity type. Identity first, then the counts, then where they came from.
COLUMNS = pa.schema(
    [
        ("study", pa.string()),  # the study's name
        ("task", pa.string()),  # ner, nli, qa
        ("dataset", pa.string()),
        ("model", pa.string()),  # hub id or name of the folder
        ("form", pa.string()),  # slots, sentinel, spans, encoder, text
        ("method", pa.string()),  # direct, teacher-student, multi-teacher..., in-language
        ("sources", pa.list_(pa.string())),  # sorted codes; the target itself for in-language
        ("n_sources", pa.int32()),
        ("target", pa.string()),
        ("volume", pa.int64()),  # unlabeled target sentences the student saw; 0 where there is no student
        ("shots", pa.int32()),  # labeled target sentences
        ("perturbation", pa.string()),  # of the test set; none, or as engine.data.perturb names it
        ("seed", pa.int32()),
        ("entity_type", pa.string()),  # of NLI the label; ALL for the whole
        ("tp", pa.int64()),  # spans right in borders and type; of NLI right answers, so that the F1 of ALL is the accuracy
        ("fp", pa.int64()),
        ("fn", pa.int64()),
        ("precision", pa.float64()),  # 0 where nothing was predicted, as seqeval counts
        ("recall", pa.float64()),
        ("f1", pa.float64()),  # of QA: SQuAD's, the mean over questions
        ("position_free_f1", pa.float64()),  # of NER: mT5's own span F1 (engine.tasks.spans) of the same answers
        ("exact_match", pa.float64()),  # of QA: share of questions answered word for word; tp, fp, fn are null there
        ("sentences", pa.int64()),  # of the test split: sentences, pairs or questions
        ("entities", pa.int64()),  # gold spans of this type in it
        ("exposure", pa.float64()),  # share of all its gold spans that the perturbation edited; null without one
        ("parse_failures", pa.int64()),  # answers that could not be read whole; always 0 in forms with one slot a word
        ("truncated", pa.float64()),  # share of test inputs that lost text to max_tokens; null in NER, which has windows
        ("collapsed", pa.bool_()),  # F1 over all types below 0.05, where there are entities; of NLI, one label for all
        ("teacher_precision", pa.float64()),  # the teacher, or all together, on the same test split; null where there is none
        ("teacher_recall", pa.float64()),
        ("teacher_f1", pa.float64()),
        ("gain", pa.float64()),  # f1 - teacher_f1
        ("source_f1", pa.float64()),  # the transferring model (the teacher, where there is one) on its sources' test
        *((name, pa.float64()) for name in MEASURED),
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
        ("scored", pa.string()),  # the artifact with the counts of each test sentence
        ("finished", pa.timestamp("ms", tz="UTC")),
    ]
)


class Store(Tree):
    """The artifacts and results under one folder or URL (file, s3, gs). Cheap to make; holds no connection open.

    Raises StoreError where the address cannot be understood, and its kind StorageError where files cannot be read or
    written for a reason outside of the study.
    """

    def probe(self) -> None:
        """Make the folders, and write, list, read and delete a file. Raises StoreError where one of these fails."""
        for folder in ("artifacts", "results", "studies", "leases"):
            self._make_folder(folder)
        with self.mark() as mark:
            if not self.sees(mark):
                raise StoreError(f"--out {self.address}: a file written there did not come back. Name another place.")
        self._remove_temporaries_of_the_dead()

    @contextmanager
    def mark(self) -> Iterator[str]:
        """Write a file for the block's time, and give its name. Whoever has the same store `sees` it."""
        name = f".probe-{uuid.uuid4().hex}"
        self._write(f"results/{name}", name.encode())
        try:
            yield name
        finally:
            self._delete(f"results/{name}")

    def sees(self, mark: str) -> bool:
        """Whether a mark stands in the listing and can be read."""
        return mark in self._names("results") and self._read(f"results/{mark}") == mark.encode()

    # Artifacts

    def artifacts(self) -> set[str]:
        """Names of the finished artifacts."""
        if self.local:  # a look at one file of each takes a tenth of listing all
            folder = Path(self.root, "artifacts")
            found = os.listdir(folder) if folder.is_dir() else ()
            return {name for name in found if not name.startswith(".") and os.path.isfile(f"{folder}/{name}/step.json")}
        files = (file.path.split("/") for file in self._list("artifacts", recursive=True) if file.base_name == "step.json")
        return {path[-2] for path in files if not path[-2].startswith(".")}

    def has(self, artifact: str) -> bool:
        """Whether the artifact of this name is finished."""
        return self._kind(f"artifacts/{artifact}/step.json") == fs.FileType.File

    def record(self, artifact: str) -> dict[str, Any]:
        """The artifact's step.json: its recipe, provenance and figures. Raises StoreError where it is damaged."""
        try:
            return unsealed(self._read(f"artifacts/{artifact}/step.json"))[0]
        except ValueError as error:
            raise StoreError(f"{self.address}: artifacts/{artifact} is damaged: {error}. {AGAIN}") from error

    def faults(self, artifacts: Sequence[str]) -> dict[str, str]:
        """Those of the finished artifacts that are damaged, by the names and sizes of their files; each with what is wrong."""
        faults = zip(artifacts, self._each(self._artifact_fault, artifacts), strict=True)
        return {name: fault for name, fault in faults if fault}

    def _artifact_fault(self, artifact: str) -> str | None:
        try:
            files = unsealed(self._read(f"artifacts/{artifact}/step.json"))[1]
        except ValueError as error:
            return str(error)
        except FileNotFoundError:  # another run moved it
            return None
        if self.local:
            return size_fault(files, sizes_in(Path(self._at(f"artifacts/{artifact}")), files))
        folder = f"artifacts/{artifact}"
        there = {file.path.partition(f"{folder}/")[2]: file.size for file in self._list(folder, recursive=True)}
        return size_fault(files, there)

    @contextmanager
    def fetch(self, artifact: str, quarantine: bool = False) -> Iterator[Path]:
        """Give a local folder with the artifact's files, not to be changed. If the store is remote, a copy for the block's time.

        The last copies stay for later blocks: a worker's steps often need the same base. Raises StoreError where a file is
        not what was written; with `quarantine`, which a run of the study asks for, the artifact is moved there.
        """
        copy = None if self.local else _local_copy(self, artifact)
        folder = Path(copy.name) if copy else Path(self._at(f"artifacts/{artifact}"))
        if fault := copy.fault if copy else folder_fault(folder):
            _local_copy.cache_clear()  # what is made anew has the same name
            moved = self.quarantine(f"artifacts/{artifact}", fault) if quarantine else None
            what = f"It was moved to {moved}: run the same command again, which makes it anew." if moved else AGAIN
            raise StoreError(f"{self.address}: artifacts/{artifact} is damaged: {fault}. {what}")
        yield folder

    @contextmanager
    def scratch(self, artifact: str) -> Iterator[Path]:
        """Give an empty local folder to build the artifact in; `publish` moves it in, else it is removed."""
        self._at(f"artifacts/{artifact}")
        parent = f"{self.root}/artifacts" if self.local else tempfile.gettempdir()
        folder = Path(parent, temporary(artifact))
        with self._writing():
            folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def checkpoints(self, artifact: str) -> Iterator[str]:
        """Give the folder or URL for a running step's checkpoints. It is removed when the step has ended well."""
        folder = f"artifacts/.run-{artifact}"
        address, mark, options = self.address.partition("?")
        yield f"{address}/{folder}{mark}{options}"
        if self._kind(folder) == fs.FileType.Directory:
            self._delete_folder(folder)

    def keep_checkpoint(self, artifact: str, folder: Path) -> None:
        """Copy a local folder's files into the store as the running step's newest checkpoint; the one before goes."""
        run, name, before = f"artifacts/.run-{artifact}", uuid.uuid4().hex, self._newest_checkpoint(artifact)
        self._make_folder(f"{run}/{name}")
        self._upload(folder, f"{run}/{name}")
        self._write(f"{run}/newest", name.encode())
        if before:
            self._delete_folder(f"{run}/{before}")

    @contextmanager
    def kept_checkpoint(self, artifact: str) -> Iterator[Path | None]:
        """Give a local copy of the running step's newest checkpoint; None where there is none."""
        if not (name := self._newest_checkpoint(artifact)):
            yield None
            return
        with tempfile.TemporaryDirectory(prefix="sprachbund-") as copy:
            self._download(f"artifacts/.run-{artifact}/{name}", copy)
            yield Path(copy)

    def _newest_checkpoint(self, artifact: str) -> str:
        try:
            return self._read(f"artifacts/.run-{artifact}/newest").decode()
        except FileNotFoundError:
            return ""

    def publish(self, artifact: str, folder: Path, record: Mapping[str, Any]) -> None:
        """Make the files of a scratch folder the artifact, with `record` as its step.json. First one wins."""
        target, content = self._at(f"artifacts/{artifact}"), sealed(record, folder)
        if not self.local:
            self._upload(folder, f"artifacts/{artifact}")
            self._write(f"artifacts/{artifact}/step.json", content)
            return
        with self._writing():
            (folder / "step.json").write_bytes(content)
        for last_try in (False, True):
            try:
                os.rename(folder, target)
            except OSError:
                if self.has(artifact):
                    return
                if last_try or not self.quarantine(f"artifacts/{artifact}", "a folder without its step.json"):
                    raise
            else:
                return

    def write_log(self, artifact: str, text: str) -> None:
        """Keep the traceback of a step that failed."""
        self._write(f"artifacts/{artifact}.log", text.encode())

    # Results

    def cells(self) -> dict[str, Rows]:
        """What counts of each cell, by its key; known without reading the rows. Damaged files do not count."""
        return self.survey()[0]

    def survey(self) -> tuple[dict[str, Rows], Mapping[str, str]]:
        """`cells`, and the files of results/ that a glance at sizes and ends shows to be damaged, each with what is wrong."""
        return self._consistent(lambda files, faults: ({cell: place.rows for cell, place in current(files).items()}, faults))

    def damaged(self) -> dict[str, str]:
        """The files of results/ that are damaged, each with what is wrong: all of them are read."""

        def read(files: Files, faults: Mapping[str, str]) -> dict[str, str]:
            names = sorted(files)
            return dict(faults) | {name: fault for name, fault in zip(names, self._each(self._fault, names), strict=True) if fault}

        return self._consistent(read)

    def _fault(self, name: str) -> str | None:
        try:
            self._rows_of(name, frozenset())
        except DamagedRows as error:
            return error.fault
        return None

    def write_rows(self, about: str, cell: str, fingerprint: str, rows: Sequence[Mapping[str, Any]], before: int = 0) -> None:
        """Write one cell's rows, all of one status and moment. Earlier rows of the cell no longer count.

        `before`: when the rows that these replace were written, in milliseconds since 1970. A clock that is behind it is not
        believed, or the old rows would count for ever.
        """
        finished, done = max(before + 1, round(rows[0]["finished"].timestamp() * 1000)), rows[0]["status"] == "done"
        moment = datetime.fromtimestamp(finished / 1000, UTC)
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist([{**row, "finished": moment} for row in rows], schema=COLUMNS), sink)
        content = sink.getvalue()
        self._write(f"results/{Rows(finished, done, fingerprint, cell).file(about, content)}", content)

    def results(self) -> pl.DataFrame:
        """The rows that count, sorted by the identity columns.

        Raises StoreError where there is no store, or a row file cannot be read.
        """
        if self._kind("results") != fs.FileType.Directory:
            raise StoreError(f"{self.address} holds no results: it has no folder results/. Run a study with --out first.")
        table = self._consistent(lambda files, faults: self._rows(current(self._sound(files, faults)).values())[1])
        return pl.from_arrow(table).sort(COLUMNS.names[: COLUMNS.names.index("entity_type") + 1])

    def compact(self, above: int = COMPACT_ABOVE) -> None:
        """Put row files together to one part, where there are more than `above` or some rows do not count any more.

        The latter move to results/superseded/; scratch of dead processes goes. The driver of a run calls it, not its workers. It may be killed at any
        moment, and many runs may do it at once while others write (`engine.parts` says why). Raises StoreError where a
        file cannot be read.
        """
        self._remove_temporaries_of_the_dead()  # a worker may outlive its killed driver, and the start of this run
        with suppress(FileNotFoundError):  # another run took the file: it is at this work
            files = self._sound(*self._index())
            best = current(files)
            merged = to_merge(files, best, above)
            depth = 1 + max(map(generation, merged), default=0)
            taken = {name: files[name] for name in merged}
            older = {place.rows: place for place in places(taken) if best[place.rows.cell].rows != place.rows}
            self._write_part("results/superseded", older.values(), depth)
            self._write_part("results", [place for place in best.values() if place.file in taken], depth)
            if merged:
                self._write("results/.turn", uuid.uuid4().hex.encode())  # after the writing, before the deleting: `_consistent`
            self._each(self._delete, [f"results/{name}" for name in merged])

    def _write_part(self, folder: str, wanted: Collection[Place], depth: int) -> None:
        if wanted:
            self._make_folder(folder)
            name, content = write_part(*self._rows(wanted), depth)
            self._write(f"{folder}/{name}", content)

    def _index(self) -> tuple[Files, dict[str, str]]:
        """The files with rows and whose rows they hold; and those that their size or end shows damaged, with what is wrong."""
        files: dict[str, list[Rows]] = {}
        faults: dict[str, str] = {}
        sizes = {file.base_name: file.size for file in self._list("results") if file.type == fs.FileType.File}
        parts = list(filter(generation, sizes))
        for name, size in sizes.items():
            if (rows := Rows.parse(name)) and not generation(name):
                files[name] = [rows]
            if (name in files or generation(name)) and (fault := rows_fault(name, size)):
                faults[name] = fault
        for name, held in zip(parts, self._each(self._cells, parts), strict=True):
            if isinstance(held, str):
                faults[name] = held
            else:
                files[name] = held
        return {name: held for name, held in files.items() if name not in faults}, faults

    def _sound(self, files: Files, faults: Mapping[str, str]) -> Files:
        """The files. Raises DamagedRows where some are damaged."""
        for name, fault in faults.items():
            raise DamagedRows(self.address, name, fault)
        return files

    def _consistent(self, read: Callable[[Files, Mapping[str, str]], Answer]) -> Answer:
        """What `read` makes of the files and of those that are damaged, read while none went away.

        A listing takes its time: it may miss a part, written where it has been, and the files put into it, deleted where
        it comes to. But `compact` turns results/.turn between the two.
        """
        for _ in range(READS):
            turn = self._turn()
            with suppress(FileNotFoundError):
                answer = read(*self._index())
                if turn == self._turn():
                    return answer
        raise StoreError(f"{self.address}/results changed in each of {READS} readings. Read it when fewer runs end at once.")

    def _turn(self) -> bytes:
        try:
            return self._read("results/.turn")
        except FileNotFoundError:
            return b""

    def _rows(self, wanted: Collection[Place]) -> tuple[list[tuple[Rows, int]], pa.Table]:
        """The rows at some places: the cells, each with the number of its rows, and the rows in that order."""
        wanted = set(wanted)
        names = sorted({place.file for place in wanted})
        cells, tables = [], [COLUMNS.empty_table()]
        for start in range(0, len(names), BATCH):
            read = self._each(lambda name: self._rows_of(name, wanted), names[start : start + BATCH])
            cells += [cell for held, _ in read for cell in held]
            tables.append(pa.concat_tables([table for _, table in read]).combine_chunks())
        return cells, pa.concat_tables(tables)

    def _rows_of(self, name: str, wanted: AbstractSet[Place]) -> tuple[list[tuple[Rows, int]], pa.Table]:
        content = self._read(f"results/{name}")
        if fault := rows_fault(name, content=content):
            raise DamagedRows(self.address, name, fault)
        try:
            with pq.ParquetFile(pa.BufferReader(content)) as file:
                held, table, depth = cells_of(name, file), file.read(), generation(name)
        except UNPARSED as error:
            raise DamagedRows(self.address, name, str(error)) from error
        if table.schema != COLUMNS:  # of a time with fewer columns
            there, nothing = set(table.column_names), pa.nulls(len(table))
            columns = [(table[field.name] if field.name in there else nothing).cast(field.type) for field in COLUMNS]
            table = pa.table(columns, schema=COLUMNS)
        keep = [Place(rows, depth, name) in wanted for rows, _ in held]
        if not all(keep):
            table = table.filter(pa.array(np.repeat(keep, [number for _, number in held])))
        return [cell for cell, kept in zip(held, keep, strict=True) if kept], table

    def _cells(self, name: str) -> list[Rows] | str:
        """The cells of a part, by its end; or what is wrong with it."""
        try:
            with self._fs.open_input_file(self._at(f"results/{name}")) as source, pq.ParquetFile(source) as file:
                return [rows for rows, _ in cells_of(name, file)]
        except FileNotFoundError:
            raise
        except UNPARSED:  # damage, or trouble with reading: the whole file tells, and is tried again
            content = self._read(f"results/{name}")
            if fault := rows_fault(name, content=content):
                return fault
            with pq.ParquetFile(pa.BufferReader(content)) as file:
                return [rows for rows, _ in cells_of(name, file)]

    # What is damaged

    def quarantine(self, path: str, fault: str) -> str | None:
        """Move a damaged file or folder out of the way, with a word of what is wrong. Return where; None where it is gone.

        It is under a folder of its own, so nothing that was moved before is overwritten. Two runs may do it at once.
        """
        place = f"quarantine/{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        if not self._move(path, f"{place}/{path}"):
            return None
        self._write(f"{place}/why.txt", f"{path}: {fault}\n".encode())
        return f"{place}/{path}"

    def quarantined(self) -> dict[str, str]:
        """What was moved to quarantine/ so far: where it lies, and what was found."""
        found = self._list("quarantine", recursive=True)
        notes = [file.path.removeprefix(f"{self.root}/") for file in found if file.base_name == "why.txt"]
        return {note.removesuffix("/why.txt"): self._read(note).decode().strip() for note in sorted(notes)}

    # The last plan of each study

    def write_study(self, name: str, summary: Mapping[str, Any]) -> None:
        """Keep a study's question, axes and plan for the report."""
        self._write(f"studies/{name}.json", json.dumps(summary, indent=1, ensure_ascii=False).encode())

    def studies(self) -> dict[str, dict[str, Any]]:
        """The kept summaries by study name."""
        names = [name for name in self._names("studies") if name.endswith(".json") and not name.startswith(".")]
        return {name.removesuffix(".json"): json.loads(self._read(f"studies/{name}")) for name in sorted(names)}

    # What each run says of itself

    def say(self, run: str, content: bytes) -> None:
        """Put a run's word in place of its last one."""
        self._write(f"leases/{run}", content)

    def said(self) -> dict[str, tuple[float, bytes]]:
        """The last word of each run, and when it was said: seconds by the store's clock."""
        files = [file for file in self._list("leases") if file.base_name.endswith(".json") and not file.base_name.startswith(".")]
        words = self._each(self._word, [file.base_name for file in files])
        return {file.base_name: (file.mtime_ns / 1e9, word) for file, word in zip(files, words, strict=True) if word is not None}

    def _word(self, run: str) -> bytes | None:
        with suppress(FileNotFoundError):  # taken back since it was listed
            return self._read(f"leases/{run}")

    def take_back(self, run: str) -> None:
        """Remove a run's word."""
        self._delete(f"leases/{run}")

    def _each(self, work: Callable[[str], Answer], names: Sequence[str]) -> list[Answer]:
        """Do the work for each name, many at a time: most of it is waiting."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(work, names))


class DamagedRows(StoreError):
    """A file of results/ that is not what was written, or cannot be read."""

    def __init__(self, address: str, name: str, fault: str) -> None:
        super().__init__(f"{address}: results/{name} cannot be read ({fault}). {AGAIN}")
        self.fault = fault


class _Copy(tempfile.TemporaryDirectory[str]):
    """A remote artifact's files on this machine. The folder goes with the last that holds this. `fault`: what is wrong."""

    def __init__(self, store: Store, artifact: str) -> None:
        super().__init__(prefix="sprachbund-")
        store._download(f"artifacts/{artifact}", self.name)
        self.fault = folder_fault(Path(self.name))


_local_copy = lru_cache(maxsize=COPIES)(_Copy)


def slug(*parts: str, length: int = 60) -> str:
    """Join `parts` to a piece of a file name: letters, digits, '+', '_' and '-'; cut where long."""
    text = "-".join(part for part in parts if part)
    return re.sub(r"[^A-Za-z0-9+_-]", "_", text[:length])


def digest(*parts: str) -> str:
    """12 hexadecimal digits that stand for several hashes together; the same whatever their order."""
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:12]
