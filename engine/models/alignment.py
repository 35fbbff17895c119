"""How alike two languages' embeddings of the same sentences are (Conneau et al. 2020, "Emerging Cross-lingual Structure").

X and Y are (n, d) float32: row i of both is one meaning. Formulas, what each is 0 and 1 at, and sources: docs/methods.md.
"""

import numpy as np


def alignment(x: np.ndarray, y: np.ndarray) -> dict[str, float | None]:
    """All measures, by the name of their column. None where so few sentences would have any value.

    One sentence is its own nearest neighbor, and two, centered, are one line, which a rotation maps to any other.
    """
    return {
        "alignment_cosine": cosine(x, y),
        "alignment_cka": cka(x, y) if len(x) > 2 else None,
        "alignment_retrieval": retrieval(x, y) if len(x) > 1 else None,
        "alignment_distance": float(np.linalg.norm(x.mean(0) - y.mean(0))),
        "alignment_procrustes": procrustes(x, y) if len(x) > 2 else None,
    }


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    """The mean cosine of a sentence and its translation."""
    return float((_unit(x) * _unit(y)).sum(1).mean())


def cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear CKA (Kornblith et al. 2019): ||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F) of centered X and Y; 1 where one is a rotation of the other."""
    x, y = _centered(x), _centered(y)
    scale = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(y.T @ x) ** 2 / scale) if scale else 0.0


def retrieval(x: np.ndarray, y: np.ndarray) -> float:
    """How often a sentence's nearest neighbor in the other language, by cosine, is its translation; mean of both directions."""
    near = _unit(x) @ _unit(y).T
    right = np.arange(len(x))
    return float(((near.argmax(1) == right).mean() + (near.argmax(0) == right).mean()) / 2)


def procrustes(x: np.ndarray, y: np.ndarray) -> float:
    """What the best rotation of one half of the sentences leaves of the other half: 0 (all is mapped) to 1 (nothing) and above.

    W is orthogonal and minimizes ||XW - Y||_F over the even rows (Schonemann 1966), all centered by their means. The error is 1
    less the correlation of XW and Y over the odd rows: fitted and scored on the same rows, a few hundred sentences in as many
    dimensions would fit any language to any other.
    """
    x, y = _centered(x), _centered(y)
    u, _, v = np.linalg.svd(x[::2].T @ y[::2])
    mapped, asked = x[1::2] @ (u @ v), y[1::2]
    scale = np.linalg.norm(mapped) * np.linalg.norm(asked)
    return float(1 - (mapped * asked).sum() / scale) if scale else 1.0


def _centered(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) - x.mean(0, dtype=np.float64)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
