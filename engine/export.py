"""The command `python -m engine.export OUT ARTIFACT FOLDER`: a trained model of a store, whole, in Hugging Face format.

A store keeps what a training changed in its checkpoint; this puts the two together.
"""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from engine.errors import SprachbundError, StoreError
from engine.spec import Checkpoint, Site
from engine.steps.base import start
from engine.store import Store

TAGGERS = ("finetune", "fewshot", "distill")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code, 2 where the request was wrong."""
    parser = argparse.ArgumentParser("python -m engine.export", description="Write a trained model in Hugging Face format.")
    parser.add_argument("out", help="the study's --out: folder or URL of the store")
    parser.add_argument("artifact", help="name of a folder OUT/artifacts/finetune-... or distill-...")
    parser.add_argument("folder", help="where the model goes; it must not exist yet")
    parser.add_argument("--model", help="the folder that the study had as its model, where that was no hub id")
    options = parser.parse_args(arguments)
    try:
        export(options.out, options.artifact, Path(options.folder), options.model)
    except SprachbundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"written: {options.folder}")
    return 0


def export(out: str, artifact: str, folder: Path, model: str | None = None) -> None:
    """Write the artifact's tagger to `folder`. `model`: the folder that the study had as its model, if it had one.

    Raises StoreError where the store has no such tagger or `folder` exists, ModelError where its checkpoint cannot be had.
    """
    from engine.models import saved  # torch takes seconds, and wrong names are said at once

    store = Store(out)
    if not artifact.startswith(TAGGERS) or not store.has(artifact):
        names = " ".join(sorted(name for name in store.artifacts() if name.startswith(TAGGERS))[:8])
        raise StoreError(f"{out} has no trained tagger {artifact!r}. It has: {names or 'none'} ...")
    if folder.exists():
        raise StoreError(f"{folder} exists. Name a folder that does not, so that nothing is overwritten.")
    record = store.record(artifact)
    base = record["recipe"]["base"]
    if isinstance(base, dict):
        base = Checkpoint(base["name"], base["version"])
    with ExitStack() as stack:
        inputs = {role: stack.enter_context(store.fetch(name)) for role, name in record["needs"].items() if role == "base"}
        checkpoint = start(base, inputs, Site(models={base.name: model} if model and isinstance(base, Checkpoint) else {}))
        saved.export(stack.enter_context(store.fetch(artifact)), checkpoint, folder)


if __name__ == "__main__":
    sys.exit(main())
