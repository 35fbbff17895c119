"""Translation by a model: NLLB (NLLB Team 2022), or any checkpoint of its architecture that names languages as FLORES-200 does."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM

from engine.data.flores import flores
from engine.data.sentences import Sentence
from engine.data.text import plain, tokenize
from engine.data.translation import Translated
from engine.errors import ModelError
from engine.models.load import load_model
from engine.spec import Translation

BATCH_TOKENS = 4_096  # subwords of a batch, padding included, times the beams
SHORTEST, PER_TOKEN = 16, 2  # a translation is cut off at so many subwords, and so many for each of the original's


class Nllb:
    """A translation model (a folder or hub id) on one device, loaded at once.

    Raises ModelError where the checkpoint cannot be had, or does not know languages by their FLORES-200 codes.
    """

    def __init__(self, checkpoint: str, settings: Translation, device: torch.device) -> None:
        self.model, self.tokenizer = load_model(checkpoint, AutoModelForSeq2SeqLM)
        self.model.to(device).eval()
        self.checkpoint, self.settings, self.device = checkpoint, settings, device

    def __call__(self, sentences: Sequence[Sentence], source: str, target: str) -> list[Translated]:
        """Return each sentence with its translation, split into words as any plain text is. DataError for a language it lacks.

        Sentences of more than `max_tokens` subwords are cut off there. A translation without a word is the original.
        """
        self.tokenizer.src_lang = self._known(source)
        begin = self.tokenizer.convert_tokens_to_ids(self._known(target))
        texts = [plain(sentence.words) for sentence in sentences]
        ids = self.tokenizer(texts, truncation=True, max_length=self.settings.max_tokens)["input_ids"] if texts else []
        translations: list[tuple[str, ...]] = [()] * len(texts)
        for batch in self._batches([len(row) for row in ids]):
            for place, text in zip(batch, self._generated([ids[place] for place in batch], begin), strict=True):
                translations[place] = tokenize(text) or sentences[place].words
        return [Translated(sentence, words) for sentence, words in zip(sentences, translations, strict=True)]

    def _batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """The sentences' places, the long ones first, in batches of similar length."""
        batches: list[list[int]] = []
        room = 0
        for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
            if len(batches[-1] if batches else ()) >= room:
                room = max(1, BATCH_TOKENS // (lengths[place] * self.settings.beams))
                batches.append([])
            batches[-1].append(place)
        return batches

    @torch.inference_mode()
    def _generated(self, ids: Sequence[Sequence[int]], begin: int) -> list[str]:
        batch = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self.device)
        most = [min(self.settings.max_tokens, SHORTEST + PER_TOKEN * len(row)) for row in ids]
        options: dict[str, Any] = {"num_beams": self.settings.beams, "do_sample": False, "max_new_tokens": max(most), "max_length": None}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            answers = self.model.generate(**batch, forced_bos_token_id=begin, **options)
        # Each is cut by its own length, not by that of what it was translated with; the first id is the decoder's start.
        cut = [answer[: 1 + length] for answer, length in zip(answers.tolist(), most, strict=True)]
        return self.tokenizer.batch_decode(cut, skip_special_tokens=True)

    def _known(self, language: str) -> str:
        code = flores(language)
        if self.tokenizer.convert_tokens_to_ids(code) in (None, self.tokenizer.unk_token_id):
            raise ModelError(
                f"translator {self.checkpoint!r} has no token {code} for {language}. Give a model that names languages as NLLB "
                "does, such as facebook/nllb-200-distilled-600M."
            )
        return code
