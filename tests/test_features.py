"""The design matrix: what becomes a row, what a column, and what is refused."""

import math
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from analysis.features import design, family, with_typology
from analysis.typology import DISTANCES, matrices
from engine.errors import DataError, StudyError
from engine.store import COLUMNS

TWO = (("deu", "Indo-European"), ("fin", "Uralic"))


def cell(sources: str, target: str, f1: float | None, **more: Any) -> dict[str, Any]:
    """One row of the results table."""
    row = dict.fromkeys(COLUMNS.names) | {
        "study": "s", "task": "ner", "dataset": "d", "model": "m", "form": "slots", "method": "direct", "sources": sources.split("+"),
        "n_sources": len(sources.split("+")), "target": target, "volume": 0, "shots": 0, "perturbation": "none", "seed": 0,
        "entity_type": "ALL", "f1": f1, "collapsed": f1 is not None and f1 < 0.05, "source_f1": 0.9, "status": "done",
        "finished": datetime(2026, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    return row | more


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=pl.from_arrow(COLUMNS.empty_table()).schema)


def rows(frame: pl.DataFrame, *columns: str) -> list[tuple]:
    return frame.sort("target", "source", "volume", "method").select(columns).rows()


def test_a_row_is_the_mean_over_seeds_and_a_type_s_row_is_none():
    made = design(table(
        cell("eng", "deu", 0.5), cell("eng", "deu", 0.7, seed=1), cell("eng", "deu", 0.1, entity_type="LOC"), cell("eng", "nld", 0.4),
    ))  # fmt: skip
    assert rows(made.frame, "source", "target", "f1", "seeds") == [("eng", "deu", 0.6, 2), ("eng", "nld", 0.4, 1)]


def test_the_share_of_the_ceiling_is_null_where_there_is_none():
    made = design(table(
        cell("eng", "deu", 0.4), cell("eng", "nld", 0.4), cell("eng", "fin", 0.4), cell("eng", "hun", 0.4),
        cell("deu", "deu", 0.7, method="in-language"), cell("deu", "deu", 0.9, method="in-language", seed=1),
        cell("nld", "nld", 0.8, method="in-language", model="other"), cell("fin", "fin", 0.01, method="in-language"),
        cell("hun", "hun", 0.0, method="in-language"),
    ))  # fmt: skip
    assert rows(made.frame, "target", "ceiling_share") == [("deu", 0.5), ("fin", None), ("hun", None), ("nld", None)]
    assert made.outcomes == ("f1", "ceiling_share")


def test_with_collapsed_runs_and_without():
    results = table(cell("eng", "deu", 0.6), cell("eng", "deu", 0.0, seed=1), cell("eng", "fin", 0.02), cell("eng", "nld", 0.5))
    both, without = design(results), design(results, collapsed=False)
    assert rows(both.frame, "target", "f1", "collapsed") == [("deu", 0.3, 1), ("fin", 0.02, 1), ("nld", 0.5, 0)]
    assert rows(without.frame, "target", "f1", "collapsed") == [("deu", 0.6, 0), ("nld", 0.5, 0)]


def test_roles():
    made = design(table(
        cell("eng", "deu", 0.5, method="teacher-student", volume=99, gain=0.1), cell("eng", "deu", 0.4),
        cell("eng", "fin", 0.3, method="teacher-student", volume=999, gain=-0.1), cell("eng", "fin", 0.3),
        cell("eng", "nld", None, status="failed", error="no memory", method="teacher-student", volume=99),
    ))  # fmt: skip
    assert made.outcomes == ("f1", "gain") and made.groups == ("method",) and made.failed == 1
    assert {"log_volume", "syntactic", "genetic"} <= set(made.covariates)
    assert not {"log_shots", "n_sources", "source_f1", "featural", "syntactic_nearest"} & set(made.covariates)
    assert rows(made.frame, "target", "family") == [(code, name) for code, name in TWO for _ in range(2)]
    assert made.frame.sort("target", "volume")["log_volume"].to_list() == pytest.approx([0, 2, 0, 3])


def test_sizes_and_measures_that_the_caller_joined():
    results = table(*(cell("eng", target, 0.5) for target in ("deu", "fin", "nld")))
    results = results.with_columns(labels=pl.Series([9, 99, None]), overlap=pl.Series([0.1, None, 0.3]))
    made = design(results, sizes=["labels"], measures=["overlap"])
    assert rows(made.frame, "log_labels", "overlap") == [(1.0, 0.1), (2.0, None), (None, 0.3)]
    assert {"log_labels", "overlap"} <= set(made.covariates)


def test_measures_that_the_study_asked_for_are_covariates():
    made = design(table(
        cell("eng", "deu", 0.5, alignment_cka=0.4, lml_source=2.0), cell("eng", "deu", 0.6, alignment_cka=0.6, lml_source=2.0, seed=1),
        cell("eng", "fin", 0.3, alignment_cka=0.1, lml_source=2.0),
    ))  # fmt: skip
    assert rows(made.frame, "target", "alignment_cka") == [("deu", 0.5), ("fin", 0.1)]
    assert "alignment_cka" in made.covariates and not {"lml_source", "word_overlap"} & set(made.covariates)


def test_the_distances_of_a_source_set():
    codes = ["deu", "tur", "fin"]
    frame = with_typology(pl.DataFrame({"source": ["deu+tur", "tur"], "target": ["fin", "fin"]}))
    for name, (values, coverage) in matrices(codes).items():
        each, known = values[:2, 2], coverage[:2, 2]
        assert frame[name].to_list() == pytest.approx([each.mean(), each[1]])
        assert frame[f"{name}_nearest"].to_list() == pytest.approx([each.min(), each[1]])
        assert frame[f"{name}_coverage"].to_list() == pytest.approx([known.mean(), known[1]])


def test_what_is_unknown_stays_null_and_does_not_hide_the_rest_of_a_set():
    frame = with_typology(pl.DataFrame({"source": ["hyw", "hyw+deu", "deu"], "target": ["nld"] * 3}))
    assert all(frame[name][0] is None and frame[name][1] == frame[name][2] for name in DISTANCES)
    assert frame["syntactic_coverage"][0] == 0 and frame["syntactic_coverage"][1] == frame["syntactic_coverage"][2] / 2


def test_a_table_keeps_its_rows_and_their_order():
    frame = pl.DataFrame({"from": ["fin", None, "deu", "fin"], "to": ["deu", "fin", "fin", "deu"], "n": [1, 2, 3, 4]})
    more = with_typology(frame, "from", "to")
    assert more.select(frame.columns).equals(frame)
    assert more["genetic"].to_list() == [1.0, None, 1.0, 1.0]


def test_a_column_is_not_written_over():
    frame = pl.DataFrame({"source": ["fin"], "target": ["deu"], "genetic": [0.5]})
    with pytest.raises(DataError, match="columns of these names already: genetic"):
        with_typology(frame)


def test_products_are_of_deviations():
    made = design(table(*(cell("eng", target, 0.5, volume=volume) for target in ("deu", "fin") for volume in (0, 9))))
    crossed = made.with_products([("log_volume", "genetic")])
    product = crossed.frame["log_volume:genetic"]
    assert crossed.covariates == (*made.covariates, "log_volume:genetic")
    assert product.sum() == pytest.approx(0, abs=1e-12) and product.abs().min() > 0
    assert math.isclose(product.abs().max(), 0.5 * (1 - made.frame["genetic"].min()) / 2)


@pytest.mark.parametrize(
    ("code", "name"),
    [("deu", "Indo-European"), ("x-fin", "Uralic"), ("cmn", "Sino-Tibetan"), ("grc", "Indo-European"), ("wbp", "Pama-Nyungan"), ("hyw", None)],
)
def test_families(code, name):
    assert family(code) == name


@pytest.mark.parametrize(
    ("results", "error", "message"),
    [
        (table(cell("eng", "deu", 0.5)).drop("volume"), DataError, "no column 'volume'"),
        (table(cell("eng", "deu", 0.5), cell("eng", "deu", 0.5)), DataError, "1 cells occur twice with one seed"),
        (table(cell("deu", "deu", 0.5, method="in-language")), DataError, "no finished cell of transfer"),
        (table(cell("eng", "germn", 0.5)), StudyError, "'germn' is no language code"),
    ],
)
def test_what_is_refused(results, error, message):
    with pytest.raises(error, match=message):
        design(results)
