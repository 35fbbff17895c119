"""Whether the analysis finds what was planted, and only that: simulated tables of language pairs; and how fast it draws."""

import gc
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product
from multiprocessing import get_context

import numpy as np
import polars as pl
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec
from threadpoolctl import threadpool_limits

from analysis.contrast import mean
from analysis.correlate import correlate
from analysis.importance import importance
from analysis.jackknife import Jackknife
from analysis.mixed import CrossedEffects
from analysis.pairs import Pairs
from benchmarks.measure import seconds
from benchmarks.report import Report

TABLES, DRAWS, EFFECT = 500, 499, -0.5
MEANS = 4_000  # tables for a mean: one product of matrices has them all
LANGUAGES, MANY_DRAWS, FEATURES = 100, 10_000, 7
COORDINATES = 3
NAMES = ("distance", "property")
LOW, HIGH, ALARMS = 0.92, 0.98, 0.07
SIMULATED = (
    f"Shares of {TABLES} simulated tables. Their outcome is a distance times an effect, plus a random effect of the source, one "
    "of the target, and noise of the pair, a third of the remaining variance each. The distance is between languages of "
    f"{COORDINATES} normal coordinates. The property is the target's alone and has no effect."
)
COMPARED = (
    "By language: the interval of `analysis.correlate` and its permutation test; by row: Fisher's interval and the test that "
    "take pairs for independent. Bootstrap: quantiles of the weighted bootstrap by language. Model: `analysis.mixed`, the slope "
    "of the same distance beside the property. Shares: `analysis.importance`, of R2, by language and by row."
)

OF_MEANS = (
    f"Means: of {MEANS:,} tables with such effects and noise and without a distance, `analysis.contrast` against the t interval of rows. "
    "A source set has the mean of its languages' effects. Of a role that is fixed (“for these”), the mean of these is to be "
    "covered. The false alarms are the rest: intervals move with the mean."
)


@dataclass(frozen=True)
class Design:
    """Each source with each target, or a share of them; where `both`, the same languages have both roles, and none is its own."""

    sources: int
    targets: int
    both: bool = False
    share: float = 1.0

    def __str__(self) -> str:
        some = "" if self.share == 1 else f", {self.share:.0%} of pairs"
        return (f"{self.sources} languages" if self.both else f"{self.sources} sources x {self.targets} targets") + some


DESIGNS = (Design(10, 10, True), Design(20, 20, True), Design(40, 40, True), Design(10, 20), Design(5, 40), Design(15, 15, True, 0.7))

MEAN_OF = (Design(2, 20), Design(3, 20), Design(4, 20), Design(5, 10), Design(5, 40), Design(40, 5), Design(20, 20), Design(10, 10, True))
SETS = ((5, 6), (5, 12), (8, 10))  # languages, of which all sets of two are sources; and targets


def table(design: Design, effect: float, rng: np.random.Generator) -> pl.DataFrame:
    """Simulate one. `effect`: the correlation of outcome and distance, and the slope: both have variance 1."""
    source, target = np.divmod(np.arange(design.sources * design.targets), design.targets)
    if design.both:
        apart = source != target
        source, target = source[apart], target[apart]
    else:
        target = target + design.sources
    languages = target.max() + 1
    places = rng.standard_normal((languages, COORDINATES))
    chi = stats.chi(COORDINATES, scale=np.sqrt(2))
    distance = (np.linalg.norm(places[source] - places[target], axis=1) - chi.mean()) / chi.std()
    of_source, of_target = rng.standard_normal((2, languages))
    rest = (of_source[source] + of_target[target] + rng.standard_normal(len(source))) / np.sqrt(3)
    pairs = pl.DataFrame({
        "source": [f"l{number}" for number in source], "target": [f"l{number}" for number in target],
        "distance": distance, "property": rng.standard_normal(languages)[target],
        "f1": effect * distance + np.sqrt(1 - effect**2) * rest,
    })  # fmt: skip
    return pairs.filter(pl.Series(rng.random(len(pairs)) < design.share))


def outcomes(seed: int, design: Design, effect: float) -> dict[str, bool]:
    """Of one table: whether the intervals of distance cover the effect, and whether the tests find what is there not."""
    frame = table(design, effect, np.random.default_rng(seed))
    found = correlate(frame, "f1", NAMES, draws=DRAWS, random_state=seed).filter(pl.col("method") == "pearson")
    slopes = CrossedEffects().fit(frame, "f1", NAMES).coef_.rename({"p": "slope_p", "low": "slope_low", "high": "slope_high"})
    distance, alone = found.join(slopes, on="feature", maintain_order="left").iter_rows(named=True)
    kinds = {"language": "", "bootstrap": "boot_", "row": "row_", "model": "slope_"}
    result = {f"covered by {by}": distance[f"{kind}low"] <= effect <= distance[f"{kind}high"] for by, kind in kinds.items()}
    kinds.pop("bootstrap")
    found_by = {f"{row['feature']} found by {by}": row[f"{kind}p"] <= 0.05 for row in (distance, alone) for by, kind in kinds.items()}
    shares = importance(frame, "f1", {name: [name] for name in NAMES}, draws=DRAWS, random_state=seed).rows_by_key("block", named=True, unique=True)
    for name, truth in zip(NAMES, (effect**2, 0.0), strict=True):
        for by, kind in {"language": "", "row": "row_"}.items():
            result[f"share of {name} covered by {by}"] = shares[name][f"{kind}low"] <= truth <= shares[name][f"{kind}high"]
    return result | found_by


def rates(design: Design, effect: float, tables: int = TABLES) -> dict[str, float]:
    """The shares of so many tables in which each of `outcomes` holds."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"), initializer=_one_of_many) as pool:
        each = pool.map(partial(outcomes, design=design, effect=effect), range(tables), chunksize=10)
        return pl.DataFrame(list(each)).mean().row(0, named=True)


def _one_of_many() -> None:
    gc.freeze()  # what is imported is not looked at again by the garbage collector, which multipletests calls each time
    threadpool_limits(1)


def means() -> Iterator[tuple[str, dict[str, float]]]:
    """For each of MEAN_OF and SETS what it is, and the shares of tables whose mean the intervals cover, by language and by row."""
    rng = np.random.default_rng(0)
    for design in MEAN_OF:
        yield str(design), _covered(Pairs.of(table(design, 0.0, rng), "f1", ()), rng)
    for languages, targets in SETS:
        sets = ["+".join(pair) for pair in combinations((f"s{number}" for number in range(languages)), 2)]
        cells = pl.DataFrame(product(sets, (f"t{number}" for number in range(targets))), ["source", "target"], orient="row")
        named = f"all {len(sets)} sets of two of {languages} sources x {targets} targets"
        yield named, _covered(Pairs.of(cells.with_columns(f1=pl.int_range(pl.len())), "f1", ()), rng)


def _covered(pairs: Pairs, rng: np.random.Generator) -> dict[str, float]:
    codes, held = pairs.members
    effects = {role: held / held.sum(axis=1, keepdims=True) @ rng.standard_normal((len(codes), MEANS)) for role in ("source", "target")}
    effects = {role: of_each[getattr(pairs, role)] for role, of_each in effects.items()}
    outcomes = effects["source"] + effects["target"] + rng.standard_normal(effects["source"].shape)
    left = Jackknife.of(pairs)
    truth = effects[left.fixed].mean(axis=0) if left.fixed else 0.0
    _, low, high, _ = left.interval(mean(left.weights) @ outcomes)
    row = stats.ttest_1samp(outcomes, 0).confidence_interval()
    return {"language": float(np.mean((low <= truth) & (truth <= high))), "row": float(np.mean((row.low <= truth) & (truth <= row.high)))}


def run() -> Report:
    """Simulate all designs, and time the draws."""
    figures, rows = {}, []
    for design, effect in product(DESIGNS, (EFFECT, 0.0)):
        shares = rates(design, effect)
        figures |= {f"{design}, effect {effect:g}: {name}": share for name, share in shares.items()}
        rows += _rows(design, effect, shares)
    for name, shares in means():
        figures |= {f"mean, {name}: covered by {by}": share for by, share in shares.items()}
        rows.append((f"mean, {name}: 95% interval covers", f"{shares['language']:.1%}", "", "", f"{shares['row']:.1%}", f">= {1 - ALARMS:.0%}"))
    for name, value, goal in _speed():
        figures[name] = value
        rows.append((name, f"{value:.1f}", "", "", "", goal))
    return Report("statistics", ("tables", "by language", "bootstrap", "model", "by row", "goal"), rows, figures, (SIMULATED, COMPARED, OF_MEANS))


def _rows(design: Design, effect: float, shares: dict[str, float]) -> Iterator[tuple[str, ...]]:
    said = f"{design}, " + (f"effect {effect:g}" if effect else "no effect")
    covered = [f"{shares[f'covered by {by}']:.1%}" for by in ("language", "bootstrap", "model", "row")]
    yield f"{said}: 95% interval covers", *covered, f"{LOW:.0%}-{HIGH:.0%}"
    for name in NAMES:
        covered = [f"{shares[f'share of {name} covered by {by}']:.1%}" for by in ("language", "row")]
        yield f"{said}: 95% interval covers the share of R2, {name}", covered[0], "", "", covered[1], f">= {LOW:.0%}"
        if effect and name == "distance":
            continue
        by = [f"{shares[f'{name} found by {by}']:.1%}" for by in ("language", "model", "row")]
        yield f"{said}: false alarms, {name}", by[0], "", *by[1:], f"<= {ALARMS:.0%}"


def _speed() -> Iterator[tuple[str, float, str]]:
    rng = np.random.default_rng(0)
    names = [f"x{number}" for number in range(FEATURES)]
    frame = table(Design(LANGUAGES, LANGUAGES, True), 0.0, rng)
    frame = frame.with_columns(pl.Series(name, rng.standard_normal(len(frame))) for name in names)
    for chosen in (names[:1], names):
        what = f"{LANGUAGES} languages, features: {len(chosen)}; {MANY_DRAWS:,} bootstraps and permutations, s"
        yield what, seconds(lambda chosen=chosen: correlate(frame, "f1", chosen, draws=MANY_DRAWS)), "< 30"
    many = table(Design(65, 105), EFFECT, rng)
    yield "65 x 105 languages: statsmodels' mixed model, s", seconds(lambda: _statsmodels(many)), ""
    yield "65 x 105 languages: ours, s", seconds(lambda: CrossedEffects().fit(many, "f1", NAMES)), ""


def _statsmodels(frame: pl.DataFrame) -> None:
    codes = {name: np.unique(frame[name], return_inverse=True)[1] for name in ("source", "target")}
    dummies = [np.eye(code.max() + 1)[code] for code in codes.values()]
    effects = VCSpec(list(codes), [[[str(level) for level in range(columns.shape[1])]] for columns in dummies], [[z] for z in dummies])
    x = np.column_stack([np.ones(len(frame)), frame.select(NAMES)])
    MixedLM(frame["f1"].to_numpy(), x, groups=np.zeros(len(frame)), exog_re=None, exog_vc=effects).fit()
