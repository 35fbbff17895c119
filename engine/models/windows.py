"""Words to input ids: one slot a word, so that nothing is dropped, doubled or misaligned.

A window is a stretch of a sentence that fits the model; most sentences are one window. What the slots mean depends on
the form (`engine.models.mt5`, `engine.models.encoder`); batches of windows are made in `engine.train.batches`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import count, pairwise

from transformers import PreTrainedTokenizerBase

from engine.data.sentences import Sentence
from engine.errors import ModelError


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of one sentence as the model reads it.

    `sentence`: index among the sentences given. `start`: index of its first word in that sentence. `slots`: one entry
    a word. Slots and sentinel forms: the id of the sentinel before it. Encoder form: the position of its first subword
    in `input_ids`. `cut`: whether text was left out, which happens to pairs and questions, never to sentences.
    """

    sentence: int
    start: int
    input_ids: list[int]
    slots: list[int]
    cut: bool = False


class Subwords:
    """The subword ids of words, each word on its own, remembered by word type."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, reserved: Collection[int] = ()) -> None:
        self.unknown: int = tokenizer.unk_token_id
        self._tokenizer = tokenizer
        self._reserved = {*tokenizer.all_special_ids, *reserved}
        self._known: dict[str, list[int]] = {}

    def __call__(self, sentences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """Return the ids of every word of every sentence, at least one a word.

        A word that yields no subword (a lone zero-width space, say) becomes the unknown token, and so does any special
        token or sentinel that is spelled out in the text.
        """
        new = list(dict.fromkeys(word for words in sentences for word in words if word not in self._known))
        if new:
            encoded = self._tokenizer(new, add_special_tokens=False, return_attention_mask=False)["input_ids"]
            for word, ids in zip(new, encoded, strict=True):
                self._known[word] = [self.unknown if i in self._reserved else i for i in ids] or [self.unknown]
        return [[self._known[word] for word in words] for words in sentences]


def special_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the ids that the tokenizer puts before and after a text, as [<s>] and [</s>]."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    before = next(i for i in range(len(whole)) if whole[i : i + len(plain)] == plain)
    return whole[:before], whole[before + len(plain) :]


def make_windows(
    sentences: Sequence[Sentence],
    subwords: Subwords,
    max_tokens: int,
    before: Sequence[int] = (),
    after: Sequence[int] = (),
    sentinels: Sequence[int] | None = None,
) -> list[Window]:
    """Return the windows of the sentences, in order.

    `max_tokens`: longest window in ids, `before` and `after` (special ids at the ends) included. `sentinels`: ids put
    before the words, in the slots form; a window has at most that many words. A sentence that is too long is cut into
    the fewest windows of equally many words, give or take one, that fit; a word too long for a window of its own
    keeps its slot and loses its last subwords. Raises ModelError where `max_tokens` leaves no room for one word.
    """
    mark = 0 if sentinels is None else 1
    room = max_tokens - len(before) - len(after)
    if room < mark + 1:
        needed = max_tokens - room + mark + 1
        raise ModelError(f"max_tokens={max_tokens}: a window with one word needs at least {needed} ids")
    windows = []
    for index, pieces in enumerate(subwords([sentence.words for sentence in sentences])):
        lengths = [min(len(ids) + mark, room) for ids in pieces]
        for start, stop in _cuts(lengths, room, len(sentinels) if sentinels is not None else len(lengths)):
            input_ids, slots = list(before), []
            for number, ids in enumerate(pieces[start:stop]):
                if sentinels is None:
                    slots.append(len(input_ids))
                else:
                    slots.append(sentinels[number])
                    input_ids.append(sentinels[number])
                input_ids += ids[: room - mark]
            windows.append(Window(index, start, input_ids + list(after), slots))
    return windows


def _cuts(lengths: Sequence[int], room: int, most_words: int) -> list[tuple[int, int]]:
    """The fewest stretches of equally many words, give or take one, of at most `room` ids and `most_words` words."""
    words, total = len(lengths), sum(lengths)
    if total <= room and words <= most_words:
        return [(0, words)]  # nearly always
    for parts in count(max(1, -(-total // room), -(-words // most_words))):
        bounds = [words * part // parts for part in range(parts + 1)]
        stretches = list(pairwise(bounds))
        if all(stop - start <= most_words and sum(lengths[start:stop]) <= room for start, stop in stretches):
            return stretches
    raise AssertionError("unreachable: one word a stretch always fits")
