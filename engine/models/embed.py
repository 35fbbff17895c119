"""Embeddings of sentences and of their subwords: a pretrained checkpoint's encoder states, before any fine-tuning."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel, AutoModelForTextEncoding

from engine.data.sentences import Sentence
from engine.errors import ModelError
from engine.models.load import load_model, model_type
from engine.models.tagger import T5_TYPES
from engine.models.windows import Subwords, Window, make_windows, special_ids

BATCH = 64  # windows of a forward pass


class Embedder:
    """A checkpoint's encoder (a folder or hub id), on one device.

    `precision`: "bf16" computes in autocast. Raises ModelError where the checkpoint cannot be had.
    """

    def __init__(self, checkpoint: str, max_tokens: int, precision: str, device: torch.device) -> None:
        whole = model_type(checkpoint) not in T5_TYPES
        self.model, self.tokenizer = load_model(checkpoint, AutoModel if whole else AutoModelForTextEncoding)
        self.model.to(device).eval()
        self._subwords, self._ends = Subwords(self.tokenizer), special_ids(self.tokenizer)
        self.max_tokens, self.precision, self.device = max_tokens, precision, device

    def __call__(self, sentences: Sequence[Sentence]) -> np.ndarray:
        """Return (N, d) float32: for each sentence the mean of the states of its subwords, those at the ends included."""
        sums, counts = np.zeros((len(sentences), self.model.config.hidden_size), np.float32), np.zeros((len(sentences), 1), np.float32)
        for part, states, mask in self._states(sentences, -1):
            summed = (states * mask[..., None]).sum(1).cpu().numpy()
            places = [window.sentence for window in part]
            np.add.at(sums, places, summed)  # a long sentence has several windows
            np.add.at(counts, places, [[len(window.input_ids)] for window in part])
        return sums / counts

    def subwords(self, sentences: Sequence[Sentence], layer: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return for each sentence its n subwords' states at a layer, float32 (n, d), and the word that each is of, (n,) from 0.

        `layer`: 0 for the embeddings, -1 for the last. Raises ModelError where the encoder has no such layer.
        """
        depth = self.model.config.num_hidden_layers
        if not -depth - 1 <= layer <= depth:
            raise ModelError(f"layer={layer}: the encoder of {self.model.name_or_path!r} has {depth}; give one from {-depth - 1} to {depth}.")
        found: list[dict[int, tuple[np.ndarray, np.ndarray]]] = [{} for _ in sentences]
        for part, states, _ in self._states(sentences, layer):
            for window, rows in zip(part, states.cpu().numpy(), strict=True):
                first, stop = window.slots[0], len(window.input_ids) - len(self._ends[1])
                lengths = np.diff([*window.slots, stop])
                words = np.repeat(np.arange(window.start, window.start + len(lengths)), lengths)
                found[window.sentence][window.start] = rows[first:stop], words
        return [tuple(map(np.concatenate, zip(*(parts[start] for start in sorted(parts)), strict=True))) for parts in found]

    @torch.inference_mode()
    def _states(self, sentences: Sequence[Sentence], layer: int) -> Iterator[tuple[list[Window], Tensor, Tensor]]:
        """Batches of the sentences' windows, their states (B, T, d) float32 and their mask (B, T)."""
        windows = make_windows(sentences, self._subwords, self.max_tokens, *self._ends)
        windows.sort(key=lambda window: len(window.input_ids))
        for first in range(0, len(windows), BATCH):
            part = windows[first : first + BATCH]
            batch = self.tokenizer.pad({"input_ids": [window.input_ids for window in part]}, return_tensors="pt").to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                answer = self.model(batch["input_ids"], batch["attention_mask"], output_hidden_states=layer != -1)
            states = answer.last_hidden_state if layer == -1 else answer.hidden_states[layer]
            yield part, states.float(), batch["attention_mask"]
