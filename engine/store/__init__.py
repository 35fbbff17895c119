"""The store: a folder or bucket with artifacts and Parquet results, the only truth about what is done.

    <out>/artifacts/<kind>-<slug>-<fingerprint>/   a step's output; its step.json is written last and marks it done
    <out>/results/<slug>-<cell>-<fingerprint>.<finished>.<size>-<hash>.parquet  the rows of one finished cell
    <out>/results/<the same>.failed.parquet        the row of one failed cell
    <out>/results/part<generation>-<hash>.parquet  the rows of many cells, put together by `Store.compact`
    <out>/results/superseded/                      rows in whose place later ones of the same cell have come
    <out>/studies/<name>.json                      each study as its last run asked for it, for the report
    <out>/leases/<run>.json                        what each run does at the moment (`engine.leases`)
    <out>/quarantine/<when>/                       what was found damaged, each with a line why.txt; never deleted

`artifacts`, `results` and `quarantine` each know their folder. `files`: how files are read and written, and `retry`, what is
tried again; `integrity`: whether a file is what was written; `parts`: which rows of a cell count; `columns`: the table's.
Nothing here knows what a step does.
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from engine.errors import StoreError
from engine.store.artifacts import Artifacts
from engine.store.columns import COLUMNS, MEASURED
from engine.store.names import digest, slug
from engine.store.results import DamagedRows, Results

__all__ = ["COLUMNS", "MEASURED", "DamagedRows", "Store", "digest", "slug"]


class Store(Artifacts, Results):
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

    # The last plan of each study

    def write_study(self, name: str, summary: Mapping[str, Any]) -> None:
        """Keep a study's question, axes and, once its run has ended, plan for the report."""
        self._write(f"studies/{name}.json", json.dumps(summary, indent=1, ensure_ascii=False).encode())

    def study(self, name: str) -> dict[str, Any] | None:
        """A study's kept summary, None where no run of it has begun. Raises StoreError where it is damaged."""
        try:
            kept = json.loads(self._read(f"studies/{name}.json"))
            if not isinstance(kept, dict) or not all(isinstance(kept.get(key), str) for key in ("question", "hypothesis")):
                raise ValueError("it holds no question and hypothesis")
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StoreError(
                f"{self.address}: studies/{name}.json is damaged ({error}). Run the study again, which writes it anew; its results are kept."
            ) from error
        return kept

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
