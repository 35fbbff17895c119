"""`python -m analysis.fit`: anybody's table of transfer results, and what it refuses."""

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from analysis.fit import _options, main
from analysis.foreign import read

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


def taken(*arguments: str) -> tuple[pl.DataFrame, list[str], list[str]]:
    """Rows, features and notes of a table, without the statistics, which take a second and more."""
    return read(_options(list(arguments)))


def notes_of(*arguments: str) -> str:
    return "; ".join(taken(*arguments)[2])


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
    held = found["held_out"]
    maes = {row["model"]: row["mae"] for row in held["scores"] if row["mae"] is not None}  # as many rows for each target
    less = {row["metric"]: row for row in held["differences"] if row["model"] == "ridge"}
    assert held["baseline"] == min(maes.keys() - {"ridge", "elastic-net", "boosting"}, key=maes.__getitem__)
    assert less["mae"]["high"] < 0 and less["mae"]["difference"] == pytest.approx(maes["ridge"] - maes[held["baseline"]])
    assert found["importance"][0]["block"] == "far"


@pytest.mark.parametrize("languages", [5, 6, 7])
def test_a_table_of_few_languages_and_no_features_of_its_own_gets_correlations(saved, capsys, languages: int) -> None:
    found = run(capsys, saved(table(languages=languages).drop("distance")), "--outcome", "f1", "--source", "source", "--target", "target", "--draws", "200")
    (part,) = found["analyses"]
    assert {"genetic", "geographic"} <= {row["feature"] for row in part["correlations"]}
    assert "Add a column" in part["mixed"]["refused"] and "Add a column" in part["held_out"]["refused"]


def test_features_that_say_nothing_are_refused(saved, capsys) -> None:
    flat = saved(table(languages=8).with_columns(distance=pl.lit(0.5)))
    assert "no feature says anything: distance" in refused(capsys, flat, *ROLES, *QUICK)


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


def test_one_language_written_in_two_ways_is_one(saved, capsys) -> None:
    frame = table(languages=8)
    other = pl.col("source").replace({"eng": "en", "deu": "de"})
    mixed = frame.with_columns(pl.when(pl.int_range(pl.len()) % 2 == 0).then(other).otherwise("source").alias("source"))
    found, _, notes = taken(saved(mixed), *ROLES, "--features", "distance")
    plain, _, none = taken(saved(frame), *ROLES, "--features", "distance")
    assert found.equals(plain) and not none
    assert "de is deu, en is eng" in notes[0]
    twice = pl.concat([frame, frame.filter(source="eng").with_columns(source=pl.lit("en"))])
    assert "share their source and target" in refused(capsys, saved(twice), *ROLES)


def test_a_set_is_the_same_in_any_order_and_may_hold_its_target(saved, capsys) -> None:
    sets = table().with_columns(source=pl.concat_str("source", pl.lit("+fr")))
    turned = sets.with_columns(source=pl.lit("fr+") + pl.col("source").str.head(3))
    assert "share their source and target" in refused(capsys, saved(pl.concat([sets, turned])), *ROLES)
    assert "4 rows have their target among several sources" in notes_of(saved(sets), *ROLES, "--features", "distance")


def test_a_language_on_itself_is_no_transfer(saved, capsys) -> None:
    frame = table()
    own = pl.DataFrame({"source": LANGUAGES[:5], "target": LANGUAGES[:5], "distance": [0.0] * 5, "f1": [0.95] * 5})
    rows, _, notes = taken(saved(pl.concat([frame, own])), *ROLES, *QUICK)
    assert rows.equals(taken(saved(frame), *ROLES, *QUICK)[0])
    assert notes[-1].startswith("5 rows are left out")
    assert "no transfer to explain" in refused(capsys, saved(own), *ROLES, *QUICK)


def test_interactions_baselines_and_families_held_out(saved, capsys) -> None:
    frame, rng = table(languages=8), np.random.default_rng(1)
    frame = frame.with_columns(size=pl.Series(rng.normal(size=len(frame))), family=pl.col("target").replace_strict(dict(zip(LANGUAGES, "aabbccdd", strict=True))))
    crossed = (pl.col("distance") - pl.col("distance").mean()) * (pl.col("size") - pl.col("size").mean())
    options = ["--interaction", "distance:size", "--size", "size", "--overlap", "distance", "--hold-out", "family"]
    found = run(capsys, saved(frame.with_columns(f1=pl.col("f1") + 0.4 * crossed)), *ROLES, *QUICK, *options)["analyses"][0]
    product = next(row for row in found["mixed"]["coefficients"] if row["feature"] == "distance:size")
    assert 0.3 < product["low"] < 0.4 < product["high"] < 0.5
    held = found["held_out"]
    assert held["by"] == "family" and {row["languages"] for row in held["scores"]} == {4}
    assert {"size only", "overlap only"} <= {row["model"] for row in held["scores"]}
    assert {row["feature"] for row in found["correlations"]} == {"distance", "size"}


def test_a_column_with_a_value_that_is_no_number_is_named_or_refused(saved, capsys) -> None:
    frame = table().with_columns(other=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("NA")).otherwise(pl.col("distance").round(2).cast(pl.String)))
    assert "other is no feature: row 4 holds 'NA'" in notes_of(saved(frame), *ROLES, *QUICK)
    assert "'other' holds 'NA' in row 4" in refused(capsys, saved(frame), *ROLES, *QUICK, "--features", "other")
    kin = table().with_columns(kin=pl.col("distance") < 0.5)
    rows, features, _ = taken(saved(kin), *ROLES, *QUICK)
    assert features == ["distance", "kin"] and set(rows["kin"]) == {0.0, 1.0}


def test_a_group_that_is_refused_does_not_take_the_others_with_it(saved, capsys) -> None:
    both = pl.concat([table().with_columns(model=pl.lit("a")), table().head(2).with_columns(model=pl.lit("b"))])
    arguments = [saved(both), *ROLES, *QUICK, "--groups", "model"]
    assert main(arguments) == 1
    shown = capsys.readouterr().out
    assert "model a: 20 rows" in shown and "model b: refused. 2 languages" in shown
    assert "model b: 2 languages" in refused(capsys, saved(both.filter(model="b")), *ROLES, *QUICK, "--groups", "model")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_semicolons_and_tabs_separate_too(tmp_path: Path, capsys, separator: str) -> None:
    table().write_csv(tmp_path / "results.csv", separator=separator, include_bom=True)
    assert len(taken(str(tmp_path / "results.csv"), *ROLES, *QUICK)[0]) == 20
    table().with_columns(f1=pl.col("f1").round(3).cast(pl.String).str.replace(".", ",", literal=True)).write_csv(tmp_path / "results.csv", separator=separator)
    assert re.search(r"'f1' holds '0,\d+' in row 1 .* Write numbers as 0.71", refused(capsys, str(tmp_path / "results.csv"), *ROLES, *QUICK))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--features", "source"], "several: source"),
        (["--features", "f1"], "several: f1"),
        (["--block", "own=f1"], "which is the outcome"),
        (["--size", "sise"], "no column 'sise'"),
        (["--interaction", "distance"], "write COLUMN:COLUMN"),
        (["--interaction", "distance:sise"], "'sise' is no feature here"),
        (["--draws", "0"], "--draws 0: at least"),
        (["--features", "name"], "'name' holds 'x' in row 1"),
    ],
)
def test_arguments_that_do_not_fit_the_table_are_refused(saved, capsys, arguments: list[str], said: str) -> None:
    assert said in refused(capsys, saved(table().with_columns(name=pl.lit("x"))), *ROLES, *QUICK, *arguments)


def test_a_column_of_the_name_of_another_role_is_refused(saved, capsys) -> None:
    frame = table().rename({"source": "src"}).with_columns(source=pl.lit("wiki"))
    roles = ["--outcome", "f1", "--source", "src", "--target", "target"]
    assert "'source' is not this table's --source" in refused(capsys, saved(frame), *roles, *QUICK, "--groups", "source")
    assert "the column 'source' is left out" in notes_of(saved(frame), *roles, *QUICK)


def test_a_header_that_names_a_column_twice_is_refused(tmp_path: Path, capsys) -> None:
    (tmp_path / "results.csv").write_text("source,target,f1,f1\neng,deu,0.5,0.6\n")
    assert "names f1 twice" in refused(capsys, str(tmp_path / "results.csv"), *ROLES)


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
        (lambda frame: frame.with_columns(pl.lit("high").alias("f1")), "is no number"),
        (lambda frame: frame.with_columns(f1=pl.format("{}%", pl.col("f1").round(2) * 100)), "%' in row 1"),
        (lambda frame: frame.with_columns(target=pl.col("target").replace("fra", None)), "4 rows have no target"),
        (lambda frame: frame.with_columns([(pl.col("distance") ** power).alias(f"x{power}") for power in range(2, 10)]), "9 predictors"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(saved, capsys, change, said: str) -> None:
    assert said in refused(capsys, saved(change(table())), *ROLES, *QUICK).replace("Did", "did")


def test_a_table_with_distances_of_its_own_says_how_to_keep_them(saved, capsys) -> None:
    own = table().with_columns(genetic=pl.col("distance") * 0.9)
    assert "genetic" in (said := refused(capsys, saved(own), *ROLES)) and "--no-typology" in said
    assert "genetic" in notes_of(saved(own), *ROLES, *QUICK)


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
