"""A vocabulary cut to the pieces in use: embeddings that hold the rows of the text that was read, and no others.

mT5 has 250,112 rows, which are most of its weights, and a study's text uses some thousands of them. Ids and tokenizer
stay the checkpoint's own: a piece that new text brings gets the checkpoint's row, so that a model depends on no text but
its own. (Were the tokenizer cut to a study's text, one more language would make all its models stale.)
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CompactEmbedding(nn.Module):
    """A drop-in for nn.Embedding that holds some of its rows; ids are still those of the whole vocabulary.

    `weight`: (n, d) the rows in use; gradient, optimizer and checkpoints see no other. `ids`: (n,) int64, whose rows
    they are. `whole`: (V, d), never changed and shared by copies.
    """

    def __init__(self, whole: Tensor) -> None:
        super().__init__()
        self.whole = lambda: whole  # a function: copied by reference, and no part of the state
        self.weight = nn.Parameter(whole[:0].clone())
        self.ids: Tensor
        self.place: Tensor
        self.register_buffer("ids", torch.empty(0, dtype=torch.int64))
        self.register_buffer("place", torch.full((len(whole),), -1), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the rows (..., d) of `ids` (...), which must be covered."""
        return F.embedding(self.place[ids], self.weight)

    def cover(self, ids: Tensor) -> None:
        """Add the checkpoint's rows of those of `ids` that are not in use yet. To be done before an optimizer is made."""
        ids = ids.unique().to(self.place.device)
        new = ids[self.place[ids] < 0]
        if len(new):
            self._hold(torch.cat([self.ids, new]), torch.cat([self.weight.detach(), self.original(new)]))

    def original(self, ids: Tensor) -> Tensor:
        """Return the checkpoint's rows (n, d) of `ids` (n,)."""
        return self.whole()[ids.cpu()].to(self.weight)

    def changed(self) -> tuple[Tensor, Tensor]:
        """Return the ids (n,) and rows (n, d) that are not the checkpoint's any more."""
        weight = self.weight.detach()
        differ = (weight != self.original(self.ids)).any(-1)
        return self.ids[differ], weight[differ]

    def _hold(self, ids: Tensor, rows: Tensor) -> None:
        self.weight = nn.Parameter(rows, self.weight.requires_grad)
        self.ids = ids
        self.place[ids] = torch.arange(len(ids), device=ids.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Hold the rows that the state holds. The same rows stay in place, for an optimizer may know them."""
        ids = state_dict[f"{prefix}ids"].to(self.ids.device)
        if not torch.equal(ids, self.ids):
            self.place.fill_(-1)
            self._hold(ids, self.original(ids))
        super()._load_from_state_dict(state_dict, prefix, *rest)
