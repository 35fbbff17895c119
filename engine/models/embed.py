"""Embeddings of sentences: the mean of a pretrained checkpoint's last encoder states, before any fine-tuning."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import AutoModel, AutoModelForTextEncoding

from engine.data.sentences import Sentence
from engine.models.load import load_model, model_type
from engine.models.tagger import T5_TYPES
from engine.models.windows import Subwords, make_windows, special_ids

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

    @torch.inference_mode()
    def __call__(self, sentences: Sequence[Sentence]) -> np.ndarray:
        """Return (N, d) float32: for each sentence the mean of the states of its subwords, those at the ends included."""
        windows = make_windows(sentences, self._subwords, self.max_tokens, *self._ends)
        windows.sort(key=lambda window: len(window.input_ids))
        sums, counts = np.zeros((len(sentences), self.model.config.hidden_size), np.float32), np.zeros((len(sentences), 1), np.float32)
        for first in range(0, len(windows), BATCH):
            part = windows[first : first + BATCH]
            batch = self.tokenizer.pad({"input_ids": [window.input_ids for window in part]}, return_tensors="pt").to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                states = self.model(batch["input_ids"], batch["attention_mask"]).last_hidden_state
            summed = (states.float() * batch["attention_mask"][..., None]).sum(1).cpu().numpy()
            places = [window.sentence for window in part]
            np.add.at(sums, places, summed)  # a long sentence has several windows
            np.add.at(counts, places, [[len(window.input_ids)] for window in part])
        return sums / counts
