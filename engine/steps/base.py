"""What a training step starts from: a pretrained checkpoint, or the output of a pretrain step."""

import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from engine.errors import ModelError
from engine.models.sizes import checkpoint
from engine.spec import Checkpoint, Site


def start(base: Checkpoint | str, inputs: Mapping[str, Path], site: Site) -> str:
    """Return the folder or hub id of a recipe's base. Raises ModelError where a folder is not the one that was planned with."""
    if not isinstance(base, Checkpoint):
        return str(inputs["base"])
    if base.name in site.models:
        _require_same(base, site.models[base.name])
        return site.models[base.name]
    return f"{base.name}@{base.version}"


def _require_same(base: Checkpoint, folder: str) -> None:
    if not Path(folder).is_dir() and not Path(folder).is_absolute():
        return  # a hub id, by which an export may name it
    if (version := _version(folder)) != base.version:
        raise ModelError(
            f"{folder} on {socket.gethostname()} is not the model that the study was planned with: the version of {base.name} was "
            f"{base.version} and is {version}. Run the study again to plan anew; all machines must see the same files there."
        )


@cache  # its files are read whole: once a process
def _version(folder: str) -> str:
    return checkpoint(folder).version if Path(folder).is_dir() else "none, for there is no such folder"
