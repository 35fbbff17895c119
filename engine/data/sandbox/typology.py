"""What is real in the sandbox: lang2vec's features of 16 languages. Nothing is made up here."""

from functools import cache
from typing import NamedTuple
from zipfile import ZipFile

import numpy as np

from engine.data import lang2vec
from engine.languages import SANDBOX_CODES

TRAITS, FAMILIES, DISTANCES = FILES = ("feature_predictions.npz", "family_features.npz", "geocoord_features.npz")
LANG2VEC_CODES = {"swa": "swh"}
WORLD_AGE = 60  # of the common ancestor of all families, in the units of `_age`
HALF_CIRCUMFERENCE_KM = 20015
PARAMETERS = (LANG2VEC_CODES, WORLD_AGE)


class Clade(NamedTuple):
    """A group of related sandbox languages (at the end of a lineage: one language), and when it split up."""

    members: str
    age: int


class Typology(NamedTuple):
    """One real language as lang2vec describes it.

    `traits`: the syntax, phonology and inventory features that hold (`*_knn`: the complete sets). `lineage`: its
    clades from the whole world down to itself. `neighbor`: the nearest sandbox language of another family, `km` away.
    """

    traits: frozenset[str]
    lineage: tuple[Clade, ...]
    neighbor: str
    km: int


@cache
def typologies() -> dict[str, Typology]:
    """The 16 real languages by ISO 639-3 code. Raises DataError where lang2vec is not installed."""
    traits = _holding(TRAITS)
    families = _holding(FAMILIES)
    distances = _distances()
    clades = _clades(families)
    result = {}
    for code in SANDBOX_CODES:
        lineage = tuple(
            sorted((c for c in clades if code in c.members.split("+")), key=lambda c: (-c.age, -len(c.members)))
        )
        strangers = [other for other in SANDBOX_CODES if not families[code] & families[other]]
        neighbor = min(strangers, key=lambda other: (distances[code, other], other))
        result[code] = Typology(traits[code], lineage, neighbor, distances[code, neighbor])
    return result


def checksums() -> list[tuple[str, str, int]]:
    """(file, array, CRC-32) of all arrays read here, from their directories alone: milliseconds, not a second."""
    result = []
    for file in FILES:
        with ZipFile(lang2vec.folder() / file) as arrays:
            result += [(file, array.filename, array.CRC) for array in arrays.infolist()]
    return result


def _holding(file: str) -> dict[str, frozenset[str]]:
    """For each language the names of the features whose value is 1."""
    features, rows = _rows(file)
    return {
        code: frozenset(feature for feature, value in zip(features, row, strict=True) if value == 1)
        for code, row in zip(SANDBOX_CODES, rows.tolist(), strict=True)
    }


def _distances() -> dict[tuple[str, str], int]:
    """Great-circle kilometers between two languages.

    lang2vec gives each language's distances to 299 points as shares of half the circumference; by the triangle
    inequality the largest difference of two languages' distances to a point is a close lower bound of their own.
    """
    _, rows = _rows(DISTANCES)
    gaps = np.abs(rows[:, None] - rows[None]).max(axis=-1).tolist()
    return {
        (a, b): int(gaps[i][j] * HALF_CIRCUMFERENCE_KM)
        for i, a in enumerate(SANDBOX_CODES)
        for j, b in enumerate(SANDBOX_CODES)
    }


def _clades(families: dict[str, frozenset[str]]) -> list[Clade]:
    """The tree that the family features make: each distinct set of languages that share one, and each language."""
    groups = {
        tuple(code for code in SANDBOX_CODES if family in families[code])
        for family in frozenset.union(*families.values())
    }
    clades = [Clade("+".join(group), _age(group, families)) for group in sorted(groups) if len(group) > 1]
    return [Clade("+".join(SANDBOX_CODES), WORLD_AGE), *clades, *(Clade(code, 0) for code in SANDBOX_CODES)]


def _age(group: tuple[str, ...], families: dict[str, frozenset[str]]) -> int:
    """3 (closest) to 19 units: grows with the square of one minus the smallest Dice similarity of two members.

    In whole numbers, so that it is the same on every machine.
    """
    similarity = min(
        40 * len(families[a] & families[b]) // (len(families[a]) + len(families[b])) for a in group for b in group
    )
    return 3 + (20 - similarity) ** 2 // 24


def _rows(file: str) -> tuple[list[str], np.ndarray]:
    """Feature names, and float32 (16, features) in the order of SANDBOX_CODES."""
    features, rows, values = lang2vec.load(file)
    return features, values[[rows[LANG2VEC_CODES.get(code, code)] for code in SANDBOX_CODES]]
