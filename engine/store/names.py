"""Pieces of file names."""

import hashlib
import re


def slug(*parts: str, length: int = 60) -> str:
    """Join `parts` to a piece of a file name: letters, digits, '+', '_' and '-'; cut where long."""
    text = "-".join(part for part in parts if part)
    return re.sub(r"[^A-Za-z0-9+_-]", "_", text[:length])


def digest(*parts: str) -> str:
    """12 hexadecimal digits that stand for several hashes together; the same whatever their order."""
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:12]
