"""lang2vec's arrays, read from its files. The package is found but never imported: its import needs a module that newer
setuptools no longer has.
"""

import importlib.util
from pathlib import Path

import numpy as np

from engine.errors import DataError


def folder() -> Path:
    """The folder of its files. Raises DataError where lang2vec is not installed."""
    spec = importlib.util.find_spec("lang2vec")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("Typology is read from lang2vec's arrays, and lang2vec is not installed: pip install lang2vec")
    return Path(spec.submodule_search_locations[0]) / "data"


def load(file: str) -> tuple[list[str], dict[str, int], np.ndarray]:
    """Return feature names, the row of each language, and (languages, features). Raises DataError as `folder`."""
    with np.load(folder() / file, allow_pickle=False) as arrays:
        rows = {code: row for row, code in enumerate(arrays["langs"].tolist())}
        return arrays["feats"].tolist(), rows, arrays["data"][:, :, 0]
