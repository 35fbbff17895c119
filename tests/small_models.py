"""Checkpoints laid out as mBERT's and XLM-R's, with few random weights: their own tokenizers, ids and paddings."""

from pathlib import Path

import torch
from tokenizers import trainers
from tokenizers.implementations import BertWordPieceTokenizer
from toy import toy_sentences
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaTokenizerFast,
)

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SENTENCES = toy_sentences(40)
WORDS = [" ".join(sentence.words) for sentence in SENTENCES]


def mbert(folder: Path) -> str:
    """Cased WordPieces between [CLS] and [SEP], padded with id 0."""
    pieces = BertWordPieceTokenizer(lowercase=False)
    pieces.train_from_iterator(WORDS, vocab_size=120, min_frequency=1)
    BertTokenizerFast(pieces.get_vocab(), do_lower_case=False).save_pretrained(folder)
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(vocab_size=pieces.get_vocab_size(), **SMALL)).save_pretrained(folder)
    return str(folder)


def xlm_r(folder: Path) -> str:
    """A unigram model's pieces between <s> and </s>, padded with id 1, from which positions are counted."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    plain = XLMRobertaTokenizerFast().backend_tokenizer
    plain.train_from_iterator(WORDS, trainers.UnigramTrainer(vocab_size=120, special_tokens=[*special, "<mask>"], unk_token="<unk>", show_progress=False))
    vocabulary = sorted(plain.get_vocab().items(), key=lambda piece: piece[1])
    XLMRobertaTokenizerFast(vocab=[(piece, -float(number)) for piece, number in vocabulary]).save_pretrained(folder)
    torch.manual_seed(0)
    XLMRobertaForMaskedLM(XLMRobertaConfig(vocab_size=len(vocabulary), max_position_embeddings=302, **SMALL)).save_pretrained(folder)
    return str(folder)
