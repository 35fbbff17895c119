"""`python -m analysis.replicate`: the loaders and models on small tables with known answers; the published figures on the real ones."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from analysis.published import devries, langrank, manafi, masakhaner2_ranks, masakhaner2_runs, sumeval, words
from analysis.regress import pipelines
from analysis.replicate import main
from analysis.replications.langrank import LambdaRank, WithinTarget
from analysis.replications.masakhaner2 import Nearest
from analysis.replications.new_target import mixture_features, new_targets
from analysis.replications.sumeval import SizeProcess, mixtures, predictions
from engine.errors import DataError

LANGUAGES = ["en", "de", "fr", "ja", "sw"]


def small_sumeval(folder: Path, configs: int, seed: int, part: str) -> Path:
    """A SumEval table in which a target's score grows with the logarithm of its own examples, more so with German's."""
    rng = np.random.default_rng(seed)
    examples = rng.choice([0, 100, 1000, 5000], (configs, len(LANGUAGES)))
    logs = np.log10(1 + examples)
    pivots = [" ".join(f"{code}:{n}" for code, n in zip(LANGUAGES, row, strict=True) if n) or "en:100" for row in examples]
    names = [f"{part}/{number}" for number in range(configs)]
    scores = 0.5 + 0.08 * logs + 0.02 * logs[:, [1]] * logs + rng.normal(0, 0.002, logs.shape)
    folder.mkdir(exist_ok=True)
    pl.DataFrame({"config": names, "task": "WikiANN", "model": "XLMR", "part": part, "pivots": pivots}).write_csv(folder / "sumeval2022_configs.csv")
    rows = {"config": np.repeat(names, len(LANGUAGES)), "target": LANGUAGES * configs, "score": scores.ravel() / 2}
    pl.DataFrame(rows).write_csv(folder / "sumeval2022_scores.csv")
    return folder


def rmse(predicted: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((predicted - truth) ** 2)))


def test_models_fitted_on_one_folder_predict_another(tmp_path: Path) -> None:
    train = mixtures(*sumeval(small_sumeval(tmp_path / "a", 60, 0, "train")))
    test = mixtures(*sumeval(small_sumeval(tmp_path / "b", 20, 1, "test")), like=train)
    errors = {name: rmse(predicted, test.scores) for name, predicted in predictions(train, test).items()}
    assert errors["ours"] < errors["ridge"] < errors["mean"]
    assert errors["ours"] <= errors["extra trees"]


def test_the_scores_of_the_test_part_do_not_reach_the_models(tmp_path: Path) -> None:
    train = mixtures(*sumeval(small_sumeval(tmp_path / "a", 40, 0, "train")))
    test = mixtures(*sumeval(small_sumeval(tmp_path / "b", 10, 1, "test")), like=train)
    blind = test._replace(scores=np.zeros_like(test.scores))
    for one, other in zip(predictions(train, test).values(), predictions(train, blind).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_configuration_in_both_folders_is_not_scored(tmp_path: Path) -> None:
    folder = small_sumeval(tmp_path / "a", 30, 0, "train")
    train = mixtures(*sumeval(folder))
    assert mixtures(*sumeval(folder), like=train).configs == []


def test_the_process_learns_which_languages_matter() -> None:
    rng = np.random.default_rng(0)
    x = rng.choice([0.0, 2.0, 3.0, 3.7], (80, 6))
    process = SizeProcess().fit(x, 10 * x[:, 2] + rng.normal(0, 0.5, 80))
    assert process.scale_.argmax() == 2
    assert rmse(process.predict(x[:5]), 10 * x[:5, 2]) < 1


def test_features_of_a_mixture() -> None:
    found = mixture_features(np.array([[100.0, 0.0], [0.0, 900.0]]), ["deu", "jpn"], ["nld", "jpn"])
    np.testing.assert_allclose(found["own"], np.log10([1, 1, 1, 901]))
    np.testing.assert_allclose(found["same_script"], np.log10([101, 1, 1, 1]))
    np.testing.assert_allclose(found["total"], np.log10([101, 101, 901, 901]))
    assert found["genetic"][0] < found["genetic"][2]
    assert np.isnan(found["genetic"][3])  # no language but the target's own
    np.testing.assert_array_equal(found["unspaced"], [0, 1, 0, 1])
    assert "words" not in found


def test_distances_of_word_lists_are_features_of_a_mixture_where_there_are_some(tmp_path: Path) -> None:
    tmp_path.joinpath("devries2022_udpos-langs.csv").write_text("language,language_id,script\nGerman,de,Latn\nDutch,nl,Latn\nFinnish,fi,Latn\n")
    tmp_path.joinpath("devries2022_ldnd.csv").write_text(",German,Dutch,Finnish\nGerman,,40,99\nDutch,40,,90\nFinnish,99,90,\n")
    found = mixture_features(np.array([[100.0, 300.0], [100.0, 0.0]]), ["deu", "fin"], ["nld", "deu", "jpn"], words(tmp_path))
    np.testing.assert_array_equal(found["words"], [77.5, 99, np.nan, 40, np.nan, np.nan])
    np.testing.assert_array_equal(found["words_nearest"], [40, 99, np.nan, 40, np.nan, np.nan])


def test_without_word_lists_the_command_says_so_and_does_without(tmp_path: Path) -> None:
    train, test = (small_sumeval(tmp_path / part, 12, seed, part) for seed, part in enumerate(("train", "test")))
    known = pl.read_csv(train / "sumeval2022_scores.csv").filter(pl.col("target") != "sw")
    known.write_csv(train / "sumeval2022_scores.csv")
    said = {figure.name: figure.value for figure in new_targets(train, test)}
    assert said["new_target.overlap"] == "none, for the folder has no devries2022_ldnd.csv" and said["new_target.ridge.rmse"] > 0


def ranked(sources: int = 12, targets: int = 6) -> tuple[pl.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    near, ease = rng.uniform(size=(targets, sources)), rng.normal(0, 3, (targets, 1))
    frame = pl.DataFrame({"target": np.repeat(np.arange(targets), sources).astype(str), "near": near.ravel(), "noise": rng.uniform(size=near.size)})
    return frame, (ease + near).ravel()


def test_lambdarank_ranks_as_the_outcome_does() -> None:
    pytest.importorskip("lightgbm")
    frame, outcome = ranked()
    scores = LambdaRank(("near", "noise")).fit(frame, outcome).predict(frame)
    assert np.corrcoef(scores, frame["near"])[0, 1] > 0.7


def test_within_target_forgets_how_hard_a_target_is() -> None:
    frame, outcome = ranked()
    folds = [(np.arange(36), np.arange(36, 72)), (np.arange(36, 72), np.arange(36))]
    model = WithinTarget((pipelines(["near", "noise"])["ridge"],), cv=folds)
    easier = outcome + 100 * (frame["target"] == "0").to_numpy()
    np.testing.assert_allclose(model.fit(frame, outcome).predict(frame), model.fit(frame, easier).predict(frame))


def test_the_nearest_source_first_and_an_unknown_one_last() -> None:
    frame = pl.DataFrame({"a": [0.5, 0.1, None], "b": [0.1, None, None]})
    assert Nearest(("a", "b")).predict(frame).argsort().tolist() == [2, 0, 1]


def small_manafi(folder: Path) -> pl.DataFrame:
    """Five pairs and two models, F1 rising with overlap; written to the folder."""
    rows = [("en", code, model, "transfer", overlap, 0.4 + overlap + 0.05 * (number % 3))
            for model in ("bert", "xlmroberta") for number, (code, overlap) in enumerate(zip(["de", "fr", "es", "it", "nl"], [0.1, 0.2, 0.3, 0.35, 0.5], strict=True))]  # fmt: skip
    names = ["src", "tgt", "model", "setting", "overlap_tgt_with_src", "f1"]
    frame = pl.DataFrame(rows, names, orient="row")
    frame.write_csv(folder / "manafi2024_perturbation_ner.csv")
    return frame


def test_json_has_a_value_by_name(tmp_path: Path, capsys) -> None:
    small_manafi(tmp_path)
    assert main(["manafi", "--data", str(tmp_path), "--test", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["mbert.n"] == 5
    assert found["mbert.r"] > 0.8
    assert found["mbert.test.line.rmse"] < found["mbert.test.mean.rmse"]


def test_an_empty_folder_is_refused(tmp_path: Path, capsys) -> None:
    assert main(["langrank", "--data", str(tmp_path)]) == 2
    assert "has no lin2019_pos.csv" in capsys.readouterr().err


FIRST = pl.int_range(pl.len()) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.with_columns(f1=pl.when(FIRST).then(pl.lit("n/a")).otherwise(pl.col("f1").cast(pl.String))), "'f1' holds 'n/a' in row 4"),
        (lambda frame: frame.with_columns(f1=pl.when(FIRST).then(float("nan")).otherwise("f1")), "1 rows have no f1 (the first: row 4)"),
        (lambda frame: frame.with_columns(tgt=pl.when(FIRST).then(None).otherwise("tgt")), "1 rows have no target"),
        (lambda frame: frame.filter(pl.col("model") == "bert"), "no transfer of xlmr"),
        (lambda frame: frame.head(0), "no rows"),
        (lambda frame: frame.drop("f1"), "no column 'f1'"),
    ],
)  # fmt: skip
def test_a_published_table_that_was_damaged_is_refused_by_name(tmp_path: Path, capsys, change, said: str) -> None:
    change(small_manafi(tmp_path)).write_csv(tmp_path / "manafi2024_perturbation_ner.csv")
    assert main(["manafi", "--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error


@pytest.mark.parametrize(
    ("rank", "said"), [(["1", "x"], "'rank' holds 'x' in row 2"), (["1", ""], "1 rows have no rank"), (["1", "2"], "no rank of English")]
)
def test_ranks_that_are_none_are_refused(tmp_path: Path, capsys, rank: list[str], said: str) -> None:
    lines = ["source,target,rank", *(f"{source},hau,{value}" for source, value in zip(["swa", "yor"], rank, strict=True))]
    (tmp_path / "masakhaner2_transfer_ranks.csv").write_text("\n".join(lines))
    assert main(["masakhaner2", "--data", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


def test_runs_without_an_f1_are_refused(tmp_path: Path) -> None:
    (tmp_path / "masakhaner2_in_language_seeds.csv").write_text("lang,model,run,f1\nhau,xlmrlarge,1,0.8\nhau,xlmrlarge,2,nan\n")
    with pytest.raises(DataError, match="1 rows have no f1"):
        masakhaner2_runs(tmp_path)


def test_a_configuration_without_sizes_is_refused(tmp_path: Path) -> None:
    folder = small_sumeval(tmp_path / "a", 5, 0, "train")
    path = folder / "sumeval2022_configs.csv"
    path.write_text(path.read_text().replace("en:", "en=", 1))
    with pytest.raises(DataError, match="code:examples"):
        sumeval(folder)


def test_published_figures_of_small_tables(shared: Path, capsys) -> None:
    assert main(["manafi", "--data", str(shared / "data/results"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    published = [("mbert", (0.49, -0.09, 0.82)), ("xlmr", (0.56, 0.01, 0.85))]
    for model, values in published:
        np.testing.assert_allclose([found[f"{model}.{name}"] for name in ("r", "fisher_low", "fisher_high")], values, atol=0.006)


def test_published_tables_are_read(shared: Path) -> None:
    folder = shared / "data/results"
    ranks = masakhaner2_ranks(folder).frame
    assert ranks.filter(pl.col("source") == "eng")["rank"].mean() == pytest.approx(16.8)
    collapsed = masakhaner2_runs(folder).filter("collapsed")["model"].value_counts()
    assert dict(collapsed.iter_rows()) == {"xlmrlarge": 15, "rembert": 1}
    assert len(manafi(folder).frame) == 26
    assert langrank(folder, "pos").frame["accuracy"].null_count() == 0
    pos = devries(folder).frame
    assert (pos["source"].n_unique(), pos["target"].n_unique(), len(pos)) == (65, 105, 65 * 104)
    table = mixtures(*sumeval(folder))
    assert table.examples.shape == (400, 37)
    assert table.scores.shape == (400, 39)
