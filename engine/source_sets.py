"""Source sets for studies whose question is which languages to learn from: all of a size, without a family, by diversity.

A source set is a sorted tuple of codes. What distances there are is `analysis.typology`'s; here they are a function.
"""

from collections.abc import Callable, Sequence
from itertools import combinations

from engine.errors import StudyError
from engine.languages import language

SourceSet = tuple[str, ...]
Distance = Callable[[str, str], float]


def of_size(codes: Sequence[str], size: int) -> list[SourceSet]:
    """All sets of so many of the languages. Raises StudyError where there are fewer."""
    if not 1 <= size <= len(set(codes)):
        raise StudyError(f"source sets of {size} of {len(set(codes))} languages: name at least as many, and a size above 0.")
    return list(combinations(sorted(set(codes)), size))


def leave_one_family_out(codes: Sequence[str]) -> dict[str, SourceSet]:
    """For each family of the languages, the others. Raises StudyError where all are of one family."""
    families = {code: language(code).family for code in sorted(set(codes))}
    if len(set(families.values())) < 2:
        raise StudyError(f"leave one family out of {', '.join(families)}: all are {', '.join(set(families.values()))}.")
    return {out: tuple(code for code, family in families.items() if family != out) for out in sorted(set(families.values()))}


def diversity(sources: Sequence[str], distance: Distance) -> float:
    """The mean distance between two of the set's languages; 0 for a single one."""
    pairs = list(combinations(sources, 2))
    return sum(distance(a, b) for a, b in pairs) / len(pairs) if pairs else 0.0


def by_diversity(sets: Sequence[SourceSet], targets: Sequence[str], distance: Distance, number: int) -> list[SourceSet]:
    """So many of the sets, from the least to the most diverse, all about as far from the targets on average.

    Kept is the third of the sets whose distance to the targets, the mean over all of them, is nearest to the median; of these,
    sets at even steps of rank. This mean is held alone: among twelve sets the distance to some one target can still rise or
    fall with diversity, and it is for the analysis to hold it (`analysis.diversity` does, linearly). Raises StudyError where
    too few are left.
    """
    far = {one: sum(distance(source, target) for source in one for target in targets) / len(one) / len(targets) for one in sets}
    median = sorted(far.values())[len(far) // 2]
    near = sorted(sets, key=lambda one: (abs(far[one] - median), one))[: -(-len(sets) // 3)]
    if not 1 < number <= len(near):
        raise StudyError(
            f"{number} source sets by diversity: a third of the {len(sets)} sets, {len(near)}, lies about equally far from the "
            f"targets. Ask for 2 to {len(near)}, or name more languages."
        )
    ranked = sorted(near, key=lambda one: (diversity(one, distance), one))
    return [ranked[round(step * (len(ranked) - 1) / (number - 1))] for step in range(number)]
