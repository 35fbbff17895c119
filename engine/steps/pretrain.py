"""Pretrain: unlabeled text of several languages -> a base model. The tiny model is made here first."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor, nn

from engine.data.corpora import read_split
from engine.data.sampling import nested_subset
from engine.data.sentences import Sentence
from engine.models.pretraining import pretrainer
from engine.models.sizes import TINY
from engine.models.tiny import make_tiny
from engine.spec import PretrainRecipe, Site
from engine.steps.figures import of_training
from engine.train.batches import Batch, updates, words_per_update
from engine.train.loop import Backend, train
from engine.train.losses import cross_entropy


def run(
    recipe: PretrainRecipe, inputs: Mapping[str, Path], out: Path, site: Site, backend: Backend
) -> dict[str, Any]:
    """Train the recipe's checkpoint on its objective and write it in Hugging Face format."""
    texts = _texts(recipe, site)
    training = recipe.training
    with TemporaryDirectory() as folder:
        checkpoint = site.models.get(recipe.model.name, recipe.model.name)
        if recipe.model.name == TINY:
            checkpoint = folder
            make_tiny(Path(folder), texts, recipe.seed)
        model = pretrainer(checkpoint, training.objective)
        model.freeze(training.freeze_embeddings, training.freeze_layers)
        examples, targets = model.examples(texts, training.masked, training.max_tokens, recipe.seed)
        normaliser = words_per_update(examples, training.batch_size)
        batches = updates(
            examples, targets, model.tokenizer.pad_token_id, training, recipe.seed, backend.rank, backend.world,
            site.resources.micro_batch,
        )

        def batch_loss(wrapped: nn.Module, batch: Batch) -> Tensor:
            logits = wrapped(batch.input_ids, batch.attention_mask, batch.slots)
            return cross_entropy(logits, batch.targets, batch.mask, normaliser)

        log = train(model, batches, batch_loss, training, backend, recipe.seed)
        weights = backend.weights()
        if backend.rank == 0:
            whole = model if backend.world == 1 else pretrainer(checkpoint, training.objective)
            whole.load_state_dict(weights)
            whole.save(out)
    return of_training(log)


def _texts(recipe: PretrainRecipe, site: Site) -> list[Sentence]:
    texts = []
    for split in recipe.data:
        sentences = read_split(split, site.data)
        chosen = nested_subset(sentences, min(recipe.training.sentences, len(sentences)), recipe.seed)
        texts += [sentences[i].unlabeled() for i in chosen]
    return texts
