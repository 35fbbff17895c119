"""What an estimate says of a hypothesis: supported, not supported, or cannot tell; in one sentence.

A hypothesis here is a direction and the smallest effect worth having. The rule is that of an equivalence test (Lakens,
Scheel & Isager 2018): an interval may exclude nothing, or it may exclude every effect worth having, and "not
significant" is neither.
"""

from collections.abc import Collection
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from analysis.pairs import FEWEST
from engine.errors import StudyError

LEVEL = 0.05
SANDBOX = "These are languages that the sandbox made: this tests the engine and is no evidence about real languages."

Kind = Literal["supported", "not supported", "cannot tell"]


@dataclass(frozen=True)
class Verdict:
    """`kind`, and the `sentence` that says it with its numbers."""

    kind: Kind
    sentence: str


def verdict(
    claim: str,
    estimate: float | None,
    low: float | None,
    high: float | None,
    p: float | None,
    *,
    direction: int,
    smallest: float,
    languages: Collection[str],
    over: str | None = None,
    power: float | None = None,
    detectable: float | None = None,
) -> Verdict:
    """Judge a claim by its estimate, 95% interval and p value (after correction for multiple testing).

    `claim`: the hypothesis as a clause, "F1 rises with volume". `direction`: 1 where it says that the effect is above
    zero, -1 below, 0 either. `smallest`: the smallest effect worth having, above 0, in the estimate's unit.
    `languages`: codes of the languages that it generalises over (the role, source or target, that has more of them).
    `over`: which languages the interval is over, in words (`analysis.jackknife.Jackknife.over`); their number if None. `power`:
    probability that a study like this finds an effect of `smallest`, `detectable`: the effect that it finds with probability .8,
    each before that correction (`analysis.design.power`); they are said whatever the verdict.

    - supported: the interval excludes zero in the direction, and p < .05.
    - not supported: the interval excludes every effect of `smallest` or more in the direction. So it is too where the
      effect is certain and too small, or of the opposite sign.
    - cannot tell: all else; also fewer than four languages, or no interval.

    Raises StudyError where `direction` or `smallest` is none.
    """
    if direction not in (-1, 0, 1) or not smallest > 0:
        raise StudyError(
            f"direction={direction}, smallest={smallest}: the direction is 1, -1 or 0 (either), and the smallest effect "
            "worth having is above 0."
        )
    codes = set(languages)
    kind, why = _judge(estimate, low, high, p, direction, smallest, len(codes), over or f"{len(codes)} languages")
    why += said_power(smallest, power, detectable) or (" Its power is not known." if kind == "cannot tell" else "")
    made = f" {SANDBOX}" if any(code.startswith("x-") or "+x-" in code for code in codes) else ""
    return Verdict(kind, f"{claim}: {kind}. {why}{made}")


def _judge(
    estimate: float | None, low: float | None, high: float | None, p: float | None, direction: int, smallest: float,
    count: int, over: str,
) -> tuple[Kind, str]:  # fmt: skip
    if count < FEWEST:
        return "cannot tell", f"{count} languages: with fewer than {FEWEST} nothing can be said of languages in general."
    if not all(number is not None and isfinite(number) for number in (estimate, low, high, p)):
        return "cannot tell", "There is no estimate with an interval."
    found = f"{signed(estimate)} (95% interval {signed(low)} to {signed(high)}, p {probability(p)}, {over})"
    # Mirrored, so that the direction is upward; either way is judged from both sides.
    bottom, top = (low, high) if direction >= 0 else (-high, -low)
    if top < smallest and (direction or bottom > -smallest):
        if top < 0 and direction:
            return "not supported", f"The effect has the opposite sign: {found}."
        trivial = " There is an effect, but a smaller one." if bottom > 0 or top < 0 else ""
        return "not supported", f"{found}: an effect of {plain(smallest)} or more is excluded.{trivial}"
    if bottom > 0 or (not direction and top < 0):
        if p < LEVEL:
            return "supported", f"{found}."
        return "cannot tell", f"{found}: the interval excludes zero, but p is not below {plain(LEVEL)} after correction."
    return "cannot tell", f"{found}: neither zero nor an effect of {plain(smallest)} is excluded."


def said_power(smallest: float, power: float | None, detectable: float | None) -> str:
    """The power of a design as a sentence, with a space before it; "" where it is not known."""
    texts = [] if power is None else [f"{plain(power)} for an effect of {plain(smallest)}"]
    if detectable is not None and isfinite(detectable):
        texts.append(f".8 for one of {plain(detectable)}")
    return f" Power, before any correction: {', '.join(texts)}." if texts else ""


def signed(number: float) -> str:
    """Three digits after the point, with the sign: "+.031"."""
    return f"{number:+.3f}".replace("0.", ".", 1)


def plain(number: float) -> str:
    """Two significant digits without a zero before the point: ".05", "1.2"; whole from 100 on."""
    return (f"{number:.2g}" if number < 100 else f"{number:.0f}").removeprefix("0") or "0"


def probability(p: float) -> str:
    """ "= .021" or "< .001"."""
    return "< .001" if p < 0.001 else "= " + f"{p:.3f}".removeprefix("0")
