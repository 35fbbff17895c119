"""The form `spans`: mT5 names a sentence's entities, as it did in PAN-X (Xue et al. 2021), and we look where they stand.

It reads `tag: Ada Lovelace was in London` and writes `PER: Ada Lovelace $$ LOC: London`. What such an answer means is in
`engine.tasks.spans`. It has no distribution over the tags of a word, so it can neither teach nor be taught.
"""

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.data.sentences import Sentence
from engine.models.text2text import Text2Text, Written
from engine.models.windows import Window, make_windows
from engine.tasks.ner import Span, spans
from engine.tasks.spans import SEPARATOR, Named, Tagged, place, read, tagged

TASK = "tag:"


class SpanWriter(Text2Text):
    """A text-to-text model that names entities of the types in `tags`. A long sentence's windows have an answer each."""

    form = "spans"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tags: Sequence[str], checkpoint: str
    ) -> None:
        self.types = tuple(tag.removeprefix("B-") for tag in tags if tag.startswith("B-"))
        super().__init__(model, tokenizer, tags, checkpoint, (TASK, *(f"{kind}:" for kind in self.types), SEPARATOR))

    def _windows(self, sentences: Sequence[Sentence], max_tokens: int) -> list[Window]:
        return make_windows(sentences, self._subwords, max_tokens, self.speller.ids[TASK], [self.end])

    def examples(
        self, sentences: Sequence[Sentence], labels: Sequence[Sequence[int]], max_tokens: int
    ) -> tuple[list[Window], list[list[int]]]:
        """Return the windows for training, and what is asked for. `labels`: the words' tags, as places in `tags`."""
        windows = self.windows(sentences, max_tokens)
        answers = []
        for window in windows:
            stop = window.start + len(window.slots)
            words = sentences[window.sentence].words[window.start : stop]
            answers.append(self._spelled(words, [self.tags[i] for i in labels[window.sentence][window.start : stop]]))
        return self.teach(windows, answers)

    def limit(self, window: Window) -> int:
        """Twice the window's ids: more than a sentence has of names, with their types. A longer answer runs in a circle."""
        return 2 * len(window.input_ids) + 8

    def answers(self, sentences: Sequence[Sentence], windows: Sequence[Window], written: Sequence[Written]) -> list[Tagged]:
        """Return what each sentence was answered, its windows put together."""
        found: list[list[Span]] = [[] for _ in sentences]
        missing: list[list[Named]] = [[] for _ in sentences]
        failed: set[int] = set()
        for window, (*ids, last) in zip(windows, written, strict=True):
            entities, whole = read(self.speller.text(ids), self.types)
            if not whole or last != self.end:
                failed.add(window.sentence)
            words = sentences[window.sentence].words[window.start : window.start + len(window.slots)]
            placed, elsewhere = place(entities, [self.speller.normal(word) for word in words])
            found[window.sentence] += [(kind, first + window.start, end + window.start) for kind, first, end in placed]
            missing[window.sentence] += elsewhere
        return [
            Tagged(tagged(found[number], len(sentence.words)), tuple(missing[number]), number not in failed)
            for number, sentence in enumerate(sentences)
        ]

    def _spelled(self, words: Sequence[str], tags: Sequence[str]) -> list[int]:
        """The ids of `engine.tasks.spans.write`'s text."""
        ids: list[int] = []
        for kind, first, last in spans(tags):
            ids += [*(self.speller.ids[SEPARATOR] if ids else ()), *self.speller.ids[f"{kind}:"]]
            ids += self.speller.words(words[first : last + 1])
        return ids
