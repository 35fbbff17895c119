"""The quarantine of a store: where what is damaged is moved to, and never deleted."""

import uuid
from datetime import UTC, datetime

from engine.store.files import Tree

AGAIN = "Run the study again: the same command moves it to quarantine/ and does again what is lost."


class Quarantine(Tree):
    """Files, of which the damaged ones can be set aside."""

    def quarantine(self, path: str, fault: str) -> str | None:
        """Move a damaged file or folder out of the way, with a word of what is wrong. Return where; None where it is gone.

        It is under a folder of its own, so nothing that was moved before is overwritten. Two runs may do it at once.
        """
        place = f"quarantine/{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        if not self._move(path, f"{place}/{path}"):
            return None
        self._write(f"{place}/why.txt", f"{path}: {fault}\n".encode())
        return f"{place}/{path}"

    def quarantined(self) -> dict[str, str]:
        """What was moved to quarantine/ so far: where it lies, and what was found."""
        found = self._list("quarantine", recursive=True)
        notes = [file.path.removeprefix(f"{self.root}/") for file in found if file.base_name == "why.txt"]
        return {note.removesuffix("/why.txt"): self._read(note).decode().strip() for note in sorted(notes)}
