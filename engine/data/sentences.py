"""A sentence: its words, and its IOB2 tags where it is labeled. What every corpus yields and every step reads."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sentence:
    """One tokenised sentence.

    `words`: its words, at least one. `tags`: one IOB2 tag a word ("O", "B-PER", "I-PER", ...), or None in
    unlabeled text.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What makes it this sentence, whatever its tags: by this it is drawn."""
        return self.words

    def unlabeled(self) -> "Sentence":
        """The same words without tags."""
        return Sentence(self.words)
