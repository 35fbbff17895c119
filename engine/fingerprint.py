"""Fingerprints: a hash of all that decides a step's output.

The encoder takes only what has one stable form (dataclasses, mappings with text keys, sequences, text, numbers,
booleans, None) and raises on everything else: a callable, a set or an object with a default repr would give another
hash in another process, and work would be done twice or, worse, taken for done.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from engine.errors import SprachbundError


class FingerprintError(SprachbundError):
    """A recipe holds a value that has no stable form."""


def canonical(value: Any, where: str = "recipe") -> Any:
    """Return `value` as plain JSON data; a dataclass also carries its class's name.

    Raises FingerprintError for a callable, a set, a NaN or any other object, naming the field.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise FingerprintError(f"{where} is {value}: a fingerprint takes finite numbers only.")
        return value
    if is_dataclass(value) and not isinstance(value, type):
        named = {f.name: canonical(getattr(value, f.name), f"{where}.{f.name}") for f in fields(value)}
        return {"is": type(value).__name__} | named
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise FingerprintError(f"{where} has the key {key!r}: keys of a fingerprinted mapping are text.")
        return {key: canonical(value[key], f"{where}.{key}") for key in sorted(value)}
    if isinstance(value, tuple | list):
        return [canonical(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise FingerprintError(
        f"{where} is a {type(value).__name__} ({value!r}), which has no stable form, so its step could not be "
        "recognized again. Use text, numbers, booleans, None, and tuples, mappings or dataclasses of these."
    )


def fingerprint(value: Any) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of `value`'s canonical form.

    48 bits: among 100,000 steps the chance of one collision is about 2 in 100,000.
    """
    text = json.dumps(canonical(value), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
