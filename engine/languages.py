"""One table of languages: codes, names, scripts, families. What data there is for each is `engine.data.corpora`'s.

Codes are ISO 639-3. Where a dataset names a macrolanguage, so do we: ara, fas, swa, zho (not arb, pes, swh, cmn).
The script (ISO 15924) is the one that most corpora use; the family is Glottolog's top level. Languages that the
sandbox makes are written as private-use tags (BCP 47) of the real language whose typology they follow: "x-eng".
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches

from engine.errors import StudyError, did_you_mean


@dataclass(frozen=True, slots=True)
class Language:
    """`code`: ISO 639-3, or "x-" and one. `alpha2`: ISO 639-1, "" where there is none. `sandbox`: made, not real."""

    code: str
    name: str
    script: str
    family: str
    alpha2: str = ""
    sandbox: bool = False


# code, ISO 639-1 ("-" for none), script, family, name
_TABLE = """
afr af Latn Indo-European     Afrikaans
amh am Ethi Afro-Asiatic      Amharic
ara ar Arab Afro-Asiatic      Arabic
arg an Latn Indo-European     Aragonese
arz -  Arab Afro-Asiatic      Egyptian Arabic
asm as Beng Indo-European     Assamese
ast -  Latn Indo-European     Asturian
aym ay Latn Aymaran           Aymara
aze az Latn Turkic            Azerbaijani
bak ba Cyrl Turkic            Bashkir
bam bm Latn Mande             Bambara
bbj -  Latn Atlantic-Congo    Ghomala
bel be Cyrl Indo-European     Belarusian
ben bn Beng Indo-European     Bengali
bho -  Deva Indo-European     Bhojpuri
bod bo Tibt Sino-Tibetan      Tibetan
bos bs Latn Indo-European     Bosnian
bre br Latn Indo-European     Breton
bul bg Cyrl Indo-European     Bulgarian
bxr -  Cyrl Mongolic-Khitan   Buryat
cat ca Latn Indo-European     Catalan
ceb -  Latn Austronesian      Cebuano
ces cs Latn Indo-European     Czech
che ce Cyrl Nakh-Daghestanian Chechen
chv cv Cyrl Turkic            Chuvash
ckb -  Arab Indo-European     Central Kurdish
cos co Latn Indo-European     Corsican
crh -  Latn Turkic            Crimean Tatar
cym cy Latn Indo-European     Welsh
dan da Latn Indo-European     Danish
deu de Latn Indo-European     German
div dv Thaa Indo-European     Dhivehi
ell el Grek Indo-European     Greek
eng en Latn Indo-European     English
epo eo Latn Constructed       Esperanto
est et Latn Uralic            Estonian
eus eu Latn Basque            Basque
ewe ee Latn Atlantic-Congo    Ewe
fao fo Latn Indo-European     Faroese
fas fa Arab Indo-European     Persian
fin fi Latn Uralic            Finnish
fon -  Latn Atlantic-Congo    Fon
fra fr Latn Indo-European     French
fry fy Latn Indo-European     West Frisian
fur -  Latn Indo-European     Friulian
gla gd Latn Indo-European     Scottish Gaelic
gle ga Latn Indo-European     Irish
glg gl Latn Indo-European     Galician
glv gv Latn Indo-European     Manx
grn gn Latn Tupian            Guarani
gsw -  Latn Indo-European     Swiss German
guj gu Gujr Indo-European     Gujarati
hat ht Latn Indo-European     Haitian Creole
hau ha Latn Afro-Asiatic      Hausa
haw -  Latn Austronesian      Hawaiian
heb he Hebr Afro-Asiatic      Hebrew
hin hi Deva Indo-European     Hindi
hrv hr Latn Indo-European     Croatian
hsb -  Latn Indo-European     Upper Sorbian
hun hu Latn Uralic            Hungarian
hye hy Armn Indo-European     Armenian
ibo ig Latn Atlantic-Congo    Igbo
ilo -  Latn Austronesian      Ilocano
ind id Latn Austronesian      Indonesian
isl is Latn Indo-European     Icelandic
ita it Latn Indo-European     Italian
jav jv Latn Austronesian      Javanese
jpn ja Jpan Japonic           Japanese
kan kn Knda Dravidian         Kannada
kat ka Geor Kartvelian        Georgian
kaz kk Cyrl Turkic            Kazakh
khm km Khmr Austroasiatic     Khmer
kin rw Latn Atlantic-Congo    Kinyarwanda
kir ky Cyrl Turkic            Kyrgyz
kor ko Kore Koreanic          Korean
kur ku Latn Indo-European     Kurdish
lao lo Laoo Tai-Kadai         Lao
lat la Latn Indo-European     Latin
lav lv Latn Indo-European     Latvian
lij -  Latn Indo-European     Ligurian
lin ln Latn Atlantic-Congo    Lingala
lit lt Latn Indo-European     Lithuanian
lmo -  Latn Indo-European     Lombard
ltz lb Latn Indo-European     Luxembourgish
lug lg Latn Atlantic-Congo    Luganda
luo -  Latn Nilotic           Luo
mal ml Mlym Dravidian         Malayalam
mar mr Deva Indo-European     Marathi
mhr -  Cyrl Uralic            Meadow Mari
min -  Latn Austronesian      Minangkabau
mkd mk Cyrl Indo-European     Macedonian
mlg mg Latn Austronesian      Malagasy
mlt mt Latn Afro-Asiatic      Maltese
mon mn Cyrl Mongolic-Khitan   Mongolian
mos -  Latn Atlantic-Congo    Mossi
mri mi Latn Austronesian      Maori
msa ms Latn Austronesian      Malay
mya my Mymr Sino-Tibetan      Burmese
mzn -  Arab Indo-European     Mazanderani
nap -  Latn Indo-European     Neapolitan
nds -  Latn Indo-European     Low German
nep ne Deva Indo-European     Nepali
nld nl Latn Indo-European     Dutch
nno nn Latn Indo-European     Norwegian Nynorsk
nor no Latn Indo-European     Norwegian
nya ny Latn Atlantic-Congo    Chichewa
oci oc Latn Indo-European     Occitan
ori or Orya Indo-European     Odia
orm om Latn Afro-Asiatic      Oromo
oss os Cyrl Indo-European     Ossetian
pan pa Guru Indo-European     Punjabi
pcm -  Latn Indo-European     Nigerian Pidgin
pms -  Latn Indo-European     Piedmontese
pnb -  Arab Indo-European     Western Punjabi
pol pl Latn Indo-European     Polish
por pt Latn Indo-European     Portuguese
pus ps Arab Indo-European     Pashto
que qu Latn Quechuan          Quechua
roh rm Latn Indo-European     Romansh
ron ro Latn Indo-European     Romanian
rus ru Cyrl Indo-European     Russian
sah -  Cyrl Turkic            Sakha
san sa Deva Indo-European     Sanskrit
scn -  Latn Indo-European     Sicilian
sco -  Latn Indo-European     Scots
sin si Sinh Indo-European     Sinhala
slk sk Latn Indo-European     Slovak
slv sl Latn Indo-European     Slovenian
sme se Latn Uralic            Northern Sami
sna sn Latn Atlantic-Congo    Shona
snd sd Arab Indo-European     Sindhi
som so Latn Afro-Asiatic      Somali
spa es Latn Indo-European     Spanish
sqi sq Latn Indo-European     Albanian
srp sr Latn Indo-European     Serbian
sun su Latn Austronesian      Sundanese
swa sw Latn Atlantic-Congo    Swahili
swe sv Latn Indo-European     Swedish
szl -  Latn Indo-European     Silesian
tam ta Taml Dravidian         Tamil
tat tt Cyrl Turkic            Tatar
tel te Telu Dravidian         Telugu
tgk tg Cyrl Indo-European     Tajik
tgl tl Latn Austronesian      Tagalog
tha th Thai Tai-Kadai         Thai
tsn tn Latn Atlantic-Congo    Setswana
tuk tk Latn Turkic            Turkmen
tur tr Latn Turkic            Turkish
twi tw Latn Atlantic-Congo    Twi
uig ug Arab Turkic            Uyghur
ukr uk Cyrl Indo-European     Ukrainian
urd ur Arab Indo-European     Urdu
uzb uz Latn Turkic            Uzbek
vec -  Latn Indo-European     Venetian
vep -  Latn Uralic            Veps
vie vi Latn Austroasiatic     Vietnamese
vol vo Latn Constructed       Volapük
war -  Latn Austronesian      Waray
wln wa Latn Indo-European     Walloon
wol wo Latn Atlantic-Congo    Wolof
xho xh Latn Atlantic-Congo    Xhosa
xmf -  Geor Kartvelian        Mingrelian
yid yi Hebr Indo-European     Yiddish
yor yo Latn Atlantic-Congo    Yoruba
yue -  Hant Sino-Tibetan      Cantonese
zho zh Hani Sino-Tibetan      Chinese
zul zu Latn Atlantic-Congo    Zulu
"""

# Codes of members of a macrolanguage, and bibliographic ones, that people write for a code of the table.
OTHER_CODES = {
    "alb": "sqi", "arb": "ara", "arm": "hye", "azj": "aze", "baq": "eus", "bur": "mya", "chi": "zho", "cmn": "zho",
    "cze": "ces", "dut": "nld", "ekk": "est", "fre": "fra", "geo": "kat", "ger": "deu", "gre": "ell", "ice": "isl",
    "khk": "mon", "kmr": "kur", "lvs": "lav", "mac": "mkd", "may": "msa", "nob": "nor", "npi": "nep", "ory": "ori",
    "per": "fas", "pes": "fas", "plt": "mlg", "rum": "ron", "slo": "slk", "swh": "swa", "uzn": "uzb", "wel": "cym",
    "ydd": "yid", "zsm": "msa",
}  # fmt: skip

SANDBOX_CODES = (
    "deu", "eng", "fin", "fra", "hin", "hun", "nld", "pol",
    "rus", "spa", "swa", "swe", "tam", "tur", "yor", "zul",
)  # fmt: skip


def _row(line: str) -> Language:
    code, alpha2, script, family, name = line.split(maxsplit=4)
    return Language(code, name, script, family, alpha2.strip("-"))


LANGUAGES: dict[str, Language] = {row.code: row for row in map(_row, _TABLE.strip().splitlines())}


def language(code: str) -> Language:
    """The language of a code of `LANGUAGES`, or of "x-" and a code of `SANDBOX_CODES`.

    Raises StudyError for any other text, with the code that was likely meant: "en", "cmn" and "swahili" have one.
    """
    if code.startswith("x-"):
        return _sandbox(code)
    if code not in LANGUAGES:
        raise StudyError(f"{code!r} is no language code here: codes are ISO 639-3, three letters.{_meant(code)}")
    return LANGUAGES[code]


def _sandbox(code: str) -> Language:
    real = code.removeprefix("x-")
    made = [f"x-{known}" for known in SANDBOX_CODES]
    if code not in made:
        hint = did_you_mean(code, made)
        raise StudyError(f"{code!r}: the sandbox makes no such language.{hint} It makes {' '.join(made)}.")
    name, family = LANGUAGES[real].name, LANGUAGES[real].family
    return Language(code, f"Sandbox {name} (made, not real)", "Latn", family, sandbox=True)


def _meant(text: str) -> str:
    """The hint at the end of an error: an exact match of another code or name first, else the nearest one."""
    names = {row.name.casefold(): row.code for row in LANGUAGES.values()}
    exact = OTHER_CODES | {row.alpha2: row.code for row in LANGUAGES.values() if row.alpha2} | names
    asked = re.split("[-_]", text.casefold())[0]
    near = [asked] if asked in LANGUAGES or asked in exact else get_close_matches(asked, [*LANGUAGES, *names], n=1)
    if not near:
        return " `engine.languages` has the table."
    code = exact.get(near[0], near[0])
    return f" Did you mean {code!r} ({LANGUAGES[code].name})?"
