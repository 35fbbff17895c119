"""The language table and its errors."""

import re

import pytest

from engine.errors import StudyError
from engine.languages import LANGUAGES, SANDBOX_CODES, language


def test_every_row_is_well_formed():
    assert len(LANGUAGES) >= 120
    for code, row in LANGUAGES.items():
        assert re.fullmatch("[a-z]{3}", code) and row.code == code
        assert re.fullmatch("[A-Z][a-z]{3}", row.script)
        assert re.fullmatch("([a-z]{2})?", row.alpha2)
        assert row.name and row.family and not row.sandbox


def test_names_and_two_letter_codes_are_unique():
    for values in ([row.name for row in LANGUAGES.values()], [row.alpha2 for row in LANGUAGES.values() if row.alpha2]):
        assert len(values) == len(set(values))


def test_languages_of_the_published_studies_are_there():
    masakhaner2 = "bam bbj ewe fon hau ibo kin lug luo mos nya pcm sna swa tsn twi wol xho yor zul"
    manafi = "fra bre ara fas hin eng sco cym spa cat ces slk ind msa oci nld afr ita scn arg ast"
    xtreme = "af ar bg bn de el en es et eu fa fi fr he hi hu id it ja jv ka kk ko ml mr ms my nl pt ru sw ta te th tl"
    assert set(f"{masakhaner2} {manafi}".split()) <= set(LANGUAGES)
    assert set(f"{xtreme} tr ur vi yo zh".split()) <= {row.alpha2 for row in LANGUAGES.values()}


def test_languages_of_the_data_folder_are_there(shared):
    codes = {path.name for path in shared.glob("data/ner/*/*")} | {path.stem for path in shared.glob("data/text/*.txt")}
    pairs = {code for path in shared.glob("data/parallel/lafand_*.tsv") for code in path.stem[7:].split("-")}
    assert codes | pairs <= set(LANGUAGES)


def test_known_language():
    swahili = language("swa")
    assert (swahili.name, swahili.script, swahili.family, swahili.alpha2) == ("Swahili", "Latn", "Atlantic-Congo", "sw")


def test_sandbox_languages_are_marked_as_made():
    for code in SANDBOX_CODES:
        made = language(f"x-{code}")
        assert made.sandbox and "not real" in made.name and made.family == LANGUAGES[code].family


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("en", "eng"), ("EN", "eng"), ("pt_BR", "por"), ("zho-CN", "zho"), ("cmn", "zho"), ("swh", "swa"),
        ("swahili", "swa"), ("Swahilli", "swa"), ("norw", "nor"), ("x-engl", "x-eng"),
    ],
)  # fmt: skip
def test_unknown_codes_name_the_one_meant(asked, meant):
    with pytest.raises(StudyError, match=f"{re.escape(asked)}.*Did you mean '{meant}'"):
        language(asked)


def test_nothing_near_is_an_error_without_a_guess():
    with pytest.raises(StudyError, match="'qqq' is no language code") as raised:
        language("qqq")
    assert "Did you mean" not in str(raised.value)


def test_a_real_language_that_the_sandbox_does_not_make():
    with pytest.raises(StudyError, match="'x-kor'.*It makes x-deu x-eng"):
        language("x-kor")
