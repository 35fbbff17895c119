"""Which examples are taken: nested subsets, for volume is a designed factor, and languages drawn by temperature."""

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate, pairwise
from typing import TypeVar

from engine.data.examples import Example
from engine.errors import DataError

Drawn = TypeVar("Drawn", bound=Example)


MORE = "Lower the volume or use pool='text', which has more."


def nested_subset(sentences: Sequence[Example], n: int, seed: int, way_out: str = MORE) -> list[int]:
    """The indices of `n` sentences, in an order drawn by a hash of the seed and the sentence itself.

    A smaller `n` gives the beginning of the list that a larger one gives. The draw does not depend on where in the
    file a sentence stands: the order of `sentences` only decides which of several equal ones comes first. Tags are
    not looked at. Pairs and questions are drawn alike. Raises DataError, ending with the
    `way_out`, where there are fewer than `n`.
    """
    if not 0 <= n <= len(sentences):
        raise DataError(f"{n} sentences were asked for and there are {len(sentences)}. {way_out}")
    seen: Counter[tuple[str, ...]] = Counter()
    keys = []
    for index, sentence in enumerate(sentences):
        keys.append((_key(seed, seen[sentence.key], sentence.key), index))
        seen[sentence.key] += 1
    return [index for _, index in sorted(keys)[:n]]


def subset(sentences: Sequence[Drawn], n: int, seed: int, way_out: str = MORE) -> list[Drawn]:
    """The sentences of `nested_subset`, in its order."""
    return [sentences[i] for i in nested_subset(sentences, n, seed, way_out)]


def tempered(languages: Sequence[Sequence[Example]], alpha: float, seed: int) -> list[list[int]]:
    """For each language of a source set the indices of its sentences, as many in all as there are.

    A language with n sentences gets a share in proportion to n**alpha (Xue et al. 2021, section 3.1): of a larger one a
    subset is left out, sentences of a smaller one come several times. With alpha=1 each comes once.
    """
    sizes = [len(sentences) for sentences in languages]
    shares = [size**alpha for size in sizes]
    ends = [round(sum(sizes) * part / sum(shares)) for part in accumulate(shares)]
    counts = [end - start for start, end in pairwise([0, *ends])]
    return [
        [*range(size)] * (count // size) + nested_subset(sentences, count % size, seed)
        for sentences, size, count in zip(languages, sizes, counts, strict=True)
    ]


def _key(seed: int, occurrence: int, key: tuple[str, ...]) -> bytes:
    """Equal sentences differ by their occurrence, so that they are not drawn together."""
    return blake2b("\n".join((str(seed), str(occurrence), *key)).encode(), digest_size=16).digest()
