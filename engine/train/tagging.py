"""Training on windows with slots: what fine-tuning, distillation and pretraining have in common."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from engine.data.sentences import Sentence
from engine.models.pretraining import Pretrainer
from engine.models.tagger import Tagger
from engine.models.windows import Window
from engine.spec import Training
from engine.train.batches import Batch, pass_cost, updates, words_per_update
from engine.train.loop import Backend, TrainingLog, train

Loss = Callable[[Tensor, Tensor, Tensor, float], Tensor]  # as in engine.train.losses


def fit(
    tagger: Tagger,
    sentences: Sequence[Sentence],
    labels: Sequence[Sequence[int] | np.ndarray],
    loss: Loss,
    training: Training,
    seed: int,
    micro_batch: int,
    backend: Backend,
) -> TrainingLog:
    """Train `tagger` in place. `labels`: for each sentence its words' tag ids, or float32 (words, K) probabilities."""
    windows = tagger.windows(sentences, training.max_tokens)
    targets = [labels[w.sentence][w.start : w.start + len(w.slots)] for w in windows]
    return fit_examples(tagger, windows, targets, loss, training, seed, micro_batch, backend)


def fit_examples(
    model: Tagger | Pretrainer,
    examples: Sequence[Window],
    targets: Sequence[Sequence[int] | np.ndarray],
    loss: Loss,
    training: Training,
    seed: int,
    micro_batch: int,
    backend: Backend,
) -> TrainingLog:
    """Train `model` in place on windows and, for each of its slots, what is asked for."""
    model.freeze(training.freeze_embeddings, training.freeze_layers)
    normaliser = words_per_update(examples, training.batch_size)
    batches = updates(
        examples, targets, model.tokenizer.pad_token_id, training, seed, backend.rank, backend.world, micro_batch,
        pass_cost(model, backend.device),
    )  # fmt: skip

    def batch_loss(wrapped: nn.Module, batch: Batch) -> Tensor:
        logits = wrapped(batch.input_ids, batch.attention_mask, batch.slots)
        return loss(logits, batch.targets, batch.mask, normaliser)

    return train(model, batches, batch_loss, training, backend, seed)


def save_trained(model: Tagger | Pretrainer, remake: Callable[[], Tagger | Pretrainer], backend: Backend, out: Path) -> None:
    """Write the trained model to `out` on rank 0. Every worker calls it, for ZeRO 3 gathers the weights from all.

    `remake` makes the untrained model again, whole: a worker's own may hold parts of the weights only.
    """
    weights = backend.weights()
    if backend.rank == 0:
        whole = model if backend.world == 1 else remake()
        whole.load_state_dict(weights)
        whole.save(out)
