"""Training on windows with slots: what fine-tuning, distillation and pretraining have in common."""

from collections.abc import Callable, Sequence
from itertools import chain, islice
from typing import TypeVar

import numpy as np
from torch import Tensor, nn

from engine.data.sentences import Sentence
from engine.models.mt5 import SlotTagger
from engine.models.pretraining import Pretrainer
from engine.models.sentinel import SentinelTagger
from engine.models.sizes import from_config
from engine.models.tagger import Tagger
from engine.models.text2text import Text2Text
from engine.models.windows import Window
from engine.spec import Training
from engine.train.batches import Batch, micro_batches, pass_cost, updates, words_per_update
from engine.train.loop import Backend, PlainBackend, TrainingLog, train
from engine.train.memory import UNKNOWN, Activations, activations

LOOKED_AT = 32  # updates whose micro-batches tell how much memory a training takes
Model = TypeVar("Model", bound=Tagger | Pretrainer)
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
    examples, targets = tagger.examples(sentences, labels, training.max_tokens)
    return fit_examples(tagger, examples, targets, loss, training, seed, micro_batch, backend)


def tag_ids(sentences: Sequence[Sentence], tags: Sequence[str]) -> list[list[int]]:
    """The gold tags of the sentences' words, as their places in `tags`."""
    number = {tag: index for index, tag in enumerate(tags)}
    return [[number[tag] for tag in sentence.tags or ()] for sentence in sentences]


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
    cost = pass_cost(model, backend.device)
    kept = _activations(model, examples, training, seed, backend.world, micro_batch, cost)
    batches = updates(
        examples, targets, model.tokenizer.pad_token_id, training, seed, backend.rank, backend.world, micro_batch, cost
    )

    def batch_loss(wrapped: nn.Module, batch: Batch) -> Tensor:
        logits = wrapped(batch.input_ids, batch.attention_mask, batch.slots)
        return loss(logits, batch.targets, batch.mask, normaliser)

    return train(model, batches, batch_loss, training, backend, seed, kept)


def _activations(
    model: Tagger | Pretrainer,
    examples: Sequence[Window],
    training: Training,
    seed: int,
    world: int,
    micro_batch: int,
    cost: int,
) -> Activations:
    """The most that a micro-batch of the first updates keeps, on rank 0, which has the longest: all workers find the same."""
    size = from_config(model.model.config.to_dict())
    if size is None:
        return UNKNOWN
    decoder = isinstance(model, SlotTagger | Text2Text) or (isinstance(model, Pretrainer) and model.objective != "masked-lm")
    form = "slots" if decoder else "encoder"
    whole = isinstance(model, Pretrainer | Text2Text)  # an output for each piece
    outputs = model.model.get_input_embeddings().weight.shape[0] if whole else len(model.tags)
    lengths = [len(example.input_ids) for example in examples]
    written = 2 if isinstance(model, SentinelTagger) else 1  # ids a word that the decoder reads
    most = UNKNOWN
    looked_at = islice(micro_batches(lengths, training, seed, 0, world, micro_batch, cost), LOOKED_AT)
    for part in chain.from_iterable(looked_at):
        tokens, slots = max(lengths[i] for i in part), written * max(len(examples[i].slots) for i in part)
        kept = activations(size, form, training.precision, len(part), tokens, slots, outputs)
        most = max(most, kept, key=lambda activations: activations.whole)
    return most


def trained(model: Model, remake: Callable[[], Model], backend: Backend) -> Model | None:
    """Return the trained model on rank 0, None on the others. Every worker calls it, for ZeRO 3 gathers from all.

    `remake` makes the untrained model again, whole: a worker's own may hold parts of the weights only.
    """
    weights = backend.weights()
    if backend.rank:
        return None
    whole = model if isinstance(backend, PlainBackend) else remake()
    whole.load_state_dict(weights)
    return whole
