"""What a training step starts from: a pretrained checkpoint, or the output of a pretrain step."""

from collections.abc import Mapping
from pathlib import Path

from engine.spec import Checkpoint, Site


def start(base: Checkpoint | str, inputs: Mapping[str, Path], site: Site) -> str:
    """Return the folder or hub id of a recipe's base."""
    if not isinstance(base, Checkpoint):
        return str(inputs["base"])
    if base.name in site.models:
        return site.models[base.name]
    return f"{base.name}@{base.version}"
