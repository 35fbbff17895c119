"""Published tables of transfer results, read to frames in which each column has a role. What is made of them lives in
`analysis.replications`.

The tables are those of other people's papers, as a folder of CSV files; none of them is part of this project.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from analysis.features import with_typology
from analysis.foreign import numeric, read_csv, with_codes
from analysis.pairs import required
from engine.errors import DataError

# What XLM-R was pretrained on (fairseq's examples/xlmr/README.md), in this project's codes.
XLMR_LANGUAGES = """
    afr sqi amh ara hye asm aze eus bel ben bos bre bul mya cat zho hrv ces dan nld eng epo est tgl fin fra glg kat deu ell guj
    hau heb hin hun isl ind gle ita jpn jav kan kaz khm kor kur kir lao lat lav lit mkd mlg msa mal mar mon nep nor ori orm pus fas
    pol por pan ron rus san gla srp snd sin slk slv som spa sun swa swe tam tel tha tur ukr urd uig uzb vie cym fry xho yid
"""
# The languages of MasakhaNER 2.0; the table of ranks has 22 further ones.
MASAKHANER2 = "bam bbj ewe fon hau ibo kin lug luo mos nya pcm sna swa tsn twi wol xho yor zul"
COLLAPSED = 0.5  # of in-language F1: below lies no run that learned, above no run that did not
TYPOLOGY = ("syntactic", "phonological", "inventory", "morphological")
_LANGRANK = {
    "Overlap word-level": "word_overlap", "Word overlap": "word_overlap",
    "Transfer lang dataset size": "source_size", "Target lang dataset size": "target_size",
    "Transfer over target size ratio": "size_ratio", "Transfer lang TTR": "source_ttr", "Target lang TTR": "target_ttr",
    "Transfer target TTR distance": "ttr_distance",
} | {name.upper(): f"uriel_{name}" for name in ("genetic", "syntactic", "featural", "phonological", "inventory", "geographic")}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Table:
    """`frame`: a row per result, with "source" and "target" (canonical codes), "family" (the target's), `outcome`, and the
    features, null where unknown. `blocks`: the features' names by what kind they are.
    """

    frame: pl.DataFrame
    outcome: str
    blocks: Mapping[str, tuple[str, ...]]

    @property
    def features(self) -> list[str]:
        return [name for names in self.blocks.values() for name in names]


def manafi(folder: Path) -> Table:
    """Manafi & Krishnaswamy 2024: F1 of NER from one language to another, per model; no typology, for there are 13 pairs.

    Further columns: "model" (mbert, xlmr), "f1_p1" and "f1_p12" (F1 after their perturbations). "overlap": the share of the
    target's test entity tokens that occur in the source's training data with the same label.
    """
    frame = _read(folder, "manafi2024_perturbation_ner.csv", ["src", "tgt", "model", "setting"], known=["overlap_tgt_with_src", "f1"])
    frame = frame.rename({"src": "source", "tgt": "target", "overlap_tgt_with_src": "overlap"})
    frame = frame.filter(pl.col("setting") == "transfer").with_columns(pl.col("model").replace({"bert": "mbert", "xlmroberta": "xlmr"}))
    if missing := sorted({"mbert", "xlmr"} - set(frame["model"])):
        raise DataError(f"{folder}: Manafi & Krishnaswamy's table has no transfer of {' and '.join(missing)}. It has both models' (bert, xlmroberta).")
    return Table(_canonical(frame), "f1", {"overlap": ("overlap",)})


def sumeval(folder: Path, task: str = "WikiANN") -> tuple[pl.DataFrame, pl.DataFrame]:
    """SumEval 2022 (LITMUS): models fine-tuned on several languages at once, and their scores per target.

    Returns the sizes, one row per configuration and language trained on: config, language, examples; and the scores: config,
    target, score (of 100). Configurations of other tasks are left out. Raises DataError for a configuration without
    sizes or one that occurs twice, a score without a configuration, and two models in one task.
    """
    configs = _read(folder, "sumeval2022_configs.csv", ["config", "task", "model", "pivots"]).filter(pl.col("task") == task)
    scores = _read(folder, "sumeval2022_scores.csv", ["config", "target"], ["score"]).join(configs.select("config"), on="config")
    if configs.is_empty() or scores.is_empty():
        raise DataError(f"{folder} has no configurations with scores of the task {task!r}.")
    if configs["model"].n_unique() > 1:
        raise DataError(f"{task} has the models {', '.join(sorted(configs['model'].unique()))}: read one model at a time.")
    for name, table, keys in (("configuration", configs, ["config"]), ("score", scores, ["config", "target"])):
        if table.select(keys).is_duplicated().any():
            raise DataError(f"a {name} of {task} occurs twice in {folder}: {table.filter(table.select(keys).is_duplicated())[0, 'config']}.")
    parts = pl.col("pivots").str.split(" ").alias("pivot")
    pivots = configs.select("config", parts).explode("pivot").with_columns(pl.col("pivot").str.split_exact(":", 1)).unnest("pivot")
    sizes = pivots.select("config", language="field_0", examples=pl.col("field_1").cast(pl.Float64, strict=False))
    if sizes["examples"].null_count():
        raise DataError(f"{folder}: the sizes of {sizes.filter(pl.col('examples').is_null())[0, 'config']} are not 'code:examples ...'.")
    scores = scores.with_columns(pl.col("score") * 100)
    return _canonical(sizes, ["language"]), _canonical(scores, ["target"])


def devries(folder: Path) -> Table:
    """de Vries et al. 2022: POS accuracy of XLM-R base, 65 sources and 105 targets, at the last checkpoint they kept.

    A language on itself is left out. Blocks: typology, genetic and geographic (`analysis.typology`), "words" (LDND, the
    distance of word lists, null where they have none), "script" and "pretraining" (whether XLM-R saw the language).
    """
    frame = _read(folder, "devries2022_pos_transfer.csv", ["source", "target", "model"], known=["train_samples_seen", "accuracy"])
    frame = frame.filter(pl.col("train_samples_seen") == pl.col("train_samples_seen").max(), pl.col("source") != pl.col("target"))
    script = dict(_read(folder, "devries2022_udpos-langs.csv", ["language_id", "script"]).select("language_id", "script").iter_rows())
    frame = frame.with_columns(
        same_script=(pl.col("source").replace_strict(script) == pl.col("target").replace_strict(script)).cast(pl.Float64)
    )
    frame = _canonical(frame).join(words(folder), on=["source", "target"], how="left", maintain_order="left").with_columns(
        pl.col(role).is_in(XLMR_LANGUAGES.split()).cast(pl.Float64).alias(f"{role}_pretrained") for role in ("source", "target")
    )
    blocks = {"typology": TYPOLOGY, "genetic": ("genetic",), "geographic": ("geographic",), "words": ("ldnd",),
              "script": ("same_script",), "pretraining": ("source_pretrained", "target_pretrained")}  # fmt: skip
    return Table(with_typology(frame), "accuracy", blocks)


def words(folder: Path) -> pl.DataFrame:
    """The distances of word lists of de Vries et al. 2022 (LDND: edits in words of equal meaning over edits in others; 100 for
    unrelated languages): a row per source and target, with "ldnd", null where one has no list.
    """
    code = _read(folder, "devries2022_udpos-langs.csv", ["language_id", "language"]).select("language", "language_id")
    apart = _read(folder, "devries2022_ldnd.csv", [""]).rename({"": "a"}).unpivot(index="a", variable_name="b", value_name="ldnd")
    apart = apart.join(code.rename({"language": "a", "language_id": "source"}), on="a")
    apart = apart.join(code.rename({"language": "b", "language_id": "target"}), on="b")
    return _canonical(apart.select("source", "target", "ldnd"))


def langrank(folder: Path, task: str) -> Table:
    """Lin et al. 2019, task "pos" or "dep": accuracy per source and target, with LangRank's own features.

    Blocks: "data" (overlap, sizes, type-token ratios), "uriel" (URIEL's distances, as published there), and "typology"
    (`analysis.typology`'s). A language on itself is left out, and so are pairs without an accuracy (14 of pos).
    """
    frame = _read(folder, f"lin2019_{task}.csv", ["Accuracy"]).rename(_LANGRANK | {
        "Task lang": "target", "Aux lang": "source", "Target lang": "target", "Transfer lang": "source", "Accuracy": "accuracy",
    }, strict=False)  # fmt: skip
    theirs = list(dict.fromkeys(_LANGRANK.values()))
    required(frame, ["source", "target", *theirs])
    frame = _canonical(numeric(frame, theirs)).with_columns(pl.col("accuracy").cast(pl.Float64, strict=False).fill_nan(None))
    frame = with_typology(frame.filter(pl.col("source") != pl.col("target"), pl.col("accuracy").is_not_null()))
    data, uriel = (tuple(name for name in theirs if name.startswith("uriel") == own) for own in (False, True))
    return Table(frame, "accuracy", {"data": data, "uriel": uriel, "typology": (*TYPOLOGY, "genetic", "geographic")})


def masakhaner2_ranks(folder: Path) -> Table:
    """MasakhaNER 2.0 (Adelani et al. 2022): the rank of each of 41 sources for each target, 1 the best; no scores.

    Targets are MASAKHANER2's; their own training data (rank 0) is left out.
    """
    frame = _canonical(_read(folder, "masakhaner2_transfer_ranks.csv", ["source", "target"], known=["rank"]))
    frame = frame.filter(pl.col("target").is_in(MASAKHANER2.split()), pl.col("source") != pl.col("target"))
    return Table(with_typology(frame), "rank", {"typology": (*TYPOLOGY, "genetic", "geographic")})


def masakhaner2_runs(folder: Path) -> pl.DataFrame:
    """The in-language runs of MasakhaNER 2.0: language, model, run, f1, and `collapsed`: F1 below COLLAPSED."""
    frame = _read(folder, "masakhaner2_in_language_seeds.csv", ["lang", "model", "run"], known=["f1"]).rename({"lang": "language"})
    return _canonical(frame, ["language"]).with_columns(collapsed=pl.col("f1") < COLLAPSED)


def _read(folder: Path, name: str, columns: Sequence[str] = (), numbers: Sequence[str] = (), known: Sequence[str] = ()) -> pl.DataFrame:
    """The file, which has all these columns. `numbers` are float64, null where unknown; so are `known`, and never unknown."""
    if not (folder / name).is_file():
        raise DataError(f"{folder} has no {name}: --data is the folder with the published tables.")
    frame = read_csv(folder / name)
    try:
        required(frame, [*columns, *numbers, *known])
        frame = numeric(frame, [*numbers, *known])
    except DataError as error:
        raise DataError(f"{folder / name}: {error}") from None
    for column in known:
        if (missing := (frame[column].is_null() | frame[column].is_nan()).arg_true()).len():
            raise DataError(f"{folder / name}: {len(missing)} rows have no {column} (the first: row {missing[0] + 1}). Leave them out.")
    return frame


def _canonical(frame: pl.DataFrame, columns: Sequence[str] = ("source", "target")) -> pl.DataFrame:
    return with_codes(frame, columns)[0]
