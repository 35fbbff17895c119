"""What a corpus of the other tasks yields, as `sentences` has it for tagging: pairs of sentences, and questions.

Texts are plain strings, as they stand in the corpus. What labels and answers are worth is `engine.tasks`'s affair.
"""

from dataclasses import dataclass
from typing import Protocol


class Example(Protocol):
    """Anything that a corpus yields, a sentence too."""

    @property
    def key(self) -> tuple[str, ...]:
        """The texts that make it this example, whatever its label: by these it is drawn, and found again."""
        ...


@dataclass(frozen=True, slots=True)
class Pair:
    """A premise and a hypothesis. `label`: "entailment", "neutral" or "contradiction"; None where it is not known."""

    premise: str
    hypothesis: str
    label: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.premise, self.hypothesis


@dataclass(frozen=True, slots=True)
class Question:
    """A question whose answer stands in its context.

    `answers`: at least one, each as (text, offset): its characters, and how many of the context's come before them.
    None where they are not known. Answers may be equal: several people gave the same.
    """

    id: str
    context: str
    question: str
    answers: tuple[tuple[str, int], ...] | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.context, self.question
