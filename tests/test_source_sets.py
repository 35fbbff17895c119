"""Source sets: all of a size, one family left out, diversity that varies while the distance to the targets does not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import StudyError
from engine.languages import language
from engine.source_sets import by_diversity, diversity, leave_one_family_out, of_size

CODES = ("ara", "deu", "eng", "fin", "fra", "hin", "hun", "rus", "spa", "tur")


def test_all_of_a_size() -> None:
    assert of_size(("spa", "eng", "deu"), 2) == [("deu", "eng"), ("deu", "spa"), ("eng", "spa")]
    with pytest.raises(StudyError, match="source sets of 4 of 3"):
        of_size(("spa", "eng", "deu"), 4)


def test_one_family_is_left_out() -> None:
    sets = leave_one_family_out(CODES)
    assert all(language(code).family != out for out, codes in sets.items() for code in codes)
    assert all(set(codes) | {code for code in CODES if language(code).family == out} == set(CODES) for out, codes in sets.items())
    with pytest.raises(StudyError, match="all are Indo-European"):
        leave_one_family_out(("eng", "deu"))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=7, max_size=9, unique=True), st.integers(2, 5))
@settings(deadline=None, max_examples=50, derandomize=True)
def test_sets_go_from_the_least_diverse_to_the_most_at_one_distance(places: list[tuple[float, float]], number: int) -> None:
    where = dict(zip(CODES, places, strict=False)) | {"swa": (0.5, 0.5)}

    def distance(a: str, b: str) -> float:
        return sum((x - y) ** 2 for x, y in zip(where[a], where[b], strict=True)) ** 0.5

    everything = of_size(CODES[: len(places)], 3)
    chosen = by_diversity(everything, ["swa"], distance, number)
    values = [diversity(one, distance) for one in chosen]
    assert len(set(chosen)) == number and values == sorted(values)
    far = sorted(sum(distance(code, "swa") for code in one) for one in everything)
    middle = far[len(far) // 2]
    apart = [abs(sum(distance(code, "swa") for code in one) - middle) for one in chosen]
    nearer = sorted(abs(value - middle) for value in far)
    assert max(apart) <= nearer[-(-len(far) // 3) - 1] + 1e-9


def test_too_few_sets_are_an_error() -> None:
    with pytest.raises(StudyError, match="Ask for 2 to 2"):
        by_diversity(of_size(CODES[:4], 2), ["swa"], lambda a, b: 0.5, 3)
