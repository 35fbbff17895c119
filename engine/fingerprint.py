"""Fingerprints: a hash of all that decides a step's output.

The encoder takes only what has one stable form (dataclasses, mappings with text keys, sequences, text, numbers,
booleans, None) and raises on everything else: a callable, a set or an object with a default repr would give another
hash in another process, and work would be done twice or, worse, taken for done.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, cached_property
from hashlib import sha256
from json.encoder import encode_basestring_ascii as quoted
from operator import attrgetter
from types import NoneType
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
    """Return 12 hexadecimal digits of the SHA-256 of `value`'s canonical form as JSON: keys sorted, no blanks, ASCII.

    48 bits: among 100,000 steps the chance of one collision is about 2 in 100,000. Raises as `canonical`.
    """
    try:
        text = _text(value)
    except FingerprintError:
        canonical(value)  # says where
        raise
    return sha256(text.encode()).hexdigest()[:12]


class Part:
    """Base of the frozen dataclasses that stand in many recipes: the text of each instance is made once."""

    @cached_property
    def _canonical_text(self) -> str:
        return _dataclass_writer(type(self))(self)


def _text(value: Any) -> str:
    """What json.dumps makes of the canonical form, in a tenth of the time: a plan takes some 300,000 fingerprints."""
    return _WRITERS[type(value)](value)


class _Writers(dict[type, Callable[[Any], str]]):
    """The function that puts values of a class into text, by class: each is found when it is first asked for."""

    def __missing__(self, kind: type) -> Callable[[Any], str]:
        write = self[kind] = _writer(kind)
        return write


_WRITERS = _Writers()


def _writer(kind: type) -> Callable[[Any], str]:
    if issubclass(kind, Part):
        return attrgetter("_canonical_text")
    if is_dataclass(kind):
        return _dataclass_writer(kind)
    if issubclass(kind, Mapping):
        return _mapping_text
    writers: dict[Any, Callable[[Any], str]] = {
        str: quoted,
        bool: {True: "true", False: "false"}.__getitem__,
        int: int.__repr__,
        float: _float_text,
        NoneType: lambda _: "null",
        tuple | list: lambda items: "[" + ",".join([_WRITERS[type(item)](item) for item in items]) + "]",
    }
    for known, write in writers.items():
        if issubclass(kind, known):
            return write
    raise FingerprintError(f"A {kind.__name__} has no stable form.")


@cache
def _dataclass_writer(kind: type) -> Callable[[Any], str]:
    names = sorted(f.name for f in fields(kind))
    members = {name: f'"{name}":%s' for name in names} | {"is": f'"is":"{kind.__name__}"'}
    form = "{" + ",".join(members[name] for name in sorted(members)) + "}"
    if len(names) < 2:  # of which attrgetter makes no tuple
        return lambda value: form % tuple([_text(getattr(value, name)) for name in names])
    parts = attrgetter(*names)
    return lambda value: form % tuple([_WRITERS[type(part)](part) for part in parts(value)])


def _mapping_text(value: Mapping[str, Any]) -> str:
    if not all(isinstance(key, str) for key in value):
        raise FingerprintError("Keys of a fingerprinted mapping are text.")
    return "{" + ",".join([f"{quoted(key)}:{_text(value[key])}" for key in sorted(value)]) + "}"


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        raise FingerprintError("A fingerprint takes finite numbers only.")
    return float.__repr__(value)
