"""The artifacts of a store: each a folder of files that appears whole, with a step.json that tells what must be in it."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from pyarrow import fs

from engine.errors import StoreError
from engine.store.files import temporary
from engine.store.integrity import folder_fault, sealed, size_fault, sizes_in, unsealed
from engine.store.quarantine import AGAIN, Quarantine

COPIES = 4  # artifacts of a remote store that a process keeps on its disk


class Artifacts(Quarantine):
    """The outputs of steps, by the names that their fingerprints give them."""

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
        return size_fault(files, self._sizes(f"artifacts/{artifact}"))

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
        """Make the files of a scratch folder the artifact, with `record` as its step.json. The first one stays.

        A local folder is moved in whole. In a bucket step.json is uploaded last, and nothing where one is seen: before the
        upload and after it, for pyarrow has no conditional put. So two that upload at the same time may leave some files of the
        one and some of the other, or the later step.json. Steps are deterministic, so these are mostly equal; where they are
        not, the checksums in step.json find them as damage, and the step is done again.
        """
        target, content = self._at(f"artifacts/{artifact}"), sealed(record, folder)
        if not self.local:
            if not self.has(artifact):
                self._upload(folder, f"artifacts/{artifact}")
            if not self.has(artifact):
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


class _Copy(tempfile.TemporaryDirectory[str]):
    """A remote artifact's files on this machine. The folder goes with the last that holds this. `fault`: what is wrong."""

    def __init__(self, store: Artifacts, artifact: str) -> None:
        super().__init__(prefix="sprachbund-")
        store._download(f"artifacts/{artifact}", self.name)
        self.fault = folder_fault(Path(self.name))


_local_copy = lru_cache(maxsize=COPIES)(_Copy)
