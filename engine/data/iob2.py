"""IOB2 tags: which a study keeps, which become O, and which are an error. Files are read in `conll` and `hub`."""

import re
from collections.abc import Callable, Sequence

from engine.errors import DataError

# (tag before, tag) -> the tag kept, for all that may follow each other; a sentence begins after "O".
Rules = dict[tuple[str, str], str]


def rules(types: Sequence[str], dropped_types: Sequence[str]) -> Rules | None:
    """What each tag becomes: itself for a type in `types`, O for one in `dropped_types` only. None without types."""
    dropped = {f"{prefix}-{name}": "O" for name in dropped_types for prefix in "BI"}
    kept = {"O": "O"} | dropped | {tag: tag for name in types for tag in (f"B-{name}", f"I-{name}")}
    pairs = ((before, tag) for before in kept for tag in kept if tag[0] != "I" or before[1:] == tag[1:])
    return {pair: kept[pair[1]] for pair in pairs} if types else None


def keep(raw: Sequence[str], known: Rules | None, where: Callable[[int], str]) -> tuple[str, ...] | None:
    """The tags of one sentence with the dropped types as O; None without rules. `where(i)` says where tag i stands.

    Raises DataError for a tag that is not IOB2, an I- tag without the entity it continues, and an unknown type.
    """
    if known is None:
        return None
    pairs = list(zip(("O", *raw[:-1]), raw, strict=True))
    try:
        return tuple(map(known.__getitem__, pairs))  # at C speed: a plan checks whole corpora
    except KeyError as missing:
        i = pairs.index(missing.args[0])
        raise DataError(f"{where(i)}: {_refusal(raw[i], raw[i - 1] if i else None, known)}") from None


def _refusal(tag: str, before: str | None, known: Rules) -> str:
    if tag != "O" and not re.fullmatch(r"[BI]-\S+", tag):
        return f"tag {tag!r} is not IOB2: a tag is O, B-<type> or I-<type>. Convert the tags to IOB2."
    name = tag[2:]
    if ("O", f"B-{name}") in known:
        place = "begins a sentence" if before is None else f"follows {before!r}"
        return (
            f"tag {tag!r} {place}, which is not IOB2: an entity begins with B-, and I-{name} only follows B-{name} or "
            f"I-{name}. Write B-{name} if an entity begins here."
        )
    begun = {tag[2:]: kept for (before, tag), kept in known.items() if before == "O" != tag}
    types = " ".join(name for name, kept in begun.items() if kept != "O")
    dropped = " ".join(name for name, kept in begun.items() if kept == "O") or "none"
    return (
        f"tag {tag!r}: the study neither keeps the type {name} (types: {types}) nor reads it as O "
        f"(dropped_types: {dropped}). Add {name} to the study's types or dropped_types."
    )
