"""Typological distances: their formulas, what is missing, facts about real languages, and URIEL's published values."""

import csv
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis import typology
from analysis.typology import DISTANCES, METRICS, MORPHOLOGY, canonical, distances, features, matrices, pairwise
from engine.errors import DataError, StudyError
from engine.languages import LANGUAGES, SANDBOX_CODES

CODES = [*LANGUAGES, *(f"x-{code}" for code in SANDBOX_CODES)]
VECTORS = arrays(float, st.tuples(st.integers(1, 5), st.integers(1, 8)), elements=st.sampled_from([0.0, 1.0, math.nan]))
METRIC = st.sampled_from(METRICS)
# Macrolanguages: URIEL's distances were computed before lang2vec's arrays got the rows of these.
MACROLANGUAGES = ["ar", "fa", "no", "zh"]


def between(source: str, target: str, name: str) -> float:
    return matrices([source, target])[name].values[0, 1]


# Codes


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("eng", "eng"), ("en", "eng"), ("stan1293", "eng"), ("x-eng", "x-eng"), ("ger", "deu"), ("cmn", "zho"),
        ("mand1415", "zho"), ("kmr", "kur"), ("swh", "swa"), ("nb", "nor"), ("nn", "nno"), ("iw", "heb"),
        ("fil", "tgl"), ("cu", "chu"), ("grc", "grc"), ("hyw", "hyw"),
    ],
)  # fmt: skip
def test_codes_of_other_systems(written, code):
    assert canonical(written) == code


def test_the_engines_codes_stay_as_they_are():
    assert [canonical(code) for code in CODES] == CODES


@given(st.sampled_from(CODES))
def test_a_code_that_was_read_is_read_as_itself(code):
    short = LANGUAGES[code.removeprefix("x-")].alpha2
    assert not short or canonical(canonical(short)) == code.removeprefix("x-")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("EN", "eng"), ("pt_BR", "por"), ("zho-CN", "zho"), ("Swahilli", "swa"), ("stan12934", "eng"),
        ("North Sami", "sme"), ("x-engl", "x-eng"), ("English", "eng"),
    ],
)  # fmt: skip
def test_unknown_codes_name_the_one_meant(written, meant):
    with pytest.raises(StudyError, match=f"{written}'.*Did you mean '{meant}'"):
        canonical(written)


@pytest.mark.parametrize("written", ["qqq", "", "und", "mul", "7", "Pig Latin"])
def test_what_is_no_language_is_an_error(written):
    with pytest.raises(StudyError, match=f"'{written}' is no language code"):
        distances(["eng", written])


@pytest.mark.parametrize("written", [None, 12])
def test_what_is_no_text_is_no_code(written: object) -> None:
    with pytest.raises(StudyError, match="is no language code"):
        canonical(written)


def test_every_code_of_the_published_tables_is_read(shared):
    columns = {
        "devries2022_udpos-langs": ["language_id"], "devries2022_pos_transfer": ["source", "target"],
        "lin2019_pos": ["Task lang", "Aux lang"], "lin2019_dep": ["Target lang", "Transfer lang"],
        "manafi2024_perturbation_ner": ["src", "tgt"], "masakhaner2_transfer_ranks": ["source", "target"],
        "masakhaner2_in_language_seeds": ["lang"], "beukman2023_masakhaner1_zero_shot": ["target"],
        "sumeval2022_scores": ["target"], "projection2025_xtreme40": ["lang"], "projection2025_masakhaner2": ["lang"],
        "projection2025_europarlner": ["lang"],
    }  # fmt: skip
    for file, names in columns.items():
        with (shared / f"data/results/{file}.csv").open(encoding="utf-8", newline="") as rows:
            codes = {row[name] for row in csv.DictReader(rows) for name in names}
        read = [canonical(code) for code in sorted(codes)]
        assert len(set(read)) == len(codes), f"{file}: two codes are read as one language"


# The formulas


def by_hand(a: np.ndarray, b: np.ndarray, metric: str) -> tuple[float, float]:
    """Distance and coverage of two languages, one feature at a time."""
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if not math.isnan(x) and not math.isnan(y)]
    if not pairs:
        return math.nan, 0.0
    if metric == "hamming":
        return sum(x != y for x, y in pairs) / len(pairs), len(pairs) / len(a)
    held = [sum(x for x, _ in pairs), sum(y for _, y in pairs)]
    if min(held) == 0:
        return float(max(held) > 0), len(pairs) / len(a)
    cosine = sum(x * y for x, y in pairs) / math.sqrt(held[0] * held[1])
    return 2 * math.acos(min(cosine, 1)) / math.pi, len(pairs) / len(a)


@given(VECTORS, METRIC)
def test_distances_are_those_of_each_pair_alone(vectors, metric):
    values, coverage = pairwise(vectors, metric)
    for i, a in enumerate(vectors):
        for j, b in enumerate(vectors):
            distance, share = by_hand(a, b, metric)
            assert values[i, j] == pytest.approx(distance, abs=1e-7, nan_ok=True)
            assert coverage[i, j] == pytest.approx(share)


@given(VECTORS, METRIC)
def test_symmetric_bounded_and_zero_to_itself(vectors, metric):
    values, coverage = pairwise(vectors, metric)
    known = ~np.isnan(values)
    assert np.array_equal(values, values.T, equal_nan=True) and np.array_equal(coverage, coverage.T)
    assert (0 <= values[known]).all() and (values[known] <= 1).all()
    assert (0 <= coverage).all() and (coverage <= 1).all() and np.array_equal(known, coverage > 0)
    assert not np.diag(values)[np.diag(known)].any()


@given(VECTORS, METRIC, st.data())
def test_a_missing_feature_takes_no_part(vectors, metric, data):
    column = data.draw(st.integers(0, vectors.shape[1] - 1))
    without = vectors.copy()
    without[0, column] = math.nan
    values, coverage = pairwise(without, metric)
    rest = pairwise(np.delete(without, column, axis=1), metric) if vectors.shape[1] > 1 else None
    assert np.allclose(values[0, 1:], rest.values[0, 1:] if rest else math.nan, equal_nan=True)
    assert (coverage <= pairwise(vectors, metric).coverage).all()


def test_an_unknown_metric_is_an_error():
    with pytest.raises(StudyError, match="'angle' is no metric: angular or hamming. Did you mean 'angular'"):
        distances(["eng", "deu"], metric="angle")


# Frames


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(CODES), max_size=6), METRIC)
def test_the_frame_of_any_languages(codes, metric):
    frame = distances(codes, metric)
    codes = list(dict.fromkeys(codes))
    assert frame.select("source", "target").rows() == [(a, b) for a in codes for b in codes]
    assert frame.columns == ["source", "target", *(f"{name}{end}" for name in DISTANCES for end in ("", "_coverage"))]
    turned = frame.rename({"source": "target", "target": "source"}).select(frame.columns)
    assert turned.sort("source", "target").equals(frame.sort("source", "target"))
    oneself = pl.col("source").str.strip_prefix("x-") == pl.col("target").str.strip_prefix("x-")
    for name in DISTANCES:
        value, coverage = pl.col(name), pl.col(f"{name}_coverage")
        assert frame.select((value.is_null() | value.is_between(0, 1)).all()).item()
        assert frame.select((coverage.is_not_null() & coverage.is_between(0, 1)).all()).item()
        assert frame.filter(oneself).select((value == 0).all()).item()
        assert frame.filter(~oneself).select((value.is_null() == (coverage == 0)).all()).item()
        assert not frame.select(value.is_nan().any()).item()


def test_sandbox_languages_have_the_typology_of_the_real_ones():
    real, made = distances(["eng", "nld", "swa"]), distances(["x-eng", "x-nld", "x-swa"])
    assert real.drop("source", "target").equals(made.drop("source", "target"))
    across = distances(["x-eng", "nld"]).row(1, named=True)
    assert across["syntactic"] == between("eng", "nld", "syntactic")


def test_a_distance_does_not_depend_on_who_else_is_there_nor_on_how_the_code_is_written():
    alone = distances(["deu", "jpn"]).row(1)[2:]
    assert distances(["fin", "stan1295", "tam", "ja"]).row(7)[2:] == pytest.approx(alone, abs=1e-9)


# Real languages


@pytest.mark.parametrize("name", ["syntactic", "inventory", "featural", "genetic", "geographic"])
def test_dutch_is_nearer_to_german_than_japanese_is(name):
    assert between("deu", "nld", name) < between("deu", "jpn", name)


def test_what_lang2vec_does_not_know_is_missing():
    row = distances(["deu", "nld"]).row(1, named=True)  # no phonology of Dutch
    assert row["phonological"] is None and row["phonological_coverage"] == 0
    assert features(["slk"]).drop("language").null_count().row(0) == (1,) * 289
    unknown = distances(["hyw", "hye"]).row(1, named=True)
    assert [unknown[name] for name in DISTANCES] == [None] * 7


def test_coverage_is_the_share_of_the_set_that_both_languages_have():
    both = features(["deu", "nld"]).drop("language")
    known = [name for name in both.columns if name.startswith("S_") and both[name].null_count() == 0]
    assert distances(["deu", "nld"]).row(1, named=True)["syntactic_coverage"] == pytest.approx(len(known) / 103)


def test_word_order_features():
    frame = features(["en", "jpn", "x-tur"])
    assert frame["language"].to_list() == ["en", "jpn", "x-tur"]
    assert frame["S_SOV"].to_list() == [0, 1, 1]
    assert frame["S_SVO"].to_list() == [1, 0, 1]  # Turkish has both: SSWL notes what is possible, not what prevails


def test_features_are_held_denied_or_missing():
    frame = features(CODES).drop("language")
    assert frame.width == 289 and set(MORPHOLOGY) < set(frame.columns)
    assert set(frame.unpivot()["value"].unique()) == {0.0, 1.0, None}


def test_morphology_separates_suffixing_from_prefixing_languages():
    assert between("tur", "fin", "morphological") < between("tur", "swa", "morphological")


def test_lineages():
    # Seven and ten steps with the language itself, five in common: Indo-European down to Franconian.
    assert between("deu", "nld", "genetic") == pytest.approx(1 - 2 * 5 / 17)
    order = [between("eng", other, "genetic") for other in ("sco", "fry", "deu", "swe", "rus", "fin")]
    assert order == sorted(order) and order[-1] == 1
    assert [between("eus", other, "genetic") for other in ("spa", "jpn")] == [1, 1]  # an isolate, not an unknown


def test_macrolanguages_have_the_lineage_and_the_place_of_the_member_meant():
    assert between("zho", "yue", "genetic") < between("zho", "bod", "genetic")
    assert between("nno", "nor", "genetic") < between("nno", "swe", "genetic")
    assert between("yid", "deu", "geographic") * 20015 < 1000  # Eastern Yiddish, not the mean with New York
    assert between("fas", "ckb", "geographic") < between("fas", "tgk", "geographic")


@pytest.mark.parametrize(("a", "b", "km"), [("eng", "deu", 1060), ("jpn", "haw", 6950), ("deu", "jpn", 9110)])
def test_great_circles(a, b, km):
    assert between(a, b, "geographic") * 20015 == pytest.approx(km, rel=0.01)


def test_distances_need_lang2vec(monkeypatch):
    for cached in (typology._codes, typology._features):
        cached.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DataError, match="pip install lang2vec"):
        distances(["eng", "deu"])


# URIEL's precomputed distances, as LangRank (Lin et al. 2019) published them


@pytest.fixture(scope="module")
def langrank(shared):
    """Pairs of LangRank's two tables: URIEL's distances in capitals, ours beside them."""
    names = {"Task lang": "target", "Aux lang": "source", "Target lang": "target", "Transfer lang": "source"}
    tables = [pl.read_csv(shared / f"data/results/lin2019_{task}.csv") for task in ("pos", "dep")]
    kept = ["source", "target", *(name.upper() for name in DISTANCES if name != "morphological")]
    pairs = pl.concat([table.rename(names, strict=False).select(kept) for table in tables]).unique(["source", "target"])
    codes = sorted({*pairs["source"], *pairs["target"]})
    return pairs.join(distances(codes), on=["source", "target"])


def told(langrank: pl.DataFrame, name: str) -> pl.DataFrame:
    """The pairs of which both know the distance: URIEL writes 1 or about 0 where it does not."""
    unknown = pl.lit(value=False) if name == "genetic" else ~pl.col(name.upper()).is_between(0.001, 0.9999)
    return langrank.filter(pl.col(name).is_not_null() & ~unknown)


@pytest.mark.parametrize(
    ("name", "coverage", "pairs", "r"),
    [
        ("syntactic", 0.6, 994, 0.875), ("phonological", 0.6, 577, 0.709), ("inventory", 0.6, 1341, 0.857),
        ("featural", 0.6, 1227, 0.723), ("genetic", 1.0, 2415, 0.960), ("geographic", 1.0, 2223, 1.0),
    ],
)  # fmt: skip
def test_correlation_with_uriels_precomputed_distances(langrank, name, coverage, pairs, r):
    frame = told(langrank, name).filter(pl.col(f"{name}_coverage") >= coverage)
    assert frame.height == pairs
    assert frame.select(pl.corr(name, name.upper())).item() == pytest.approx(r, abs=0.02)


@pytest.mark.parametrize("name", ["inventory", "geographic"])
def test_where_nothing_is_missing_uriels_distances_are_ours(langrank, name):
    languages = ~pl.col("source").is_in(MACROLANGUAGES) & ~pl.col("target").is_in(MACROLANGUAGES)
    frame = told(langrank, name).filter(languages & (pl.col(f"{name}_coverage") == 1))
    assert frame.height > 1000
    assert frame.select((pl.col(name) - pl.col(name.upper())).abs().max()).item() < 0.001


@pytest.mark.parametrize(("name", "prefix", "share"), [("syntactic", "S_", 0.436), ("phonological", "P_", 0.465)])
def test_uriels_angles_count_the_unknown_as_absent(langrank, name, prefix, share):
    """So filled, our angles are theirs in nearly half of the pairs; for the others the arrays changed since."""
    codes = sorted({*langrank["source"], *langrank["target"]})
    vectors = features(codes).select(pl.col(f"^{prefix}.*$")).fill_null(0).to_numpy()
    filled = pl.DataFrame({
        "source": [code for code in codes for _ in codes],
        "target": codes * len(codes),
        "filled": pairwise(vectors).values.ravel(),
    })  # fmt: skip
    frame = told(langrank, name).join(filled, on=["source", "target"])
    assert frame.select(((pl.col("filled") - pl.col(name.upper())).abs() < 0.001).mean()).item() == pytest.approx(
        share, abs=0.02
    )
