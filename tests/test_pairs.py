"""Tables of results as pairs of languages: what is refused, and draws that keep a language's pairs together."""

from itertools import product

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis.pairs
from analysis.pairs import Pairs
from engine.errors import DataError


def grid(sources: str, targets: str, own: bool = True) -> pl.DataFrame:
    """Every source with every target; outcomes all differ."""
    cells = [(source, target) for source, target in product(sources, targets) if own or source != target]
    outcome = [float(number**2) for number in range(len(cells))]
    return pl.DataFrame(cells, ["source", "target"], orient="row").with_columns(f1=pl.Series(outcome), size=pl.Series(outcome).sqrt())


def changed(**columns: pl.Expr) -> pl.DataFrame:
    return grid("ab", "wxyz").with_columns(**columns)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (grid("ab", "wxyz").rename({"f1": "F1"}), r"no column 'f1'. Did you mean 'F1'\?"),
        (grid("ab", "wxyz").drop("target"), "no column 'target'"),
        (changed(size=pl.lit("big")), "column 'size' holds String"),
        (changed(size=pl.lit(0.0).log10()), "'size' holds an infinity"),
        (changed(f1=pl.when(pl.col("target") == "x").then(pl.col("f1"))), "6 of 8 rows have no f1 .the first: a to w"),
        (changed(f1=pl.when(pl.col("target") == "x").then(pl.lit(float("nan"))).otherwise("f1")), "2 of 8 rows have no f1"),
        (changed(source=pl.when(pl.col("target") != "x").then(pl.col("source"))), "2 rows have no source or no target"),
        (changed(source=pl.lit("a")), r"8 rows share .* a to w\). Take the mean over seeds"),
        (changed(f1=pl.lit(0.5)), "f1 is 0.5 in all 8 rows"),
        (grid("abc", "xyz"), "3 languages: with fewer than 4"),
        (grid("a", "x"), "1 languages"),
        (grid("a", "x").clear(), "0 languages"),
    ],
)
def test_a_table_of_which_nothing_can_be_said_is_refused(frame: pl.DataFrame, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Pairs.of(frame, "f1", ["size"])


def test_a_table_is_read_as_it_stands() -> None:
    frame = grid("ab", "bcde").with_columns(size=pl.when(pl.col("target") == "b").then(None).otherwise("size"), script=pl.lit(True))
    pairs = Pairs.of(frame, "f1", ["size", "script"])
    assert pairs.languages == ("a", "b", "c", "d", "e") and pairs.units == 4
    read = [(pairs.languages[s], pairs.languages[t]) for s, t in zip(pairs.source, pairs.target, strict=True)]
    assert read == frame.select("source", "target").rows()
    assert np.isnan(pairs.features[:, 0]).tolist() == [target == "b" for _, target in read]
    assert (pairs.features[:, 1] == 1).all()


def sets(names: str, targets: str) -> Pairs:
    cells = list(product(names.split(), targets))
    frame = pl.DataFrame(cells, ["source", "target"], orient="row").with_columns(f1=pl.int_range(pl.len()).cast(pl.Float64))
    return Pairs.of(frame, "f1", [])


def test_a_source_set_is_named_by_its_languages() -> None:
    frame = grid("ab", "wxyz").with_columns(source=pl.when(pl.col("source") == "a").then(["deu", "eng"]).otherwise(["deu"]))
    assert Pairs.of(frame, "f1", []).languages == ("deu", "deu+eng", "w", "x", "y", "z")


@pytest.mark.parametrize(
    ("names", "units"),
    [("a+b a+c a+d b+c b+d c+d", 4), ("a a+b a+c a+d a+e", 4), ("a+b c+d e+f g+h", 4), ("a+b+c+d+e", 1), ("a b c d e", 5)],
)
def test_languages_are_counted_and_not_sets(names: str, units: int) -> None:
    pairs = sets(names, "xyz" if units > 1 else "wxyz")
    assert pairs.units == max(units, 3 if units > 1 else 4)
    assert len(pairs.left_out(pairs.source)) == (units if units > 1 else 0)


def test_three_languages_in_many_sets_are_three() -> None:
    with pytest.raises(DataError, match="3 languages: with fewer than 4"):
        sets("a b c a+b a+c b+c", "xyz")


def test_without_a_language_go_all_sets_that_have_it_and_it_as_a_target() -> None:
    pairs = sets("a+b a+c b+c", "axyz")
    for code, rows in zip("abcxyz", pairs.without(), strict=True):
        gone = [code in pairs.languages[s].split("+") or code == pairs.languages[t] for s, t in zip(pairs.source, pairs.target, strict=True)]
        assert (rows == ~np.array(gone)).all()


def test_a_set_has_the_product_of_its_languages_weights() -> None:
    pairs = sets("a+b a+c b+c c a b", "wxyz")
    first = np.concatenate(list(pairs.weights(50, np.random.default_rng(0)))).reshape(50, 6, 4)[:, :, 0]
    ab, ac, bc, c, a, b = first.T
    own = ab * c / ac  # the target's weight times b's
    assert own == pytest.approx(b) and bc * a / c == pytest.approx(ab)


def test_sets_move_to_where_their_languages_move() -> None:
    pairs = sets("a+b a+c b+c", "axyz")
    found = {value: (pairs.languages[s], pairs.languages[t]) for value, s, t in zip(pairs.outcome, pairs.source, pairs.target, strict=True)}
    for drawn in np.concatenate(list(pairs.permuted(20, np.random.default_rng(0)))):
        assert sorted(drawn) == sorted(pairs.outcome)  # b and c change places, and x, y and z
        swapped = found[drawn[0]][0] == "a+c"
        for source, value in zip(pairs.source, drawn, strict=True):
            name = pairs.languages[source]
            assert found[value][0] == ({"a+b": "a+c", "a+c": "a+b"}.get(name, name) if swapped else name)
    missing = np.concatenate(list(sets("a+b a+c b+c d", "wxyz").permuted(50, np.random.default_rng(0))))
    assert 0 < np.isnan(missing).mean() < 1


def test_some_pairs_keep_their_languages_only() -> None:
    pairs = Pairs.of(grid("ab", "bcde"), "f1", ["size"])
    part = pairs.having(pairs.target != 2)
    assert part.languages == ("a", "b", "d", "e") and len(part.outcome) == 6
    assert (part.features[:, 0] == np.sqrt(part.outcome)).all()
    assert [part.languages[s] + part.languages[t] for s, t in zip(part.source, part.target, strict=True)] == [
        "ab", "ad", "ae", "bb", "bd", "be",
    ]  # fmt: skip


def test_a_weight_is_the_product_of_the_languages_weights() -> None:
    pairs = Pairs.of(grid("abcd", "abcd"), "f1", [])
    weights = np.concatenate(list(pairs.weights(4000, np.random.default_rng(0)))).reshape(-1, 4, 4)
    own = np.sqrt(np.einsum("bii->bi", weights))
    assert weights == pytest.approx(own[:, :, None] * own[:, None, :])
    assert own.mean() == pytest.approx(1, abs=0.05) and own.std() == pytest.approx(1, abs=0.05)


def test_the_only_source_keeps_its_weight() -> None:
    pairs = Pairs.of(grid("a", "wxyz"), "f1", [])
    weights = np.concatenate(list(pairs.weights(4000, np.random.default_rng(0))))
    assert weights.std() == pytest.approx(1, abs=0.05)  # a product of two would have 1.7
    assert pairs.without().sum(axis=1).tolist() == [3, 3, 3, 3]  # without the only source nothing would be left


def test_draws_do_not_depend_on_how_many_are_made_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = Pairs.of(grid("abcde", "abcde"), "f1", [])
    draws = [[np.concatenate(list(draw(30, np.random.default_rng(1)))) for draw in (pairs.weights, pairs.permuted)]]
    monkeypatch.setattr(analysis.pairs, "CHUNK", 70)
    draws.append([np.concatenate(list(draw(30, np.random.default_rng(1)))) for draw in (pairs.weights, pairs.permuted)])
    for whole, parts in zip(*draws, strict=True):
        assert (whole == parts).all() and len(whole) == 30


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**32))
def test_languages_change_places_within_their_roles(both: int, sources: int, targets: int, seed: int) -> None:
    names = "abcdefghijklmno"
    shared, only_source, only_target = names[:both], names[5 : 5 + sources], names[10 : 10 + targets]
    frame = grid(shared + only_source, shared + only_target)
    if not len(frame) or max(both + sources, both + targets) < 4 or len(frame) < 2:
        return
    pairs = Pairs.of(frame, "f1", [])
    found = dict(frame.select("f1", pl.concat_str("source", "target")).rows())
    for drawn in np.concatenate(list(pairs.permuted(3, np.random.default_rng(seed)))):
        assert sorted(drawn) == sorted(pairs.outcome)  # a full table stays full
        moved = {"source": {}, "target": {}}
        for source, target, outcome in zip(frame["source"], frame["target"], drawn, strict=True):
            came_from = found[outcome]
            for role, language, other in (("source", source, came_from[0]), ("target", target, came_from[1])):
                assert moved[role].setdefault(language, other) == other  # with all of its pairs
                assert all((language in stratum) == (other in stratum) for stratum in (shared, only_source, only_target))
        assert all(moved["source"][language] == moved["target"][language] for language in shared)


def test_where_the_table_has_no_such_pair_there_is_no_outcome() -> None:
    pairs = Pairs.of(grid("abcd", "abcd", own=False).filter(pl.col("source") + pl.col("target") != "ab"), "f1", [])
    drawn = np.concatenate(list(pairs.permuted(50, np.random.default_rng(0))))
    assert set(np.isnan(drawn).sum(axis=1)) == {0, 1}


def test_without_a_language_go_its_pairs_in_either_role() -> None:
    pairs = Pairs.of(grid("abc", "bcde"), "f1", [])
    for number, rows in enumerate(pairs.without()):
        assert (rows == ((pairs.source != number) & (pairs.target != number))).all()
