"""What all tests share."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # test processes share the cores: more threads would wait for each other

# The files that take longest begin first, so that of two processes none is left with one of them at the end.
LONG = ("test_study.py", "test_translation.py", "test_kill.py", "test_report.py", "test_tasks.py", "test_nodes.py", "test_workers.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and a real small encoder; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("SPRACHBUND_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data at {folder}; set SPRACHBUND_SHARED to its folder")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny untrained model whose vocabulary is that of 300 toy sentences. Not to be written to."""
    from toy import toy_sentences  # these import torch, which not every test needs

    from engine.models.tiny import make_tiny

    folder = tmp_path_factory.mktemp("tiny")
    make_tiny(folder, toy_sentences(300), seed=0)
    return str(folder)
