"""Every command that the README shows is one that works: make targets exist, study commands plan, options are real."""

import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from engine.cells import expand
from engine.compiler import compile_study

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = [line.strip().partition("   ")[0] for line in README.splitlines() if line.startswith("    ")]
STUDIES = [line for line in COMMANDS if "engine.study studies/" in line]


def test_the_make_targets_exist() -> None:
    targets = [line.split()[1] for line in COMMANDS if line.startswith("make ")]
    assert {"study", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE), target


@pytest.mark.parametrize(("code", "reported"), [(0, True), (1, True), (2, False), (130, False)])
def test_make_study_reports_what_ran_and_ends_as_the_study_did(tmp_path: Path, code: int, reported: bool) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for file in ("pyproject.toml", "constraints.txt", ".venv/done"):  # the last, newest, says that all is installed
        (tmp_path / file).touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\necho "ran $2"\n[ "$2" = engine.study ] && exit {code} || exit 0\n')
    python.chmod(0o755)
    run = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), "study"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert re.findall("ran (.*)", run.stdout) == ["engine.study", *(["analysis.report"] if reported else [])]
    assert run.returncode == (2 if code else 0)  # make's own, which names the study's
    assert f"Error {code}" in run.stderr if code else not run.stderr


@pytest.mark.parametrize("line", STUDIES)
def test_a_study_command_plans(line: str) -> None:
    arguments = shlex.split(line.split("python ", 1)[1])
    run = subprocess.run(
        [sys.executable, *arguments, "--plan"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "to run" in run.stdout


def test_the_options_are_those_of_the_command() -> None:
    shown = set(re.findall(r"\[(--[a-z]+)", README))
    usage = subprocess.run(
        [sys.executable, "-m", "engine.study", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert shown == set(re.findall(r"(--[a-z]+)", usage)) - {"--help"}


def test_the_report_command_has_its_module() -> None:
    lines = [line for line in COMMANDS if "analysis.report" in line]
    assert lines
    subprocess.run([sys.executable, "-m", "analysis.report", "--help"], cwd=ROOT, capture_output=True, check=True)


def test_the_readmes_study_is_one() -> None:
    block = re.search(r"^    from engine\.models import recipes\n.*?^    local = .*?\n", README, re.MULTILINE | re.DOTALL)
    assert block
    defined: dict[str, Any] = {}
    exec(textwrap.dedent(block[0]), defined)  # noqa: S102, the README's own code
    assert len(expand(defined["study"])) == 5 * (3 + 1)
    assert len(compile_study(defined["local"], None).cells) == 2 + 1


@pytest.mark.parametrize(("page", "cells"), [("first-real-study.md", 12), ("african.md", 12)])
def test_the_command_of_a_real_study_plans(shared: Path, tmp_path: Path, page: str, cells: int) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8").replace("../shared", str(shared))
    command = re.search(r"^    (python -m engine\.study .*?[^\\])\n", text, re.MULTILINE | re.DOTALL)
    assert command
    _, *arguments = shlex.split(command[1].replace("\\\n", " "))
    for code in re.findall(r"^    from dataclasses .*?^    \)\n", text, re.MULTILINE | re.DOTALL):
        (tmp_path / "african.py").write_text(textwrap.dedent(code))
        arguments[arguments.index("african.py")] = str(tmp_path / "african.py")
    run = subprocess.run(
        [sys.executable, *arguments, "--plan", "--out", str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert f"{cells} cells: 0 done, 0 failed, {cells} missing, 0 stale" in run.stdout and "by method: " in run.stdout
