"""Checksums: how the store knows that a file is what was written. No I/O but on local files: `engine.store` reads and moves.

An artifact's step.json lists its files, each with its size and SHA-256, and ends with a seal of its own content. What
holds rows carries size and SHA-256 in its name: a listing shows a cut file, a reading any other damage. What a store
got before there were checksums has none, and is taken as it is where it can be parsed and has what it had then.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

RECORD = "step.json"
OLDEST = {"kind", "recipe", "figures"}  # what a record had before there were seals, and has still
Files = Mapping[str, tuple[int, str]]  # a file's path in the artifact's folder -> its bytes and SHA-256


def stamp(content: Any) -> str:
    """12 hexadecimal digits of the SHA-256 of bytes, for a file's name."""
    return sha256(content).hexdigest()[:12]


def rows_fault(name: str, size: int | None = None, content: Any = None) -> str | None:
    """What is wrong with a file of rows of this name, by its size or its content; None where nothing is known to be."""
    match = re.search(r"(?:\.(\d+)|^part\d+)-([0-9a-f]{12})(?:\.failed)?\.parquet$", name)
    if content is not None:
        size = len(content)
    if match and match[1] and size is not None and size != int(match[1]):
        return f"it has {size} bytes and was written with {match[1]}"
    if size == 0:
        return "it is empty"
    if match and content is not None and stamp(content) != match[2]:
        return "its content is not what was written (checksum)"
    return None


def sealed(record: Mapping[str, Any], folder: Path) -> bytes:
    """The content of step.json for a record and the files in a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    files = {path.relative_to(folder).as_posix(): _signature(path) for path in paths}
    plain = json.loads(json.dumps({**record, "files": files}))
    return json.dumps(plain | {"seal": _seal(plain)}, indent=1, sort_keys=True, ensure_ascii=False).encode()


def unsealed(content: bytes) -> tuple[dict[str, Any], Files]:
    """The record and the files that a step.json tells of. Raises ValueError where it is not as it was written."""
    try:
        record = json.loads(content)
    except RecursionError:
        record = None
    if not isinstance(record, dict):
        raise ValueError(f"{RECORD} holds no record")  # noqa: TRY004, it is the content that is wrong
    seal = record.pop("seal", None)
    if seal is not None and seal != _seal(record):
        raise ValueError(f"{RECORD} is not what was written (checksum)")
    files = _files(record.pop("files", {}))
    if seal is None and (files or not OLDEST <= record.keys()):
        raise ValueError(f"{RECORD} is not what was written (it has no seal)")
    return record, files


def _files(told: Any) -> Files:
    if not isinstance(told, dict) or not all(map(_is_signature, told.values())):
        raise ValueError(f"{RECORD} does not tell its files, each with size and checksum")
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in told):
        raise ValueError(f"{RECORD} names files outside of its folder")
    return {name: (size, digest) for name, (size, digest) in told.items()}


def _is_signature(told: Any) -> bool:
    return isinstance(told, list) and [type(part) for part in told] == [int, str]


def size_fault(files: Files, sizes: Mapping[str, int]) -> str | None:
    """What is wrong with an artifact whose files have these sizes."""
    for name, (size, _) in files.items():
        if name not in sizes:
            return f"{name} is missing"
        if sizes[name] != size:
            return f"{name} has {sizes[name]} bytes and was written with {size}"
    return None


def folder_fault(folder: Path) -> str | None:
    """What is wrong with an artifact in a local folder. Each file is read once a process, as long as it is not touched."""
    try:
        _, files = unsealed((folder / RECORD).read_bytes())
        if fault := size_fault(files, sizes_in(folder, files)):
            return fault
        wrong = (name for name, (_, digest) in files.items() if _signature(folder / name)[1] != digest)
        return next((f"{name} is not what was written (checksum)" for name in wrong), None)
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except ValueError as error:
        return str(error)


def sizes_in(folder: Path, names: Mapping[str, Any]) -> dict[str, int]:
    """The sizes of those of the files that are there."""
    return {name: path.stat().st_size for name in names if (path := folder / name).is_file()}


def _signature(path: Path) -> tuple[int, str]:
    known = path.stat()
    return known.st_size, _digest(path, known.st_ino, known.st_size, known.st_mtime_ns)


@lru_cache(maxsize=4096)
def _digest(path: Path, *_state: int) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _seal(record: Mapping[str, Any]) -> str:
    return stamp(json.dumps(record, sort_keys=True).encode())
