"""Sprachbund: an engine for large studies of cross-lingual transfer."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


def results(out: str) -> "pl.DataFrame":
    """Return the results table of `out` (a folder or URL) as a polars frame: one row per cell x entity type.

    The columns are those of `engine.store.COLUMNS`. Raises StoreError where there is no store.
    """
    from engine.store import Store  # polars and pyarrow are not needed to import the package

    return Store(out).results()
