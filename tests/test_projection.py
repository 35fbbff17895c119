"""Annotation projection: exact matching is at least as good as greedy, tags are IOB2, gold alignment gives back gold tags."""

from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data import sandbox
from engine.data.iob2 import keep, rules
from engine.data.sentences import Sentence
from engine.errors import DataError, StudyError
from engine.fingerprint import fingerprint
from engine.projection import match, scores
from engine.projection.alignment import Alignment, as_matrix, as_pairs
from engine.projection.candidates import ngrams, predicted
from engine.projection.project import candidates, project, project_all
from engine.spec import Projection
from engine.tasks.ner import ALL, count, f1, spans, tag_set

TAGS = tag_set(("LOC", "ORG", "PER"))
ADA = Sentence(("Ada", "Lovelace", "saw", "London"), ("B-PER", "I-PER", "O", "B-LOC"))
BOUNDS = ("at most", "at least")


@st.composite
def problems(draw: st.DrawFn, words: int = 8, entities: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Scores (S, T) of entities and the n-grams of a sentence; many are 0, and many are equal."""
    places = ngrams(draw(st.integers(1, words)), draw(st.integers(1, 4)))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    shape = draw(st.integers(1, entities)), len(places)
    return rng.integers(0, 4, shape) / 4 * (rng.random(shape) < draw(st.sampled_from((0.2, 0.9)))), places


def served(table: np.ndarray, matches: match.Matches, n_proj: int) -> int:
    """How many of the spans that each entity with a possible match should have it has."""
    counts = [sum(entity == e for entity, _ in matches) for e in np.flatnonzero((table > 0).any(1))]
    return sum(min(n, n_proj) for n in counts)


def brute_force(table: np.ndarray, places: np.ndarray, n_proj: int, bound: str) -> tuple[int, float]:
    """The most spans served (0 for "at most"), and the largest objective with them."""
    best = (0, 0.0)
    usable = [t for t in range(len(places)) if (table[:, t] > 0).any()]
    for owners in product((None, *range(len(table))), repeat=len(usable)):
        chosen = [(e, t) for e, t in zip(owners, usable, strict=True) if e is not None]
        few_enough = bound == "at least" or all(sum(e == s for e, _ in chosen) <= n_proj for s in range(len(table)))
        if few_enough and all(table[pair] > 0 for pair in chosen) and disjoint(places, chosen):
            best = max(best, (served(table, chosen, n_proj) if bound == "at least" else 0, match.objective(table, chosen)))
    return best


def disjoint(places: np.ndarray, matches: match.Matches) -> bool:
    covered = [word for _, t in matches for word in range(*places[t])]
    return len(covered) == len({*covered})


def is_iob2(tags: tuple[str, ...]) -> bool:
    return keep(tags, rules(("LOC", "ORG", "PER"), ()), str) == tags


@given(problems(words=20, entities=5), st.integers(1, 3), st.sampled_from(BOUNDS))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_exact_matching_is_never_below_greedy_and_no_two_spans_share_a_word(problem, n_proj: int, bound: str) -> None:
    table, places = problem
    exact, greedy = (solve(table, places, n_proj, bound) for solve in (match.ilp, match.greedy))
    for matches in (exact, greedy):
        assert disjoint(places, matches) and all(table[pair] > 0 for pair in matches)
        assert bound == "at least" or all(sum(e == s for e, _ in matches) <= n_proj for s in range(len(table)))
    gain = [(served(table, m, n_proj) if bound == "at least" else 0, match.objective(table, m)) for m in (exact, greedy)]
    assert gain[0][0] > gain[1][0] or gain[0][0] == gain[1][0] and gain[0][1] >= gain[1][1] - 1e-9


@given(problems(words=4, entities=2), st.integers(1, 3), st.sampled_from(BOUNDS))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_exact_matching_is_what_trying_everything_finds(problem, n_proj: int, bound: str) -> None:
    table, places = problem
    places, table = places[:8], table[:, :8]
    most, best = brute_force(table, places, n_proj, bound)
    found = match.ilp(table, places, n_proj, bound)
    assert match.objective(table, found) == pytest.approx(best)
    assert bound == "at most" or served(table, found, n_proj) == most


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Sentence, int, Alignment]:
    """A tagged sentence, its translation's length, and an alignment that may be nonsense."""
    random = Random(draw(st.integers(0, 9999)))
    tags: list[str] = []
    while len(tags) < draw(st.integers(1, 12)):
        kind = random.choice(("LOC", "ORG", "PER", None, None))
        tags += [f"B-{kind}", *[f"I-{kind}"] * random.randrange(4)] if kind else ["O"]
    target = draw(st.integers(1, 12))
    links = {(random.randrange(len(tags)), random.randrange(target)) for _ in range(draw(st.integers(0, 20)))}
    return Sentence(tuple(f"w{i}" for i in range(len(tags))), tuple(tags)), target, tuple(sorted(links))


@pytest.mark.parametrize(
    "how",
    [
        Projection(),
        Projection(gap=3, length_ratio=0.0),
        Projection(matching="ilp"),
        Projection(matching="ilp", n_proj=2, score="fused", weights=(0.5, 0.5, 0.0)),
        Projection(matching="ilp", bound="at least", candidates="ner"),
        Projection(matching="greedy", n_proj=3, score="ner"),
        Projection(matching="greedy", score="ner_spans", max_words=2, bound="at least"),
        Projection(matching="ilp", score="fused"),
    ],
    ids=lambda how: f"{how.matching}-{how.score}-{how.n_proj}-{how.bound}",
)
@given(pairs())
@settings(deadline=None, max_examples=15, derandomize=True)
def test_whatever_the_alignment_tags_are_iob2_and_of_the_sources_types(how: Projection, pair) -> None:
    source, words, alignment = pair
    rng = np.random.default_rng(words)
    probabilities = rng.dirichlet(np.full(len(TAGS), 0.1), size=words).astype(np.float32)
    nmt = None
    if how.needs_translation_scores:
        nmt = rng.random((len(spans(source.tags)), len(candidates(words, how))))
    tags = project(source, ["x"] * words, alignment, how, probabilities=probabilities, tags=TAGS, nmt=nmt)
    assert len(tags) == words and is_iob2(tags)
    assert {kind for kind, _, _ in spans(tags)} <= {kind for kind, _, _ in spans(source.tags)}


def test_a_moved_name_keeps_its_type_and_a_gap_is_filled() -> None:
    words = ("Londonin", "näki", "Ada", "Byron", "Lovelace")
    alignment = ((0, 2), (1, 4), (2, 1), (3, 0))
    gold = ("B-LOC", "O", "B-PER", "I-PER", "I-PER")
    for matching in ("heuristic", "ilp", "greedy"):
        assert project(ADA, words, alignment, Projection(matching=matching)) == gold
    assert project(ADA, words, alignment, Projection(gap=0, length_ratio=0.4)) == ("B-LOC", "O", "B-PER", "O", "B-PER")
    assert project(ADA, words, alignment, Projection(gap=0)) == ("B-LOC", "O", "O", "O", "O")


def test_a_soft_alignment_decides_by_how_sure_it_is() -> None:
    matrix = np.zeros((4, 3), np.float32)
    matrix[0, 0], matrix[3, 0], matrix[3, 2] = 0.3, 0.9, 0.2
    assert project(ADA, ("a", "b", "c"), matrix, Projection(matching="ilp")) == ("B-LOC", "O", "O")
    assert project(ADA, ("a", "b", "c"), ((0, 0), (3, 2)), Projection(matching="ilp")) == ("B-PER", "O", "B-LOC")


def test_scores_are_those_of_the_thesis() -> None:
    places = ngrams(3, 2)
    assert places.tolist() == [[0, 1], [1, 2], [2, 3], [0, 2], [1, 3]]
    matrix = as_matrix(((0, 0), (1, 1), (3, 2)), 4, 3)
    np.testing.assert_allclose(scores.align(matrix, [(0, 2), (3, 4)], places), [[1 / 3, 1 / 3, 0, 2 / 4, 1 / 4], [0, 0, 1 / 2, 0, 1 / 3]])
    likely = np.full((3, len(TAGS)), 0.01)
    likely[0, TAGS.index("B-PER")], likely[1, TAGS.index("I-PER")], likely[2, TAGS.index("B-LOC")] = 0.8, 0.6, 0.5
    by_type = scores.by_type(likely, TAGS, places, alpha=1.15, threshold=0.05)
    np.testing.assert_allclose(by_type["PER"], [0.8, 0, 0, 1.15 * 1.4 / 2, 0], atol=1e-9)
    np.testing.assert_allclose(scores.ner(by_type, ["LOC", "PER"])[0], [0, 0, 0.5, 0, 0])
    np.testing.assert_allclose(scores.ner_spans(by_type, 2)[1], [0.8, 0, 0.5, 1.15 * 1.4 / 2, 0])
    assert predicted(likely, TAGS).tolist() == [[0, 2], [2, 3]]


def test_fused_scores_are_the_weighted_sum() -> None:
    how = Projection(matching="ilp", score="fused")
    words = ("Ada", "Lovelace", "in", "London")
    nmt = np.zeros((2, len(candidates(4, how))))
    nmt[0, 3], nmt[1, 0] = 1.0, 0.09  # the translation model takes "London" for the person; the other is below the threshold
    likely = np.full((4, len(TAGS)), 0.01)
    assert project(ADA, words, ((0, 0), (1, 1)), how, probabilities=likely, tags=TAGS, nmt=nmt) == ("O", "O", "O", "B-PER")
    assert project(ADA, words, ((0, 0), (1, 1)), Projection(matching="ilp", score="nmt"), nmt=nmt) == ("O", "O", "O", "B-PER")


def noisy(source: Sentence, target: Sentence, alignment: Alignment, random: Random) -> Alignment:
    """The alignment with one link in eight lost, and a wrong one for each eighth word."""
    kept = {pair for pair in alignment if random.random() > 1 / 8}
    wrong = {(i, random.randrange(len(target.words))) for i in range(len(source.words)) if random.random() < 1 / 8}
    return tuple(sorted(kept | wrong))


def projected_f1(target: str, how: Projection, noise: bool = False, sentences: int = 500) -> float:
    """Span F1 of tags projected from x-eng against the target's own."""
    text = sandbox.translations("x-eng", target, "dev")[:sentences]
    random = Random(0)
    alignments = [noisy(*pair, random) if noise else pair[2] for pair in text]
    found = project_all([s for s, _, _ in text], [t.words for _, t, _ in text], alignments, how)
    return f1(*count([t.tags for _, t, _ in text], found)[ALL])[2]


@pytest.mark.parametrize("target", ["x-deu", "x-tur", "x-zul"])
def test_gold_alignment_gives_back_gold_tags(target: str) -> None:
    assert projected_f1(target, Projection(matching="ilp")) > 0.97
    # Not with 0.8, their threshold: "University of Delft" has two words where a language has a case for "of".
    assert projected_f1(target, Projection(length_ratio=0.6)) > 0.97


@pytest.mark.parametrize("noise", [False, True])
def test_greedy_is_close_to_exact_and_several_spans_an_entity_collapse(noise: bool) -> None:
    once, greedy, twice, more = (
        projected_f1("x-tur", Projection(matching=matching, n_proj=n_proj, bound=bound), noise, 60)
        for matching, n_proj, bound in (("ilp", 1, "at most"), ("greedy", 1, "at most"), ("ilp", 2, "at most"), ("ilp", 1, "at least"))
    )
    assert abs(once - greedy) < 0.03
    assert twice < once - 0.2 and more < once - 0.2


@pytest.mark.parametrize(
    ("given_", "error", "says"),
    [
        ({"source": ADA.unlabeled()}, DataError, "no tags to project"),
        ({"alignment": ((0, 9),)}, DataError, r"\(0, 9\), which is outside of sentences of 4 and 2 words"),
        ({"alignment": np.zeros((2, 4))}, DataError, r"shape \(2, 4\): it needs \(4, 2\)"),
        ({"settings": Projection(matching="ilp", score="ner")}, DataError, "needs a tagger's probabilities for 2 words and 0 tags, and has none"),
        ({"settings": Projection(matching="ilp", score="nmt")}, DataError, "scores of 2 entities and 3 candidates are needed, and there are none"),
    ],
)
def test_what_is_missing_is_said(given_: dict, error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        project(**{"source": ADA, "target_words": ("a", "b"), "alignment": (), "settings": Projection()} | given_)


def test_a_type_that_the_tagger_does_not_know_is_said() -> None:
    how = Projection(matching="ilp", score="ner")
    with pytest.raises(DataError, match="type PER, which the tagger does not know: it has LOC"):
        project(ADA, ("a",), (), how, probabilities=np.full((1, 3), 1 / 3), tags=tag_set(("LOC",)))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"matching": "ipl"}, "matching='ipl': must be one of heuristic, ilp, greedy. Did you mean 'ilp'?"),
        ({"n_proj": 2}, "n_proj=2 with matching='heuristic': it follows the alignment alone"),
        ({"matching": "ilp", "n_proj": 0}, "n_proj=0: must be at least 1"),
        ({"matching": "ilp", "weights": (1.0, 1.0)}, "takes three"),
        ({"gap": -1}, "gap=-1: must not be negative"),
    ],
)
def test_settings_are_checked(values: dict, says: str) -> None:
    with pytest.raises(StudyError) as raised:
        Projection(**values)
    assert says in str(raised.value)


def test_settings_that_decide_the_tags_are_identity() -> None:
    known = {fingerprint(Projection(matching="ilp", **values)) for values in ({}, {"n_proj": 2}, {"score": "ner"}, {"alpha": 1.0})}
    assert len(known) == 4
    assert fingerprint(Projection()) == fingerprint(Projection(matching="heuristic"))


def test_pairs_and_matrices_say_the_same() -> None:
    assert as_pairs(as_matrix(((1, 0), (0, 2)), 2, 3)) == ((0, 2), (1, 0))
