"""Two texts to one input: premise and hypothesis, question and context. What is too long is cut, and the window says so."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from engine.errors import ModelError
from engine.models.windows import Subwords, Window, special_ids

Marks = tuple[Sequence[int], Sequence[int], Sequence[int]]  # the ids before, between and behind the two


def joined(
    texts: Sequence[tuple[str, str]], subwords: Subwords, max_tokens: int, marks: Marks, slot: int
) -> list[Window]:
    """Return one window for each two texts, of at most `max_tokens` ids, with the one slot.

    A text that is longer than half of the room loses its end, if the two do not fit. Raises ModelError where `max_tokens`
    leaves no room for a subword of each.
    """
    before, between, after = marks
    room = max_tokens - len(before) - len(between) - len(after)
    if room < 2:
        raise ModelError(f"max_tokens={max_tokens}: two texts with a subword each need at least {max_tokens - room + 2} ids")
    windows = []
    for number, both in enumerate(texts):
        first, second = ([i for ids in word_ids for i in ids] for word_ids in subwords([text.split() for text in both]))
        kept = first[: max(room - len(second), room // 2)]
        rest = second[: room - len(kept)]
        cut = len(kept) + len(rest) < len(first) + len(second)
        windows.append(Window(number, 0, [*before, *kept, *between, *rest, *after], [slot], cut))
    return windows


def pair_marks(tokenizer: PreTrainedTokenizerBase) -> Marks:
    """Return the ids that the tokenizer puts around two texts, as [<s>], [</s>, </s>] and [</s>]."""
    before, after = special_ids(tokenizer)
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a", "a")["input_ids"]
    start, stop = len(before) + len(plain), len(whole) - len(after) - len(plain)
    return before, whole[start:stop], after
