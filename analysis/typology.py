"""How far languages lie apart: lang2vec's features, the distances that follow from them, and how much is known of each.

Also the one map from the codes that datasets use to those of `engine.languages`. All is read from lang2vec's arrays;
what they do not know stays missing here.
"""

import json
import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from typing import NamedTuple

import numpy as np
import polars as pl

from engine.data import lang2vec
from engine.errors import StudyError, did_you_mean
from engine.languages import LANGUAGES, OTHER_CODES, language

# The nine of URIEL's features that code WALS chapters 23 to 27. It codes none of 20-22 (fusion, exponence, synthesis)
# and 28-29 (syncretism), so this is the locus of marking, affixation and reduplication: a part of morphology.
MORPHOLOGY = (
    "S_OBJECT_HEADMARK", "S_OBJECT_DEPMARK", "S_POSSESSIVE_HEADMARK", "S_POSSESSIVE_DEPMARK", "S_TEND_HEADMARK",
    "S_TEND_DEPMARK", "S_TEND_PREFIX", "S_TEND_SUFFIX", "S_ANY_REDUP",
)  # fmt: skip
FEATURE_SETS = {
    "syntactic": ("S_",),
    "phonological": ("P_",),
    "inventory": ("INV_",),
    "featural": ("S_", "P_", "INV_"),
    "morphological": MORPHOLOGY,
}
DISTANCES = (*FEATURE_SETS, "genetic", "geographic")
METRICS = ("angular", "hamming")

# lang2vec's row of a macrolanguage mixes its members: any feature of any of them, the mean of their places (Persian
# would lie in Afghanistan, Yiddish in New York), only the clades that all share (Chinese: Sino-Tibetan and no more).
# So place and clades are those of the member that is meant, or of the nearest kin where a language has no clades; the
# features too for Swahili and Chinese, whose members are about as well described as the whole.
_FEATURES_OF = {"swa": "swh", "zho": "cmn"}
_PLACE_OF = _FEATURES_OF | {
    "ara": "arb", "aym": "ayr", "aze": "azj", "fas": "pes", "grn": "gug", "kur": "kmr", "mlg": "plt", "mon": "khk",
    "msa": "zsm", "nep": "npi", "ori": "ory", "orm": "gaz", "pus": "pbu", "que": "quz", "sqi": "als", "uzb": "uzn",
    "yid": "ydd",
}  # fmt: skip
_CLADES_OF = _PLACE_OF | {"nno": "nor", "twi": "aka"}
# No clade in lang2vec means unknown, except here: no kin.
_ISOLATES = {"eus"}

# What tables write and neither the engine nor lang2vec lists: codes that ISO 639 withdrew, Filipino, and Western
# Armenian, of which nothing is known here.
_DATASET_CODES = {"fil": "tgl", "hyw": "hyw", "in": "ind", "iw": "heb", "ji": "yid", "jw": "jav"}
_NO_LANGUAGES = {"mis", "mul", "und", "zxx"}  # ISO 639-3: uncoded, multiple, undetermined, no linguistic content
# Glottolog's codes of the table's languages.
_GLOTTOCODES = """
afr:afri1274 amh:amha1245 ara:stan1318 arg:arag1245 arz:egyp1253 asm:assa1263 ast:astu1245 aym:nucl1667 aze:nort2697
bak:bash1264 bam:bamb1269 bbj:ghom1247 bel:bela1254 ben:beng1280 bho:bhoj1244 bod:tibe1272 bos:bosn1245 bre:bret1244
bul:bulg1262 bxr:russ1264 cat:stan1289 ceb:cebu1242 ces:czec1258 che:chec1245 chv:chuv1255 ckb:cent1972 cos:cors1241
crh:crim1257 cym:wels1247 dan:dani1285 deu:stan1295 div:dhiv1236 ell:mode1248 eng:stan1293 epo:espe1235 est:esto1258
eus:basq1248 ewe:ewee1241 fao:faro1244 fas:west2369 fin:finn1318 fon:fonn1241 fra:stan1290 fry:west2354 fur:friu1240
gla:scot1245 gle:iris1253 glg:gali1258 glv:manx1243 gsw:swis1247 guj:guja1252 hat:hait1244 hau:haus1257 haw:hawa1245
heb:hebr1245 hin:hind1269 hrv:croa1245 hsb:uppe1395 hun:hung1274 hye:nucl1235 ibo:nucl1417 ilo:ilok1237 ind:indo1316
isl:icel1247 ita:ital1282 jav:java1254 jpn:nucl1643 kan:nucl1305 kat:nucl1302 kaz:kaza1248 khm:cent1989 kin:kiny1244
kir:kirg1245 kor:kore1280 kur:kurd1259 kur:nort2641 lao:laoo1244 lat:lati1261 lav:latv1249 lav:stan1325 lij:ligu1248
lin:ling1263 lit:lith1251 lmo:lomb1257 ltz:luxe1241 lug:gand1255 luo:luok1236 mal:mala1464 mar:mara1378 mhr:east2328
min:mina1268 mkd:mace1250 mlg:plat1254 mlt:malt1254 mon:mong1331 mon:halh1238 mos:moss1236 mri:maor1246 msa:stan1306
mya:nucl1310 mzn:maza1291 nap:neap1235 nds:nort2627 nep:east1436 nep:nepa1254 nld:dutc1256 nno:norw1262 nor:norw1258
nor:norw1259 nya:nyan1308 oci:occi1239 ori:oriy1255 oss:iron1242 pan:panj1256 pcm:nige1257 pms:piem1238 pnb:west2386
pol:poli1260 por:port1283 pus:nucl1276 roh:roma1326 ron:roma1327 rus:russ1263 sah:yaku1245 san:sans1269 scn:sici1248
sco:scot1243 sin:sinh1246 slk:slov1269 slv:slov1268 sme:nort2671 sna:shon1251 snd:sind1272 som:soma1255 spa:stan1288
sqi:alba1267 srp:serb1264 sun:sund1252 swa:swah1253 swe:swed1254 szl:sile1253 tam:tami1289 tat:tata1255 tel:telu1262
tgk:taji1245 tgl:taga1270 tha:thai1261 tsn:tswa1253 tuk:turk1304 tur:nucl1301 twi:twii1234 uig:uigh1240 ukr:ukra1253
urd:urdu1245 uzb:uzbe1247 uzb:nort2690 vec:vene1258 vep:veps1250 vie:viet1252 vol:vola1234 war:wara1300 wln:wall1255
wol:nucl1347 xho:xhos1239 xmf:ming1252 yid:east2295 yor:yoru1245 yue:yuec1235 zho:mand1415 zul:zulu1248
"""


class Distance(NamedTuple):
    """`values`: (n, n) in [0, 1], NaN where unknown. `coverage`: (n, n) in [0, 1], the share that `values` rest on."""

    values: np.ndarray
    coverage: np.ndarray


def canonical(code: str) -> str:
    """The code that `engine.languages` has for a language, from any of the systems that result tables use.

    Read are the engine's codes (also the sandbox's, which stay as they are: "x-eng"), ISO 639-1 ("en"), ISO 639-3 of a
    macrolanguage's usual member ("cmn" is "zho"), bibliographic ISO 639-2 ("ger"), Glottolog's for the engine's
    languages ("stan1293"), and those of the published tables. A language that the engine's table lacks keeps its
    ISO 639-3 code if lang2vec lists it ("grc").

    Raises StudyError for any other text, names and upper case included, with the code that was likely meant; and
    DataError where lang2vec is not installed.
    """
    if not isinstance(code, str):
        raise StudyError(f"{code!r} is no language code, which is a text: write ISO 639-3, ISO 639-1 or a glottocode.")
    if code.startswith("x-"):
        return language(code).code
    try:
        return _codes()[code]
    except KeyError:
        raise StudyError(
            f"{code!r} is no language code known here: write ISO 639-3, ISO 639-1 or a glottocode.{_meant(code)}"
        ) from None


def features(codes: Sequence[str]) -> pl.DataFrame:
    """lang2vec's 289 features of syntax (S_), phonology (P_) and inventory (INV_), one row per code.

    Columns: "language", the code as given, and one per feature: 1.0 where any source (WALS, SSWL, Ethnologue, PHOIBLE's
    seven) says that it holds, 0.0 where those that know all deny it, null where none knows. So S_SVO means that the
    order occurs, not that it prevails: SSWL grants it to Turkish. Raises as `canonical`.
    """
    names, vectors = _vectors(_real(codes))
    columns = dict(zip(names, vectors.T, strict=True))
    return pl.DataFrame({"language": pl.Series(codes, dtype=pl.String), **columns}).fill_nan(None)


def distances(codes: Sequence[str], metric: str = "angular") -> pl.DataFrame:
    """One row per ordered pair of the codes, a language with itself included: join it on "source" and "target".

    Columns: "source" and "target", the codes as given; for each name in DISTANCES the distance, null where unknown, and
    "<name>_coverage". All are symmetric and in [0, 1]. What each is, and what is raised, `matrices` says.
    """
    codes = list(dict.fromkeys(codes))
    pairs = {"source": [code for code in codes for _ in codes], "target": codes * len(codes)}
    columns = {name: pl.Series(values, dtype=pl.String) for name, values in pairs.items()}
    for name, (values, coverage) in matrices(codes, metric).items():
        columns |= {name: pl.Series(values.ravel()), f"{name}_coverage": pl.Series(coverage.ravel())}
    return pl.DataFrame(columns).fill_nan(None)


def matrices(codes: Sequence[str], metric: str = "angular", names: Sequence[str] = DISTANCES) -> dict[str, Distance]:
    """The distances of `names` between `codes`, in their order.

    - syntactic (103 features), phonological (28), inventory (158), featural (these 289) and morphological (9 of the
      syntactic: WALS chapters 23-27, see MORPHOLOGY): `pairwise` on the features that both languages have, as URIEL+
      (Khan et al. 2025) does; coverage is those features' share of the set. A distance with little coverage is noise.
    - genetic: 1 - 2 |A & B| / (|A| + |B|), where A and B are the clades (Glottolog's tree in lang2vec) that a language
      belongs to, itself as the last one. 1 across families. Coverage is 1 where both lineages are known, else 0.
    - geographic: great-circle distance between the points where lang2vec places the languages, as a share of half the
      circumference (1.0 is 20,015 km). Coverage is 1 where both are placed, else 0.

    A language is at distance 0 from itself, known or not, and "x-eng" has all of "eng". Otherwise a distance is NaN
    exactly where its coverage is 0.

    URIEL's precomputed distances (the columns of LangRank's tables) differ in three ways. Their angles count an unknown
    feature as an absent one, so in part they measure how well a language is described. The genetic one is
    1 - |A & B| / |B|, not symmetric. An unknown place, as of Arabic, Persian and Chinese, is at distance 1 from all.

    Raises StudyError for an unknown code or metric, DataError where lang2vec is not installed.
    """
    languages = _real(codes)
    features, vectors = _vectors(languages)
    others = {"genetic": _genetic, "geographic": _geographic}  # each reads a table of its own
    result = {}
    for name in names:
        if name in others:
            result[name] = others[name](languages)
        else:
            chosen = [feature.startswith(FEATURE_SETS[name]) for feature in features]
            result[name] = pairwise(vectors[:, chosen], metric)
    same = np.array([[a == b for b in languages] for a in languages], dtype=bool).reshape(len(codes), len(codes))
    return {name: Distance(np.where(same, 0.0, values), coverage) for name, (values, coverage) in result.items()}


def pairwise(vectors: np.ndarray, metric: str = "angular") -> Distance:
    """Distances between the rows of `vectors`, (n, features) of 0, 1 and NaN, each on the features both rows have.

    "angular": 2 arccos(cos(a, b)) / pi. It passes over features that both lack, as URIEL's and URIEL+'s distances do.
    A row that has nothing is at 1 from any that has something, at 0 from another such row.
    "hamming": the share of the features in which the rows differ; what both lack counts as agreement.

    Raises StudyError for another metric.
    """
    if metric not in METRICS:
        raise StudyError(f"{metric!r} is no metric: {' or '.join(METRICS)}.{did_you_mean(metric, METRICS)}")
    known = (~np.isnan(vectors)).astype(float)
    present = np.nan_to_num(vectors)
    shared = known @ known.T
    both = present @ present.T
    own = present @ known.T  # what the row has, of the features that the column knows
    if metric == "hamming":
        differing = own + own.T - 2 * both
        values = np.divide(differing, shared, where=shared > 0, out=np.full_like(shared, np.nan))
    else:
        norms = np.sqrt(own * own.T)
        cosine = np.divide(both, norms, where=norms > 0, out=(own == own.T).astype(float))
        values = 2 / np.pi * np.arccos(np.clip(cosine, -1, 1))
    return Distance(np.where(shared > 0, values, np.nan), shared / vectors.shape[1])


def _genetic(languages: list[str]) -> Distance:
    rows, clades = _clades()
    lineages = clades[[rows.get(_CLADES_OF.get(code, code), -1) for code in languages]].astype(float)
    depths = lineages.sum(axis=1) + 1  # and the language itself
    values = 1 - 2 * (lineages @ lineages.T) / (depths[:, None] + depths)
    return _where_known(values, (depths > 1) | np.isin(languages, list(_ISOLATES)))


def _geographic(languages: list[str]) -> Distance:
    rows, places = _places()
    vectors = places[[rows.get(_PLACE_OF.get(code, code), -1) for code in languages]]
    angles = np.arccos(np.clip(vectors @ vectors.T, -1, 1))
    return _where_known(angles / np.pi, ~np.isnan(vectors).any(axis=1))


def _where_known(values: np.ndarray, known: np.ndarray) -> Distance:
    both = known[:, None] & known
    return Distance(np.where(both, values, np.nan), both.astype(float))


def _real(codes: Sequence[str]) -> list[str]:
    """The languages whose typology the codes have: a sandbox language follows a real one."""
    return [canonical(code).removeprefix("x-") for code in codes]


def _vectors(languages: list[str]) -> tuple[list[str], np.ndarray]:
    """Feature names, and (languages, features) of 0, 1 and NaN."""
    names, rows, values = _features()
    return names, values[[rows.get(_FEATURES_OF.get(code, code), -1) for code in languages]]


# The three tables below: code -> row, and the rows; one more row stands last for languages that lang2vec lacks.


@cache
def _features() -> tuple[list[str], dict[str, int], np.ndarray]:
    """Names, rows, and (languages + 1, 289): 1 where the mean over the sources is above 0, NaN where none knows."""
    names, rows, means = lang2vec.load("feature_averages.npz")
    return names, rows, np.pad(np.where(means < 0, np.nan, means > 0), ((0, 1), (0, 0)), constant_values=np.nan)


@cache
def _clades() -> tuple[dict[str, int], np.ndarray]:
    """(languages + 1, clades), bool: whether the language belongs to the clade."""
    _, rows, members = lang2vec.load("family_features.npz")
    return rows, np.pad(members == 1, ((0, 1), (0, 0)))


@cache
def _places() -> tuple[dict[str, int], np.ndarray]:
    """(languages + 1, 3): unit vectors from the Earth's centre, NaN where lang2vec gives no place.

    lang2vec gives no coordinates but, as shares of half the circumference, the distances to 299 points that it names
    by latitude and longitude. The cosine of each is the product of two unit vectors, so least squares finds the place,
    to a few kilometers.
    """
    names, rows, shares = lang2vec.load("geocoord_features.npz")
    latitudes, longitudes = np.radians([[float(x) for x in name.split("_")[1:]] for name in names]).T
    flat = np.cos(latitudes)
    points = np.stack([flat * np.cos(longitudes), flat * np.sin(longitudes), np.sin(latitudes)], axis=1)
    vectors = np.linalg.lstsq(points, np.cos(np.pi * shares).T, rcond=None)[0].T
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    # Where there is no place all distances are 1, which no point has.
    places = np.where(np.abs(lengths - 1) < 0.01, vectors / lengths, np.nan)
    return rows, np.pad(places, ((0, 1), (0, 0)), constant_values=np.nan)


@cache
def _codes() -> dict[str, str]:
    """Each code that is read, and its language's; a later system overrules an earlier one."""
    letters = json.loads((lang2vec.folder() / "letter_codes.json").read_text("utf-8"))
    known = {code: code for code in _features()[1] if code not in _NO_LANGUAGES} | letters | _ours()
    return {spelling: OTHER_CODES.get(code, code) for spelling, code in known.items()}


def _ours() -> dict[str, str]:
    """The same for the languages of the engine's table, and for the datasets' codes."""
    glottocodes = {token[4:]: token[:3] for token in _GLOTTOCODES.split()}
    alpha2 = {row.alpha2: row.code for row in LANGUAGES.values() if row.alpha2}
    return OTHER_CODES | _DATASET_CODES | glottocodes | alpha2 | {code: code for code in LANGUAGES}


def _meant(text: str) -> str:
    """The hint at the end of an error: the nearest code or name, of the engine's languages only."""
    spellings = {row.name.casefold(): row.code for row in LANGUAGES.values()} | _ours()
    asked = text.casefold()
    parts = [part for part in (asked, re.split("[-_]", asked)[0]) if part in spellings]
    near = parts or get_close_matches(asked, spellings, n=1)
    if not near:
        return ""
    code = spellings[near[0]]
    return f" Did you mean {code!r} ({LANGUAGES[code].name})?" if code in LANGUAGES else f" Did you mean {code!r}?"
