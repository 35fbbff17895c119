"""Pieces of file names."""

import hashlib
import re

_UNFIT = re.compile(r"[^A-Za-z0-9+_-]")


def slug(*parts: str, length: int = 60) -> str:
    """Join `parts` to a piece of a file name: letters, digits, '+', '_' and '-'; cut where long."""
    return _UNFIT.sub("_", "-".join(filter(None, parts))[:length])


def digest(*parts: str) -> str:
    """12 hexadecimal digits that stand for several hashes together; the same whatever their order."""
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:12]
