"""The house stands as DESIGN says: imports run one way, and the plan's side needs neither torch nor ray."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "transformers", "ray", "deepspeed"}
LIGHT = ["errors", "mend", "languages", "fingerprint", "records", "spec", "store", "leases", "cells", "graph", "measured", "compiler", "plan", "data", "models/sizes",
         "models/recipes",
         *(f"projection/{name}" for name in ("alignment", "candidates", "scores", "match", "project", "statistical"))]
# Who may import whom, from the bottom up: a module may import those of its own layer and below.
LAYERS = [
    ("engine.errors",),
    ("engine.languages", "engine.fingerprint", "engine.records"),
    ("engine.spec",),
    ("engine.data", "engine.store", "engine.leases", "engine.tasks", "engine.source_sets"),
    ("engine.models", "engine.train", "engine.projection"),
    ("engine.steps", "engine.cells", "engine.graph", "engine.measured"),
    ("engine.work", "engine.compiler"),
    ("engine.plan", "engine.mend"),
    ("engine.cluster", "engine.schedule"),
    ("engine.study", "engine.export"),
]


def modules(*folders: str) -> dict[str, Path]:
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports(file: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(file.read_text("utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def layer(module: str) -> int | None:
    for number, names in enumerate(LAYERS):
        if any(module == name or module.startswith(f"{name}.") for name in names):
            return number
    return None


@pytest.mark.parametrize("module", [name for name in modules("engine") if layer(name) is not None])
def test_imports_run_down(module: str) -> None:
    own = layer(module)
    for imported in imports(modules("engine")[module]):
        other = layer(imported)
        assert other is None or other <= own, f"{module} imports {imported}, which stands above it"


def test_every_module_has_a_layer() -> None:
    assert [name for name in modules("engine") if layer(name) is None] == ["engine"]


def test_the_engine_never_imports_the_analysis_but_for_the_power_that_the_plan_quotes() -> None:
    for module, file in modules("engine").items():
        found = {name for name in imports(file) if name.split(".")[0] == "analysis"}
        assert found <= ({"analysis.design", "analysis.design.lines"} if module == "engine.study" else set()), module
        assert not any(name.split(".")[0] == "analysis" for name in imports(file, top_level_only=True)), module


def test_the_analysis_never_imports_the_command_line() -> None:
    for module, file in modules("analysis").items():
        assert "engine.study" not in imports(file), module


def test_ray_is_imported_in_three_files_only() -> None:
    using = {module for module, file in modules("engine", "analysis").items() if "ray" in {n.split(".")[0] for n in imports(file)}}
    assert using == {"engine.cluster", "engine.schedule", "engine.train.distributed"}


def test_the_light_modules_import_nothing_heavy() -> None:
    for module, file in modules("engine", "analysis").items():
        if any(module == f"engine.{name.replace('/', '.')}" or module.startswith(f"engine.{name}.") for name in LIGHT):
            heavy = {name.split(".")[0] for name in imports(file, top_level_only=True)} & HEAVY
            assert not heavy, f"{module} imports {heavy}"


def test_every_module_says_its_job_first() -> None:
    for module, file in modules("engine", "analysis", "studies").items():
        assert ast.get_docstring(ast.parse(file.read_text("utf-8"))), module
