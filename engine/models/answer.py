"""The form `text`: mT5 reads a question and a context and writes the answer (Xue et al. 2021, on XQuAD and TyDiQA)."""

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.data.examples import Question
from engine.models.text2text import Text2Text, Written
from engine.models.two_texts import joined
from engine.models.windows import Window

QUESTION, CONTEXT = "question:", "context:"  # as in engine.tasks.qa.text
LONGEST = 64  # ids of an answer


class Answerer(Text2Text):
    """A text-to-text model that answers questions."""

    form = "text"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tags: Sequence[str], checkpoint: str
    ) -> None:
        super().__init__(model, tokenizer, tags, checkpoint, (QUESTION, CONTEXT))

    def _windows(self, questions: Sequence[Question], max_tokens: int) -> list[Window]:
        marks = self.speller.ids[QUESTION], self.speller.ids[CONTEXT], [self.end]
        texts = [(asked.question, asked.context) for asked in questions]
        return joined(texts, self._subwords, max_tokens, marks, self.tokenizer.pad_token_id)

    def examples(
        self, questions: Sequence[Question], labels: Sequence[str], max_tokens: int
    ) -> tuple[list[Window], list[list[int]]]:
        """Return the windows for training, and what is asked for. `labels`: the answers."""
        return self.teach(self.windows(questions, max_tokens), [self.speller.words(answer.split()) for answer in labels])

    def limit(self, window: Window) -> int:
        return LONGEST

    def answers(self, questions: Sequence[Question], windows: Sequence[Window], written: Sequence[Written]) -> list[str]:
        """Return each question's answer; of one without an end, its beginning."""
        return [self.speller.text([i for i in ids if i != self.end]) for ids in written]
