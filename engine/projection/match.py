"""Which entity goes to which span of the translation: by the alignment's runs, exactly, or greedily.

`ilp` and `greedy` take scores (S, T) of S entities and T candidates, and return pairs (entity, candidate) such that no two
candidates share a word. A score of 0 or below is no match.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csc_array, eye_array, hstack

from engine.projection.candidates import Candidates

Matches = list[tuple[int, int]]  # (entity, candidate)


def heuristic(
    matrix: np.ndarray, entities: Sequence[tuple[int, int]], gap: int, length_ratio: float
) -> list[tuple[int, tuple[int, int]]]:
    """Return (entity, span of the translation) by following the alignment (García-Ferrero et al. 2022, section 3.2).

    `matrix`: the alignment, (source words, target words), 0 where words do not align. Runs of target words that align with an
    entity are merged over gaps of up to `gap` words, and kept where they have more than `length_ratio` of its number of
    words. An entity may have several. Short entities choose first; a run that shares a word with one chosen is left out.
    """
    taken = np.zeros(matrix.shape[1], bool)
    chosen = []
    for entity in sorted(range(len(entities)), key=lambda e: entities[e][1] - entities[e][0]):
        start, end = entities[entity]
        for first, stop in _runs(np.flatnonzero(matrix[start:end].any(0)), gap):
            if stop - first > length_ratio * (end - start) and not taken[first:stop].any():
                taken[first:stop] = True
                chosen.append((entity, (first, stop)))
    return chosen


def greedy(scores: np.ndarray, candidates: Candidates, n_proj: int, bound: str) -> Matches:
    """Return matches taken one by one, each the best that is left. Of equal ones the first entity's, the first candidate.

    `bound`: "at most" `n_proj` candidates for an entity; with "at least", as many as there are.
    """
    left = np.where(scores > 0, scores, 0.0)
    first, stop = candidates.T
    counts = [0] * len(scores)
    matches: Matches = []
    while left.size and left.max() > 0:
        entity, candidate = map(int, np.unravel_index(left.argmax(), left.shape))
        matches.append((entity, candidate))
        counts[entity] += 1
        left[:, (first < stop[candidate]) & (stop > first[candidate])] = 0.0
        if bound == "at most" and counts[entity] == n_proj:
            left[entity] = 0.0
    return sorted(matches)


def ilp(scores: np.ndarray, candidates: Candidates, n_proj: int, bound: str) -> Matches:
    """Return the matches with the largest sum of scores (Politov et al. 2025): an integer linear program.

    `bound`: each entity has "at most" `n_proj` candidates, or "at least" so many. Where the latter cannot be, as few as
    possible are missing (the thesis then projects nothing). Of solutions with an equal sum it is the solver's.
    """
    entity, candidate = np.nonzero(_undominated(scores, candidates))
    if not len(entity):
        return []
    each = [(int(e), int(scores[e].argmax())) for e in np.unique(entity)]
    if n_proj == 1 and bound == "at most" and _disjoint(candidates[[t for _, t in each]]):
        return each  # no entity can have more than its best
    chosen = _solve(scores[entity, candidate], entity, candidates[candidate], n_proj, bound)
    return [(int(entity[x]), int(candidate[x])) for x in chosen]


def objective(scores: np.ndarray, matches: Matches) -> float:
    """Return the sum of the matches' scores."""
    return float(sum(scores[entity, candidate] for entity, candidate in matches))


def _undominated(scores: np.ndarray, candidates: Candidates) -> np.ndarray:
    """Which matches (S, T) an optimum may need: not those that score no higher than one inside them, which can replace them."""
    kept = scores > 0
    open_ = np.flatnonzero(kept.any(0))
    first, stop = candidates[open_].T
    inside = (first[:, None] >= first) & (stop[:, None] <= stop)
    np.fill_diagonal(inside, False)
    for row, values in zip(kept, scores[:, open_], strict=True):
        row[open_] &= values > np.where(inside, values[:, None], -np.inf).max(0, initial=-np.inf)
    return kept


def _solve(values: np.ndarray, entity: np.ndarray, spans: np.ndarray, n_proj: int, bound: str) -> np.ndarray:
    """Return which of the possible matches, each with its value, entity and span, are taken.

    Spans that share words share one word that is in all of them, so one constraint a word is enough, and is tighter than one
    for each two spans. "at least" has a variable for what an entity lacks, dearer than all that could be gained.
    """
    words = int(spans.max())
    rows = np.unique(entity, return_inverse=True)[1]
    lengths = spans[:, 1] - spans[:, 0]
    covered = np.concatenate([np.arange(first, stop) for first, stop in spans])
    matches = len(values)
    cover = csc_array((np.ones(len(covered)), (covered, np.repeat(np.arange(matches), lengths))), (words, matches))
    of_entity = csc_array((np.ones(matches), (rows, np.arange(matches))), (rows.max() + 1, matches))
    cost, upper = -values, np.ones(matches)
    if bound == "at most":
        constraints = [LinearConstraint(cover, ub=1), LinearConstraint(of_entity, ub=n_proj)]
    else:
        entities = of_entity.shape[0]
        cost = np.concatenate([cost, np.full(entities, words * values.max() + 1)])
        upper = np.concatenate([upper, np.full(entities, n_proj)])
        constraints = [
            LinearConstraint(hstack([cover, csc_array((words, entities))]), ub=1),
            LinearConstraint(hstack([of_entity, eye_array(entities)]), lb=n_proj),
        ]
    for integrality in (0, 1):  # without: a linear program, most often with whole numbers all the same, and faster
        solution = milp(cost, integrality=np.full(len(cost), integrality), bounds=Bounds(0, upper), constraints=constraints)
        if solution.x is None:
            raise RuntimeError(f"the integer program of {matches} matches was not solved: {solution.message}")
        if np.abs(solution.x - solution.x.round()).max() < 1e-6:
            break
    return np.flatnonzero(solution.x[:matches] > 0.5)


def _runs(words: np.ndarray, gap: int) -> list[tuple[int, int]]:
    """Spans of the words, ascending positions, with those joined that have at most `gap` words between them."""
    if not len(words):
        return []
    parts = np.split(words, np.flatnonzero(np.diff(words) > gap + 1) + 1)
    return [(int(part[0]), int(part[-1]) + 1) for part in parts]


def _disjoint(spans: np.ndarray) -> bool:
    first, stop = spans[spans[:, 0].argsort()].T
    return bool((stop[:-1] <= first[1:]).all())
