"""The results of a store: the rows of cells, in files of their own or put together, and which of them count.

Many processes write, read and put together at once, without a lock: `engine.store.parts` says why nothing is lost.
"""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from engine.errors import StoreError
from engine.records import without_collection
from engine.store.columns import COLUMNS
from engine.store.integrity import rows_fault
from engine.store.parts import Files, Place, Rows, cells_of, current, generation, places, to_merge, write_part
from engine.store.quarantine import AGAIN, Quarantine

COMPACT_ABOVE = 500  # row files; so many are read in a second
READS = 5  # tries to read the results while others put them together
BATCH = 1_000  # row files kept apart in memory, where each takes ten times its rows
UNPARSED = (pa.ArrowException, OSError, KeyError, TypeError, ValueError)  # what reading another file than ours may raise
ALWAYS = frozenset(COLUMNS.names[: COLUMNS.names.index("entity_type") + 1]) | {"status", "fingerprint"}  # since the first stores

Answer = TypeVar("Answer")


class Results(Quarantine):
    """The rows of cells, as one table."""

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

    @without_collection()
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
        moment, and many runs may do it at once while others write (`engine.store.parts` says why). Raises StoreError where a
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
        held_in: dict[str, set[Rows]] = {}
        for place in wanted:
            held_in.setdefault(place.file, set()).add(place.rows)
        names = sorted(held_in)
        cells, tables = [], [pa.Table.from_batches([], COLUMNS)]
        for start in range(0, len(names), BATCH):
            read = self._each(lambda name: self._rows_of(name, held_in[name]), names[start : start + BATCH])
            cells += [cell for held, _ in read for cell in held]
            batch = pa.concat_tables([table for _, table in read])
            tables.append(batch.combine_chunks() if len(read) > 1 else batch)
        return cells, pa.concat_tables(tables)

    def _rows_of(self, name: str, wanted: AbstractSet[Rows]) -> tuple[list[tuple[Rows, int]], pa.Table]:
        content = self._read(f"results/{name}")
        if fault := rows_fault(name, content=content):
            raise DamagedRows(self.address, name, fault)
        try:
            with pq.ParquetFile(pa.BufferReader(content)) as file:
                held, table = cells_of(name, file), _conformed(file.read())
        except UNPARSED as error:
            raise DamagedRows(self.address, name, str(error)) from error
        keep = [rows in wanted for rows, _ in held]
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


def _conformed(table: pa.Table) -> pa.Table:
    """A table of a time with fewer columns, with all. ValueError for one that this engine never wrote."""
    if table.schema == COLUMNS:
        return table
    there, nothing = set(table.column_names), pa.nulls(len(table))
    if lacking := sorted(ALWAYS - there):
        raise ValueError(f"it is no table of results: it has no column {lacking[0]}")
    columns = [(table[field.name] if field.name in there else nothing).cast(field.type) for field in COLUMNS]
    return pa.table(columns, schema=COLUMNS)


class DamagedRows(StoreError):
    """A file of results/ that is not what was written, or cannot be read."""

    def __init__(self, address: str, name: str, fault: str) -> None:
        super().__init__(f"{address}: results/{name} cannot be read ({fault}). {AGAIN}")
        self.fault = fault
