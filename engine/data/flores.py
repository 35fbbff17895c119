"""The codes of FLORES-200 (NLLB Team 2022), by which NLLB names its languages: "hau_Latn" for our hau."""

from engine.errors import DataError
from engine.languages import language

# Where its code is not ours with our script: mostly the member that it takes of a macrolanguage.
_NAMED = {
    "ara": "arb_Arab", "aym": "ayr_Latn", "aze": "azj_Latn", "fas": "pes_Arab", "kor": "kor_Hang", "kur": "kmr_Latn",
    "lav": "lvs_Latn", "mlg": "plt_Latn", "mon": "khk_Cyrl", "msa": "zsm_Latn", "nep": "npi_Deva", "nor": "nob_Latn",
    "ori": "ory_Orya", "orm": "gaz_Latn", "pus": "pbt_Arab", "que": "quy_Latn", "sqi": "als_Latn", "srp": "srp_Cyrl",
    "swa": "swh_Latn", "uzb": "uzn_Latn", "yid": "ydd_Hebr", "zho": "zho_Hans",
}  # fmt: skip
_LACKING = {
    "arg", "bbj", "bre", "bxr", "che", "chv", "cos", "div", "fry", "glv", "gsw", "haw", "hsb", "lat", "mhr",
    "mzn", "nap", "nds", "oss", "pcm", "pms", "pnb", "roh", "sah", "sco", "sme", "vep", "vol", "wln", "xmf",
}  # fmt: skip


def flores(code: str) -> str:
    """The FLORES-200 code of a language of `engine.languages`. Raises DataError where FLORES-200 lacks it."""
    row = language(code)
    if row.sandbox or code in _LACKING:
        what = "a made language" if row.sandbox else row.name
        raise DataError(
            f"NLLB does not translate {code} ({what}): it is none of the 200 languages of FLORES-200. Leave it out, or use "
            "another translator."
        )
    return _NAMED.get(code, f"{code}_{row.script}")
