"""What a study can find, before it runs: the power for each hypothesis, by simulation from the study's axes.

It draws tables in which nothing is planted, with spreads between languages as in published tables, and asks the
functions that the report uses (`analysis.contrast`, `analysis.diversity`) how wide their intervals are for these
sources, targets and seeds. They are linear in the outcome, so an effect moves estimate and interval alike, and one set
of tables gives the power for every effect.

`python -m engine.study FILE --plan` quotes it, so it imports nothing slow. `python -m analysis.design DIR` computes
the assumed spreads anew from a folder with the published tables.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from analysis.contrast import mean, slope
from analysis.diversity import jackknife, questions, source_sets, spread
from analysis.jackknife import Jackknife
from analysis.pairs import FEWEST, Pairs
from engine.spec import Study

POWER = 0.8
DISTANCE = "featural"
FEATURES = 10  # draws of a feature that is not known before it is measured

Planned = list[tuple[tuple[str, ...], str]]  # source sets and targets
Test = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # (n, tables) -> estimates, half widths of 95% intervals


class Spread(NamedTuple):
    """Standard deviations between sources, between targets, and between pairs beyond these."""

    source: float
    target: float
    pair: float


class Assumptions(NamedTuple):
    """How far outcomes spread where nothing is planted, and the smallest effects worth finding. F1 is from 0 to 1.

    `f1`: of direct transfer; the 63 pairs of MasakhaNER in beukman2023_masakhaner1_zero_shot.csv, base model. `gain`:
    of one system over another on the same pair; there, of the model adapted to Swahili over the base model. No
    published table has gains of students by pair; those of Wu et al. 2020 spread by .005, over three near languages.
    `rise`: of F1 per tenfold volume; labeled sentences of WikiANN by target, in sumeval2022_scores.csv. `seed`: of runs
    that differ in their seed; the models of masakhaner2_in_language_seeds.csv, runs below .5 left out. `robust`: of what
    a target loses to its names' replacement, per share of entities edited, by direct transfer less in-language training;
    the 13 targets of manafi2024_perturbation_ner.csv, mean of its two models, as if both were edited as much as transfer
    (more is edited for in-language training, so this is rather too large). `published` computes these.

    `alignment`: of two languages' alignment, of which only the ratios count. No published table has it before a study
    measures it: that source, target and pair have a third of it each is a guess.
    """

    f1: Spread = Spread(0.064, 0.097, 0.078)
    gain: Spread = Spread(0.042, 0.031, 0.046)
    rise: Spread = Spread(0.0, 0.018, 0.0)
    robust: Spread = Spread(0.0, 0.183, 0.0)
    alignment: Spread = Spread(1.0, 1.0, 1.0)
    seed: float = 0.0077
    smallest: float = 0.01


class Hypothesis(NamedTuple):
    """What is asked of some pairs. `outcome`: its spread. `noise`: the standard deviation that seeds leave in a
    mean."""

    name: str
    unit: str
    pairs: Planned
    outcome: Spread
    noise: float
    test: Test
    crossed: bool = True  # whether the test is `analysis.contrast`'s


def power(study: Study, assumed: Assumptions | None = None, random_state: int = 0) -> pl.DataFrame:
    """What the study would find, a row per hypothesis that its axes allow.

    Columns: hypothesis, unit (of the effect), smallest (the effect worth finding), power (the probability that the
    interval excludes zero where the effect is so large), detectable (the effect with a power of .8), pairs, languages,
    over (in words, the languages that the interval is over), seeds. Power and detectable are null with fewer than four languages. For one model and dataset, without a correction
    for several hypotheses; by some hundred tables, so +-.03.
    """
    assumed, rng, rows = assumed or Assumptions(), np.random.default_rng(random_state), []
    for asked in _hypotheses(study, assumed, rng):
        row = {"hypothesis": asked.name, "unit": asked.unit, "smallest": assumed.smallest}
        row |= {"power": None, "detectable": None}
        pairs = _pairs(asked.pairs)
        languages, over, outcome = pairs.units, f"{pairs.units} languages", asked.outcome
        if languages >= FEWEST:
            if asked.crossed:
                left = Jackknife.of(pairs)
                over = left.over
                outcome = outcome._replace(**{left.fixed: 0.0} if left.fixed else {})  # the effect is of these languages
            estimate, half = asked.test(_tables(asked.pairs, outcome, asked.noise, _size(len(asked.pairs)), rng))
            needed = half - estimate  # an effect above it moves the interval off zero
            row |= {"power": float((needed < assumed.smallest).mean()), "detectable": float(np.quantile(needed, POWER))}
        rows.append(row | {"pairs": len(asked.pairs), "languages": languages, "over": over, "seeds": len(study.seeds)})
    return pl.DataFrame(rows, infer_schema_length=None)


def lines(study: Study) -> list[str]:
    """The power as text, for --plan."""
    found = power(study)
    if found.is_empty():
        return ["power: no hypothesis of the report's can be tested on these cells: they compare direct transfer, students or source sets over pairs of languages"]
    if (languages := found["languages"].max()) < FEWEST:
        return [f"power: {languages} languages are too few to say anything of languages in general; it takes {FEWEST}"]
    head = f"power with {len(study.seeds)} seeds, if scores spread as in published tables (analysis/design.py):"
    return [head, *map(_line, found.iter_rows(named=True))]


def _line(row: dict[str, Any]) -> str:
    where = f"  {row['hypothesis']} ({row['pairs']} pairs, {row['over']}):"
    if row["power"] is None:
        return f"{where} cannot tell"
    effect = f"finds {row['detectable']:.3f} {row['unit']} with probability {POWER}"
    return f"{where} {effect}, {row['smallest']} with {row['power']:.2f}"


def _hypotheses(study: Study, assumed: Assumptions, rng: np.random.Generator) -> Iterator[Hypothesis]:
    pairs = [(codes, target) for codes in study.sources for target in study.targets if target not in codes]
    if not pairs or set(study.methods) == {"in-language"}:
        return
    noise, of_means = assumed.seed / np.sqrt(len(study.seeds)), _test(pairs, mean)
    volumes = [volume for volume in study.volumes if volume]
    direct, students = "direct" in study.methods, "teacher-student" in study.methods and bool(volumes)
    of_gain = np.sqrt(2) * noise
    if students and direct:
        yield Hypothesis("gain over the teacher", "F1", pairs, assumed.gain, of_gain, of_means)
    if students and len(volumes) > 1:
        of_rise = noise / (np.log10(volumes).std() * np.sqrt(len(volumes)))
        yield Hypothesis("rise with volume", "F1 per tenfold", pairs, assumed.rise, of_rise, of_means)
    near = source_sets(*zip(*pairs, strict=True), DISTANCE)["to_target"]
    placed = [pair for pair, known in zip(pairs, near.is_not_null(), strict=True) if known]
    x = near.drop_nulls().to_numpy()
    if len(placed) > 2 and x.std() > 0:
        test = _slope(placed, x)
        if direct:
            yield Hypothesis("F1 falls with distance", "F1 per sd", placed, assumed.f1, noise, test)
        if students:
            yield Hypothesis("the gain falls with distance", "F1 per sd", placed, assumed.gain, of_gain, test)
    if {"alignment", "all"} & set(study.measures):
        test = _unknown(pairs, assumed.alignment, rng)
        if direct:
            yield Hypothesis("F1 rises with alignment", "F1 per sd", pairs, assumed.f1, noise, test)
        if students:
            yield Hypothesis("the gain rises with alignment", "F1 per sd", pairs, assumed.gain, of_gain, test)
    described = source_sets(*zip(*pairs, strict=True))
    several = described.select((pl.col("n_sources") > 1) & pl.col("log_determinant").is_not_null()).to_series()
    sets = [pair for pair, known in zip(pairs, several, strict=True) if known]
    if len(sets) > 2:
        coefficients = jackknife(described.filter(several), "mean_distance", *map(list, zip(*sets, strict=True)))
        per_sd = np.sqrt(len(sets) * (coefficients[0] @ coefficients[0]))  # as `analysis.diversity` has it
        methods = [method for method in study.methods if method == "direct" or volumes]
        for name, _, outcome in questions(methods) if np.isfinite(coefficients).all() else ():
            varies = (assumed.f1, noise) if outcome == "f1" else (assumed.gain, of_gain)
            yield Hypothesis(
                name, "F1 per sd", sets, *varies, lambda outcomes: spread(coefficients @ outcomes / per_sd)[:2], crossed=False
            )
    if {"direct", "in-language"} <= set(study.methods):
        whole = [(("all sources",), target) for target in sorted({target for _, target in pairs})]
        test = _test(whole, mean)
        for perturbation in sorted({*study.perturbations} - {"none"}):  # the spread has its seeds' noise in it
            yield Hypothesis(f"robust to {perturbation}", "F1 per share edited", whole, assumed.robust, 0.0, test)


def _test(planned: Planned, linear: Callable[[np.ndarray], np.ndarray], coefficients: int = 1) -> Test:
    """The test that `analysis.contrast` makes of these pairs."""
    left = Jackknife.of(_pairs(planned))
    linear_in = linear(left.weights)

    def test(outcomes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        estimate, low, high, _ = left.interval(linear_in @ outcomes, coefficients)
        return estimate, (high - low) / 2

    return test


def _slope(planned: Planned, x: np.ndarray) -> Test:
    """The test of a slope, per standard deviation of `x`; a role that is fixed is held."""
    pairs = _pairs(planned)
    role = Jackknife.of(pairs).fixed
    return _test(planned, partial(slope, x=x / x.std(), groups=role and getattr(pairs, role)), 2)


def _unknown(planned: Planned, feature: Spread, rng: np.random.Generator) -> Test:
    """The test of a slope on a feature that has yet to be measured: some draws of it, each for its part of the tables."""
    drawn = _tables(planned, feature, 0.0, FEATURES, rng)
    tests = [_slope(planned, x) for x in drawn.T]

    def test(outcomes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = np.array_split(outcomes, len(tests), axis=1)
        estimate, half = zip(*(one(part) for one, part in zip(tests, parts, strict=True)), strict=True)
        return np.concatenate(estimate), np.concatenate(half)

    return test


def _tables(planned: Planned, spread: Spread, noise: float, tables: int, rng: np.random.Generator) -> np.ndarray:
    """Outcomes, (n, tables), in which nothing is planted. A source set's effect is the mean of its languages'."""
    pairs = _pairs(planned)
    members = [name.split("+") for name in pairs.languages]
    codes = sorted({code for names in members for code in names})
    shares = np.array([[(code in names) / len(names) for code in codes] for names in members])
    of_sources = shares @ rng.normal(0, spread.source, (len(codes), tables))
    of_targets = rng.normal(0, spread.target, (len(members), tables))
    own = rng.normal(0, np.hypot(spread.pair, noise), (len(planned), tables))
    return of_sources[pairs.source] + of_targets[pairs.target] + own


def _pairs(planned: Planned) -> Pairs:
    names = [("+".join(codes), target) for codes, target in planned]
    languages = tuple(sorted({name for pair in names for name in pair}))
    place = {name: number for number, name in enumerate(languages)}
    source, target = (np.array([place[name] for name in role]) for role in zip(*names, strict=True))
    return Pairs(np.zeros(len(names)), np.zeros((len(names), 0)), (), source, target, languages)


def _size(pairs: int) -> int:
    """Tables: fewer where there are many pairs, so that --plan stays quick."""
    return int(np.clip(np.sqrt(1e8 / pairs), 100, 400))


def published(folder: Path) -> Assumptions:
    """The assumptions as the published tables in a folder have them."""
    scores = pl.read_csv(folder / "beukman2023_masakhaner1_zero_shot.csv").filter(
        (pl.col("source") != pl.col("target")) & (pl.col("source") != "base")
    )
    wide = scores.pivot("start_model", index=["source", "target"], values="f1")
    runs = pl.read_csv(folder / "masakhaner2_in_language_seeds.csv").filter(pl.col("f1") > 0.5)
    by_seed = runs.group_by("lang", "model").agg(pl.col("f1").var())["f1"].drop_nulls().mean()
    return Assumptions(
        f1=components(wide["source"], wide["target"], wide["base"] / 100),
        gain=components(wide["source"], wide["target"], (wide["swa"] - wide["base"]) / 100),
        rise=Spread(0.0, _rises(folder).std(), 0.0),
        robust=Spread(0.0, _robust(folder), 0.0),
        seed=float(np.sqrt(by_seed)),
    )


def components(source: pl.Series, target: pl.Series, outcome: pl.Series) -> Spread:
    """Standard deviations by source, target and pair, of pairs in any incomplete table.

    Half the mean squared difference of two pairs is the variance of all in which they differ. 0 where noise makes a
    variance negative.
    """
    half = (outcome.to_numpy()[:, None] - outcome.to_numpy()) ** 2 / 2
    same_source, same_target = (role.to_numpy()[:, None] == role.to_numpy() for role in (source, target))
    of_all = half[~same_source & ~same_target].mean()
    of_target, of_source = half[same_source & ~same_target].mean(), half[~same_source & same_target].mean()
    parts = np.array([of_all - of_target, of_all - of_source, of_target + of_source - of_all])
    return Spread(*(float(value) for value in np.sqrt(np.maximum(parts, 0))))


def _rises(folder: Path) -> pl.Series:
    """The slope of WikiANN F1 on log10(n + 1) for each target that was among its own sources at several n."""
    configs = pl.read_csv(folder / "sumeval2022_configs.csv").filter(pl.col("task") == "WikiANN")
    scores = pl.read_csv(folder / "sumeval2022_scores.csv").join(configs, on="config")
    own = [
        dict(part.split(":") for part in pivots.split()).get(target, 0)
        for pivots, target in scores.select("pivots", "target").rows()
    ]
    known = scores.with_columns(x=np.log10(np.array(own, dtype=float) + 1)).filter(pl.col("x").n_unique().over("target") > 1)
    return known.group_by("target").agg(rise=pl.cov("x", "score") / pl.col("x").var())["rise"]


def _robust(folder: Path) -> float:
    """The standard deviation between targets of the change per share edited, direct transfer less in-language training.

    As `analysis.contrast.robustness` weighs them: a target's change less what its share makes expect, by the mean share.
    """
    runs = pl.read_csv(folder / "manafi2024_perturbation_ner.csv").with_columns(
        change=pl.col("f1_p1") - pl.col("f1"), share=pl.col("overlap_tgt_with_src")
    )
    ratio = pl.col("change").sum() / pl.col("share").sum()
    left = ((pl.col("change") - ratio * pl.col("share")) / pl.col("share").mean()).over("model", "setting")
    sign = pl.when(pl.col("setting") == "transfer").then(1).otherwise(-1)
    return runs.with_columns(left=left * sign).group_by("model", "tgt").agg(pl.col("left").sum()).group_by("model").agg(
        pl.col("left").std()
    )["left"].mean()  # fmt: skip


def main(arguments: list[str]) -> int:
    """Print the assumed spreads beside those of the tables in a folder."""
    if len(arguments) != 1 or not Path(arguments[0], "sumeval2022_configs.csv").is_file():
        print("usage: python -m analysis.design DIR, the folder with sumeval2022_configs.csv and others", file=sys.stderr)
        return 2
    there, assumed = published(Path(arguments[0])), Assumptions()
    for name in ("f1", "gain", "rise", "robust", "seed"):
        print(f"{name}: assumed {getattr(assumed, name)}, in the tables {getattr(there, name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
