"""Row files and parts: which rows of a cell count, and how the rows of many cells stand in one file.

Pure: `engine.store` reads and writes the files. A cell may stand in several of them: a worker writes new rows beside the
old ones, and compaction, killed or run twice, leaves copies. The greatest `Place` of a cell counts.

Why nothing is lost, however many put files together at once and are killed: a file is deleted only by who has seen, for
each cell in it, a greater place. A part is greater than all that was put into it (its generation is), so places are
never in a circle, and of all places that a cell ever had the greatest is still there.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from engine.store.integrity import stamp

CELLS = b"sprachbund.cells"  # in a part's metadata: its cells, each with the number of its rows, in the order of the rows
LARGEST = 500_000  # cells: larger parts are not put into others, for metadata of 100 MB are more than pyarrow reads


class Rows(NamedTuple):
    """One cell's rows, as far as the name of their file or the metadata of a part tell. The later are the greater.

    `finished`: milliseconds since 1970 by the clock of the machine that wrote them, and later than the rows that they replace,
    whatever its clock says.
    """

    finished: int
    done: bool
    fingerprint: str
    cell: str

    def file(self, about: str, content: pa.Buffer) -> str:
        """The name of a file with these rows alone; `about` is for people. It tells the content's size and checksum."""
        status = "" if self.done else ".failed"
        return f"{about}-{self.cell}-{self.fingerprint}.{self.finished}.{content.size}-{stamp(content)}{status}.parquet"

    @classmethod
    def parse(cls, name: str) -> "Rows | None":
        """Read what `file` gives, None from another name. Names of the first stores tell no time: such rows are old."""
        form = r"(?!\.).+-([^-.]+)-([^-.]+?)(?:\.(\d+)(?:\.\d+-[0-9a-f]{12})?)?(\.failed)?\.parquet"
        match = re.fullmatch(form, name)
        return cls(int(match[3] or 0), not match[4], match[2], match[1]) if match else None


Files = Mapping[str, Sequence[Rows]]  # a file's name -> the cells whose rows it holds


class Place(NamedTuple):
    """Rows and where they stand. `generation` is the file's."""

    rows: Rows
    generation: int
    file: str


def generation(name: str) -> int:
    """How often what a part of this name holds was put together; 0 for a file that is no part."""
    match = re.fullmatch(r"part([1-9]\d*)-[0-9a-f]{12}\.parquet", name)
    return int(match[1]) if match else 0


def places(files: Files) -> Iterator[Place]:
    """All places of all cells."""
    for name, held in files.items():
        depth = generation(name)
        for rows in held:
            yield Place(rows, depth, name)


def current(files: Files) -> dict[str, Place]:
    """The place that counts, by cell."""
    best: dict[str, Place] = {}
    for place in places(files):
        cell = place.rows.cell
        if cell not in best or best[cell] < place:
            best[cell] = place
    return best


def to_merge(files: Files, best: Mapping[str, Place], above: int) -> list[str]:
    """The files to be put together: none, unless there are more than `above` row files or rows that do not count.

    Then all row files, the parts with rows that do not count, and every part that is no larger than what is put
    together anyway: so the number of parts grows with the logarithm of the number of cells.
    """
    single = {name for name in files if not generation(name)}
    outdated = {place.file for place in places(files) if best[place.rows.cell] != place}
    if len(single) <= above and not outdated:
        return []
    merged = single | outdated
    size = sum(place.file in merged for place in best.values())
    for name in sorted(files.keys() - merged, key=lambda name: len(files[name])):
        if len(files[name]) <= min(size, LARGEST):
            merged.add(name)
            size += len(files[name])
    return sorted(merged)


def write_part(cells: Sequence[tuple[Rows, int]], table: pa.Table, depth: int) -> tuple[str, pa.Buffer]:
    """The name and content of a part of generation `depth`.

    `cells`: each with the number of its rows, in the order of `table`'s rows. Equal content has an equal name: who does
    the same work again replaces a file by its like.
    """
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({CELLS: json.dumps([[*rows, number] for rows, number in cells]).encode()})
    content = sink.getvalue()
    return f"part{depth}-{stamp(content)}.parquet", content


def cells_of(name: str, file: pq.ParquetFile) -> list[tuple[Rows, int]]:
    """The cells of a row file or part, each with the number of its rows. KeyError where a part does not tell."""
    if rows := Rows.parse(name):
        return [(rows, file.metadata.num_rows)]
    return [(Rows(*known), number) for *known, number in json.loads(file.metadata.metadata[CELLS])]
