"""`python -m analysis.fit`: anybody's table of transfer results, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from analysis.fit import main

LANGUAGES = ["eng", "deu", "nld", "swe", "fra", "spa", "rus", "hin"]
ROLES = ["--outcome", "f1", "--source", "source", "--target", "target"]
QUICK = ["--no-typology", "--draws", "200"]


def table(effect: float = -0.3, languages: int = 5) -> pl.DataFrame:
    """All pairs of languages; F1 falls with `distance` by `effect`, and source and target have effects of their own."""
    rng = np.random.default_rng(0)
    ease, place = rng.normal(0, 0.05, languages), rng.uniform(size=(languages, 2))
    pairs = [(a, b) for a in range(languages) for b in range(languages) if a != b]
    distance = np.array([np.linalg.norm(place[a] - place[b]) for a, b in pairs])
    f1 = 0.7 + effect * distance + np.array([ease[a] + ease[b] for a, b in pairs]) + rng.normal(0, 0.02, len(pairs))
    names = {"source": [LANGUAGES[a] for a, _ in pairs], "target": [LANGUAGES[b] for _, b in pairs]}
    return pl.DataFrame(names | {"distance": distance, "f1": f1})


@pytest.fixture
def saved(tmp_path: Path):
    def save(frame: pl.DataFrame) -> str:
        frame.write_csv(tmp_path / "results.csv")
        return str(tmp_path / "results.csv")

    return save


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    out, error = capsys.readouterr()
    assert out == ""
    return error


def test_a_planted_effect_is_found_by_all_statistics(saved, capsys) -> None:
    found = run(capsys, saved(table(languages=8)), *ROLES, *QUICK, "--block", "far=distance")["analyses"][0]
    pearson = next(row for row in found["correlations"] if row["method"] == "pearson")
    assert pearson["r"] < -0.5
    assert pearson["p"] < 0.05
    slope = found["mixed"]["coefficients"][0]
    assert slope["low"] < -0.3 < slope["high"] < 0
    errors = {row["model"]: row["rmse"] for row in found["held_out"]["scores"]}
    assert errors["ridge"] < errors["target mean"]
    assert found["importance"][0]["block"] == "far"


def test_groups_are_analyzed_apart(saved, capsys) -> None:
    both = pl.concat([table(-0.3).with_columns(model=pl.lit("near")), table(0.3).with_columns(model=pl.lit("far"))])
    found = run(capsys, saved(both), *ROLES, *QUICK, "--groups", "model")["analyses"]
    signs = {part["group"]["model"]: np.sign(part["mixed"]["coefficients"][0]["estimate"]) for part in found}
    assert signs == {"near": -1, "far": 1}


def test_typology_is_joined_and_columns_may_have_any_name(saved, capsys) -> None:
    frame = table().rename({"source": "from", "target": "to", "f1": "score"})
    arguments = ["--outcome", "score", "--source", "from", "--target", "to", "--draws", "200", "--features", "distance"]
    found = run(capsys, saved(frame), *arguments)["analyses"][0]
    assert {"distance", "syntactic", "genetic", "geographic"} <= {row["feature"] for row in found["correlations"]}
    assert "nearest language" in {row["model"] for row in found["held_out"]["scores"]}


def test_the_tables_are_printed(saved, capsys) -> None:
    assert main([saved(table()), *ROLES, *QUICK]) == 0
    shown = capsys.readouterr().out
    for part in ("correlations", "mixed model", "target that was held out", "distance"):
        assert part in shown


def test_a_second_outcome_among_the_features_is_pointed_out(saved, capsys) -> None:
    notes = run(capsys, saved(table().with_columns(precision=pl.col("f1") * 0.9)), *ROLES, *QUICK)["analyses"][0]["notes"]
    assert any("precision" in note for note in notes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.rename({"f1": "f2"}), "did you mean 'f2'"),
        (lambda frame: frame.with_columns(f1=pl.when(pl.col("target") == "fra").then(float("nan")).otherwise("f1")), "4 of 20 rows"),
        (lambda frame: pl.concat([frame, frame.head(3)]), "share their source and target"),
        (lambda frame: frame.filter(pl.col("source") == "eng", pl.col("target") == "deu"), "fewer than 4"),
        (lambda frame: frame.with_columns(f1=pl.lit(0.5)), "nothing to explain"),
        (lambda frame: frame.head(0), "no rows"),
        (lambda frame: frame.with_columns(pl.lit("high").alias("f1")), "is a number"),
        (lambda frame: frame.with_columns(target=pl.col("target").replace("fra", None)), "4 rows have no target"),
        (lambda frame: frame.with_columns([(pl.col("distance") ** power).alias(f"x{power}") for power in range(2, 10)]), "9 predictors"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(saved, capsys, change, said: str) -> None:
    assert said in refused(capsys, saved(change(table())), *ROLES, *QUICK).replace("Did", "did")


def test_an_unknown_code_is_refused_with_the_nearest(saved, capsys) -> None:
    odd = table().with_columns(pl.col("source").replace("deu", "german"))
    assert "'deu' (German)" in refused(capsys, saved(odd), *ROLES)


@pytest.mark.parametrize("content", [b"", b"\x80\x03PAR1\x00\xff\xfe\x00", b"no table here"])
def test_what_is_no_csv_is_refused(tmp_path: Path, capsys, content: bytes) -> None:
    (tmp_path / "results.csv").write_bytes(content)
    assert refused(capsys, str(tmp_path / "results.csv"), *ROLES).startswith("error: ")
    assert refused(capsys, str(tmp_path / "absent.csv"), *ROLES).startswith("error: ")


def test_a_block_of_an_unknown_column_is_refused(saved, capsys) -> None:
    assert "NAME=COLUMN" in refused(capsys, saved(table()), *ROLES, *QUICK, "--block", "distance")
    assert "no column 'distanc'" in refused(capsys, saved(table()), *ROLES, *QUICK, "--block", "far=distanc")
