"""How similar a sentence is to each source language, and what that weighs its teachers (Wu et al. 2020, section 3.3).

All is computed from embeddings of sentences by the pretrained model, before fine-tuning. Wu et al. take mBERT's pooled
output; other models have none that was trained, so here it is the mean of the last states (`engine.models.embed`), each
feature standardized over the sources' sentences, for these states' sizes differ by orders of magnitude between models.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.spec import Similarity


class LanguageIdentity(nn.Module):
    """Logits of K languages for embeddings: U(x) . V(mu_k), with a trained embedding mu_k of each language.

    `centers`: (K, d), the languages' mean embeddings, from which the mu_k start.
    """

    def __init__(self, centers: Tensor, rank: int) -> None:
        super().__init__()
        self.languages = nn.Parameter(centers.clone())
        self.left, self.right = nn.Linear(centers.shape[1], rank), nn.Linear(centers.shape[1], rank)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return logits (N, K) for embeddings (N, d)."""
        return self.left(embeddings) @ self.right(self.languages).T

    def skew(self) -> Tensor:
        """How far the languages' embeddings are from orthonormal: the squared Frobenius norm of M M^T - I."""
        return (self.languages @ self.languages.T - torch.eye(len(self.languages))).square().sum()


def similarities(
    measure: str, sources: Sequence[np.ndarray], target: np.ndarray, training: Similarity, seed: int
) -> np.ndarray:
    """Return (N, K) float32: the similarity of N target sentences, (N, d), to K sources, (N_k, d) each.

    `measure`: "lid", the logits of a trained language identification; "cosine", and "l1" and "l2" (less the distance),
    to the mean of each source.
    """
    together = np.concatenate(sources)
    mean, scale = together.mean(axis=0), together.std(axis=0) + 1e-6
    known = [torch.from_numpy((source - mean) / scale).float() for source in sources]
    asked = torch.from_numpy((target - mean) / scale).float()
    centers = torch.stack([source.mean(dim=0) for source in known])
    if measure == "lid":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _identified(known, centers, asked, training).numpy()
    if measure == "cosine":
        return F.cosine_similarity(asked[:, None], centers, dim=-1).numpy()
    return -torch.cdist(asked, centers, p={"l1": 1.0, "l2": 2.0}[measure]).numpy()


def weights(similarity: np.ndarray, level: str) -> np.ndarray:
    """Return the teachers' weights, (N, K) float32 with rows that sum to 1, or (1, K) at the level "domain".

    A softmax over the sources of the similarities (N, K) by the variance of all of them; at the level "domain" its mean
    over the sentences (Wu et al. 2020, equations 7 and 8). Equal weights where all sentences are equally similar to all.
    """
    scaled = similarity / max(similarity.var(), 1e-12)
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    each = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return each.mean(axis=0, keepdims=True) if level == "domain" else each


def mixture(answers: Sequence[Sequence[np.ndarray]], weights: np.ndarray) -> list[np.ndarray]:
    """Return each sentence's mean over K teachers of their answers, float32 (words, tags), weighted by (N, K) or (1, K)."""
    rows = np.broadcast_to(weights, (len(answers[0]), len(answers)))
    return [sum(weight * one for weight, one in zip(row, each, strict=True)) for row, *each in zip(rows, *answers, strict=True)]


def _identified(sources: Sequence[Tensor], centers: Tensor, target: Tensor, training: Similarity) -> Tensor:
    """Train a language identification on the sources' sentences; return its logits for the target's."""
    model = LanguageIdentity(centers, training.rank)
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate)
    embeddings = torch.cat(list(sources))
    languages = torch.cat([torch.full((len(source),), number) for number, source in enumerate(sources)])
    for _ in range(training.epochs):
        for chosen in torch.randperm(len(embeddings)).split(training.batch_size):
            loss = F.cross_entropy(model(embeddings[chosen]), languages[chosen]) + training.penalty * model.skew()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.inference_mode():
        return model(target)
