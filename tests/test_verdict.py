"""The verdict: which of three a hypothesis gets, and that its sentence says why."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.verdict import SANDBOX, verdict
from engine.errors import StudyError

LANGUAGES = ("swa", "hau", "yor", "zul", "ibo")
UP = {"direction": 1, "smallest": 0.01, "languages": LANGUAGES}


@pytest.mark.parametrize(
    ("numbers", "direction", "kind", "said"),
    [
        ((0.03, 0.02, 0.04, 0.001), 1, "supported", "+.030 (95% interval +.020 to +.040, p = .001, 5 languages)"),
        ((-0.03, -0.04, -0.02, 0.0001), -1, "supported", "p < .001"),
        ((-0.03, -0.04, -0.02, 0.001), 0, "supported", "-.030"),
        ((0.03, 0.02, 0.04, 0.001), -1, "not supported", "opposite sign"),
        ((0.001, -0.004, 0.006, 0.5), 1, "not supported", "an effect of .01 or more is excluded"),
        ((0.004, 0.002, 0.006, 0.001), 1, "not supported", "There is an effect, but a smaller one"),
        ((-0.004, -0.006, -0.002, 0.001), 0, "not supported", "There is an effect, but a smaller one"),
        ((-0.03, -0.2, 0.005, 0.3), 1, "not supported", "excluded"),
        ((-0.03, -0.2, 0.005, 0.3), 0, "cannot tell", "neither zero nor an effect of .01 is excluded"),
        ((0.02, -0.01, 0.05, 0.2), 1, "cannot tell", "neither zero nor an effect of .01 is excluded"),
        ((0.02, 0.001, 0.05, 0.09), 1, "cannot tell", "not below .05 after correction"),
        ((None, None, None, None), 1, "cannot tell", "no estimate with an interval"),
        ((0.02, float("nan"), float("nan"), 0.1), 1, "cannot tell", "no estimate with an interval"),
    ],
)
def test_a_hypothesis_gets_its_verdict(numbers: tuple[float, ...], direction: int, kind: str, said: str) -> None:
    found = verdict("F1 rises", *numbers, direction=direction, smallest=0.01, languages=LANGUAGES)
    assert found.kind == kind
    assert found.sentence.startswith(f"F1 rises: {kind}. ") and said in found.sentence
    assert (SANDBOX in found.sentence) is False


def test_every_verdict_states_the_power() -> None:
    for numbers in ((0.02, -0.01, 0.05, 0.2), (0.03, 0.02, 0.04, 0.001), (0.001, -0.004, 0.006, 0.5)):
        found = verdict("It helps", *numbers, **UP, power=0.31, detectable=0.044)
        assert found.sentence.endswith(" Power, before any correction: .31 for an effect of .01, .8 for one of .044.")
    assert "power is not known" in verdict("It helps", 0.02, -0.01, 0.05, 0.2, **UP).sentence
    assert "ower" not in verdict("It helps", 0.03, 0.02, 0.04, 0.001, **UP).sentence


def test_the_sentence_says_what_the_interval_is_over() -> None:
    found = verdict("It helps", 0.03, 0.02, 0.04, 0.001, **UP, over="7 targets, for the sources swa and hau alone")
    assert "p = .001, 7 targets, for the sources swa and hau alone)." in found.sentence


def test_three_languages_say_nothing_however_clear_they_look() -> None:
    found = verdict("It helps", 0.3, 0.29, 0.31, 1e-9, direction=1, smallest=0.01, languages=("swa", "hau", "yor"))
    assert found.kind == "cannot tell" and "3 languages: with fewer than 4" in found.sentence


@pytest.mark.parametrize("made", ["x-nld", "x-deu+x-eng", "eng+x-deu"])
def test_made_languages_are_never_evidence(made: str) -> None:
    for numbers in ((0.03, 0.02, 0.04, 0.001), (0.0, -0.1, 0.1, 0.9), (0.0, -0.001, 0.001, 0.9)):
        assert SANDBOX in verdict("It helps", *numbers, direction=1, smallest=0.01, languages=(*LANGUAGES, made)).sentence
    assert SANDBOX in verdict("It helps", 0.3, 0.2, 0.4, 0.0, direction=1, smallest=0.01, languages=(made,)).sentence


numbers = st.floats(-1, 1, allow_nan=False)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(numbers, min_size=3, max_size=3), st.floats(0, 1), st.sampled_from([-1, 0, 1]), st.floats(0.001, 0.5))
def test_the_mirrored_numbers_get_the_mirrored_verdict(ends: list[float], p: float, direction: int, smallest: float) -> None:
    low, estimate, high = sorted(ends)
    here = verdict("a", estimate, low, high, p, direction=direction, smallest=smallest, languages=LANGUAGES)
    there = verdict("a", -estimate, -high, -low, p, direction=-direction, smallest=smallest, languages=LANGUAGES)
    assert here.kind == there.kind
    if here.kind == "supported":
        assert p < 0.05 and not low <= 0 <= high
        assert direction * estimate >= 0
    if here.kind == "not supported":
        assert direction * (high if direction > 0 else low) < smallest


@pytest.mark.parametrize(("direction", "smallest"), [(2, 0.01), (1, 0.0), (1, -0.01), (1, float("nan"))])
def test_a_hypothesis_needs_a_direction_and_a_smallest_effect(direction: int, smallest: float) -> None:
    with pytest.raises(StudyError, match="worth having"):
        verdict("It helps", 0.1, 0.0, 0.2, 0.01, direction=direction, smallest=smallest, languages=LANGUAGES)
