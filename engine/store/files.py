"""Whole files under one folder or URL: read, written, listed, moved. What the files mean is `engine.store`'s.

A file appears whole or not at all: a local one under a temporary name and then renamed, an object of a bucket in one
upload. What may pass (a slow or failing server) is tried again; what will not is a StorageError, which stops a run.
"""

import os
import re
import shutil
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from pyarrow import fs

from engine.errors import StorageError, StoreError, did_you_mean
from engine.store.machine import alive, machine
from engine.store.names import digest
from engine.store.retry import full, retried

AT_ONCE = 16  # files read or deleted at a time
LOCAL = fs.LocalFileSystem()

Answer = TypeVar("Answer")
LONGEST_NAME = 255  # bytes, on every common file system
_UNNAMED = re.compile(r"[\x00-\x1f\x7f\\]")
_SECRET = re.compile(r":.*@|[?&][^=]*(?:secret|token|password|access_key|signature)", re.IGNORECASE | re.DOTALL)
_URL = re.compile(r"\s*([a-z][a-z0-9+.-]*):(/{0,2})([^/?]*)", re.IGNORECASE)
SCHEMES = ("file", "s3", "gs", "gcs", "mock")  # the last is pyarrow's own, in memory


class Tree:
    """The files under an address (file, s3, gs). Cheap to make; holds no connection open.

    Raises StoreError where the address cannot be understood, or is or lies under a file.
    """

    def __init__(self, address: str) -> None:
        refuse_secrets(str(address))
        try:
            self._fs, self.root = _filesystem(str(address))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise StoreError(f"--out {address}: not a folder or URL that can be opened ({error}).") from error
        self.local = isinstance(self._fs, fs.LocalFileSystem)
        if self.local and (file := next(filter(os.path.isfile, (self.root, *Path(self.root).parents)), None)):
            raise StoreError(f"--out {address}: {file} is a file: --out is a folder or a URL. Name another place.")
        # Absolute, for the workers' folder is another than the driver's.
        self.address = self.root if self.local else str(address).rstrip("/")

    def _at(self, path: str) -> str:
        """Where a path of the tree lies. Raises StoreError for one that would leave it, or that not every system can name."""
        if not inside(path):
            raise StoreError(f"{self.address}: {path!r} is no name inside of it.")
        return f"{self.root}/{path}"

    def _kind(self, path: str) -> fs.FileType:
        with self._reading():
            return retried(self._fs.get_file_info, self._at(path)).type

    def _names(self, folder: str) -> list[str]:
        return [file.base_name for file in self._list(folder) if file.type == fs.FileType.File]

    def _list(self, folder: str, recursive: bool = False) -> list[fs.FileInfo]:
        with self._reading():
            return retried(self._fs.get_file_info, fs.FileSelector(self._at(folder), True, recursive))

    def _sizes(self, folder: str) -> dict[str, int]:
        """The sizes of all files below a folder, by their names in it."""
        prefix = f"{self._at(folder)}/"
        return {file.path.removeprefix(prefix): file.size for file in self._list(folder, recursive=True) if file.type == fs.FileType.File}

    def _read(self, path: str) -> bytes:
        """A file's content. FileNotFoundError where it is not there, or went away since it was listed."""

        def read() -> bytes:
            with self._fs.open_input_stream(self._at(path)) as stream:
                return stream.read()

        try:
            return retried(read)
        except FileNotFoundError:
            raise
        except OSError as error:
            if self._kind(path) == fs.FileType.NotFound:  # a bucket says so late
                raise FileNotFoundError(path) from error
            raise self._unreadable(error) from error

    def _write(self, path: str, content: bytes | pa.Buffer) -> None:
        """Write a file that is there whole or not at all."""
        final = self._at(path)
        folder, _, name = final.rpartition("/")
        target = f"{folder}/{temporary(name)}" if self.local else final

        def write() -> None:
            with self._fs.open_output_stream(target) as stream:
                stream.write(content)

        with self._writing():
            try:
                retried(write)
                if self.local:
                    os.replace(target, final)
            except OSError:
                if self.local:
                    Path(target).unlink(missing_ok=True)
                raise

    def _delete(self, path: str) -> None:
        with self._writing(), suppress(FileNotFoundError):
            retried(self._fs.delete_file, self._at(path))

    def _make_folder(self, path: str) -> None:
        with self._writing():
            retried(self._fs.create_dir, self._at(path), recursive=True)

    def _delete_folder(self, path: str) -> None:
        with self._writing():
            retried(self._fs.delete_dir, self._at(path))

    def _upload(self, folder: Path, path: str) -> None:
        """Copy a folder's files into the store. All of them: pyarrow 26 may leave one out without a word while S3 answers with errors."""
        sent = {file.relative_to(folder).as_posix(): file.stat().st_size for file in filter(Path.is_file, folder.rglob("*"))}

        def upload() -> None:
            fs.copy_files(str(folder), self._at(path), source_filesystem=LOCAL, destination_filesystem=self._fs)
            if lost := sorted(sent.items() - self._sizes(path).items()):
                raise OSError(f"NETWORK_CONNECTION: {lost[0][0]} did not arrive whole in {path}")  # tried again

        with self._writing():
            retried(upload)

    def _download(self, path: str, folder: str) -> None:
        with self._reading():
            retried(fs.copy_files, self._at(path), folder, source_filesystem=self._fs, destination_filesystem=LOCAL)

    def _move(self, path: str, to: str) -> bool:
        """Move a file or folder to a new place. Return whether this process did; False where it is gone."""
        kind, source, target = self._kind(path), self._at(path), self._at(to)
        folder = kind == fs.FileType.Directory
        if kind == fs.FileType.NotFound:
            return False
        self._make_folder(to if folder and not self.local else to.rpartition("/")[0])
        try:
            with self._writing():
                if self.local:
                    os.rename(source, target)
                elif folder:
                    retried(fs.copy_files, source, target, source_filesystem=self._fs, destination_filesystem=self._fs)
                    retried(self._fs.delete_dir, source)
                else:
                    retried(self._fs.copy_file, source, target)
                    retried(self._fs.delete_file, source)
        except StorageError:
            if self._kind(path) == fs.FileType.NotFound:  # another process was faster
                return False
            raise
        return True

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> StorageError:
        return self._no_way_through(error) or StorageError(f"--out {self.address}: cannot be read ({error}). Check the address and your access.")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._no_way_through(error) or StorageError(
                f"--out {self.address}: cannot be written ({error}). Make room, or name a folder or bucket that you may write to; "
                "what is done is kept, and the same command goes on."
            ) from error

    def _no_way_through(self, error: OSError) -> StorageError | None:
        """The error of a full disk of this machine, through which the files of a bucket pass; None for any other."""
        if self.local or not (place := full(error, [tempfile.gettempdir()])):
            return None
        return StorageError(
            f"{place} on {socket.gethostname()}, where files of {self.address} pass through, cannot be written ({error}). Make room "
            "there, or set TMPDIR to a larger folder; what is done is kept, and the same command goes on."
        )

    def _each(self, work: Callable[[str], Answer], names: Sequence[str]) -> list[Answer]:
        """Do the work for each name, many at a time: most of it is waiting."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(work, names))

    def _remove_temporaries_of_the_dead(self) -> None:
        """Remove what a killed process of this machine had begun and not finished."""
        here = re.compile(rf"\.tmp-{digest(machine())}-(\d+)-[0-9a-f]{{8}}-")
        for path in Path(self.root).glob("*/.tmp-*") if self.local else ():
            if (ours := here.match(path.name)) and not alive(int(ours[1])):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def inside(path: str) -> bool:
    """Whether a path of names with slashes between stays inside of its folder, wherever that lies."""
    names = path.split("/")
    return all(name not in ("", ".", "..") and len(name.encode(errors="replace")) <= LONGEST_NAME for name in names) and not _UNNAMED.search(path)


def refuse_secrets(address: str) -> None:
    """Raise StoreError for an address with a key or password in it, which would stand in logs, reports and processes' lists.

    A secret may itself hold slashes, so whatever stands between a colon and an @ is taken for one, but in a folder's path that
    begins with a slash, a dot or ~. Nothing of the address but a known scheme is repeated.
    """
    plain = address.strip()
    if not re.match(r"/(?!/)|[.~]", plain) and _SECRET.search(plain):
        known = next((f"{scheme}://" for scheme in SCHEMES if plain.lower().startswith(f"{scheme}:")), "")
        raise StoreError(
            f"--out {known}...: the address holds a key or password, which would stand in logs and reports. Give keys in the "
            "environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) or in ~/.aws, on every node, or by its role."
        )


def temporary(name: str) -> str:
    """A name that tells whose work in progress it is."""
    return f".tmp-{digest(machine())}-{os.getpid()}-{uuid.uuid4().hex[:8]}-{name}"


def _filesystem(address: str) -> tuple[fs.FileSystem, str]:
    url = _URL.match(address)
    if not url or (url[1] not in SCHEMES and url[2] != "//"):
        return LOCAL, str(Path(address).resolve())
    scheme, slashes, bucket = url.groups()
    if scheme not in SCHEMES:
        hint = did_you_mean(scheme, SCHEMES)
        raise StoreError(f"--out {address}: {scheme} is no place for a store, which is a folder, or a URL of s3, gs or file.{hint}")
    if slashes != "//" or address != address.strip():
        raise StoreError(f"--out {address!r}: a URL begins with {scheme}:// and has no blanks around it.")
    if not bucket and scheme not in ("file", "mock"):
        raise StoreError(f"--out {address}: names no bucket. Write {scheme}://BUCKET/FOLDER.")
    return fs.FileSystem.from_uri(address)
