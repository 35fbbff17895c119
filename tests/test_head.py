"""A head as docs/cluster.md has it, which asks for its token: who shows none is refused, who shows it runs a study there."""

import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from small_study import ROOT, command, small_study

import engine
from engine.store.integrity import unsealed

pytestmark = pytest.mark.cluster
RAY = f"{Path(sys.executable).parent}/ray"
# A node waits 15 s for the ports that its agents choose, and ends (ray-project/ray#65983): too little on a busy machine.
PORTS = ("--dashboard-agent-listen-port", "--dashboard-agent-grpc-port", "--metrics-export-port", "--runtime-env-agent-port")
DRIVER = """
import sys
from engine.cluster import check_nodes, start_ray
from engine.spec import Resources
from engine.store import Store
start_ray(sys.argv[1], False, None, Resources(threads=1))
check_nodes(Store(sys.argv[2]))
"""


@contextmanager
def head(folder: Path, *options: str) -> Iterator[str]:
    """The address of a head of two processors, on which `with_token` works and $OUT is a folder."""
    ports = [f"{option}={free_port()}" for option in PORTS]
    patient = {"RAY_raylet_start_wait_time_s": "60"}
    environment = with_token(folder) | patient | {"OUT": str(folder / "out"), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="ray-") as short:  # the path of a socket has 107 bytes at most
        start = [RAY, "start", "--head", "--block", "--port=0", "--num-cpus=2", f"--temp-dir={short}", "--disable-usage-stats"]
        with subprocess.Popen(
            [*start, *ports, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                said, address = "", None
                while not address and (line := process.stdout.readline()):
                    said += line
                    address = re.search(r"address='(\S+?)'", line)
                assert address, said
                yield address[1]
            finally:
                process.terminate()
                process.communicate()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def without_token(folder: Path) -> dict[str, str]:
    """The environment of a user who has no token, and of the tests' other clusters nothing."""
    (folder / "stranger").mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {"HOME": str(folder / "stranger"), "RAY_NUM_REDIS_GET_RETRIES": "1"}


def with_token(folder: Path, token: str = "the-token-of-this-cluster") -> dict[str, str]:
    """The environment of a user with this token where `ray get-auth-token --generate` puts it."""
    home = folder / token
    (home / ".ray").mkdir(parents=True, exist_ok=True)
    (home / ".ray" / "auth_token").write_text(token)
    return without_token(folder) | {"HOME": str(home), "RAY_AUTH_MODE": "token"}


def test_who_shows_no_token_is_refused_and_who_shows_it_is_served(tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused = {
        "showed none, for RAY_AUTH_MODE is not set": without_token(tmp_path),
        "has none, or another one": with_token(tmp_path, "another-token"),
    }
    with head(tmp_path, "--include-dashboard=false") as address:
        study = [sys.executable, "-m", "engine.study", str(small_study(tmp_path)), "--address", address, "--out", str(out)]
        for why, environment in refused.items():
            run = subprocess.run(study, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
            assert run.returncode == 2, run.stdout + run.stderr
            assert f"error: --address {address}: the cluster asks for its token, and this process {why}. " in run.stderr
            assert "`ray get-auth-token`" in run.stderr and "Traceback" not in run.stderr
        assert not list(out.glob("*/*")), "nothing was begun"
        driver = [sys.executable, "-c", DRIVER, address, str(out)]
        served = subprocess.run(driver, capture_output=True, text=True, cwd=ROOT, env=with_token(tmp_path), check=False)
    assert served.returncode == 0, served.stdout + served.stderr


@pytest.mark.soak
@pytest.mark.skipif(find_spec("opencensus") is None, reason="a head takes jobs only with what ray[default] installs")
def test_a_study_that_is_submitted_as_a_job_ends_as_it_does_here(tmp_path: Path) -> None:
    file, port = small_study(tmp_path), free_port()
    page = (ROOT / "docs" / "cluster.md").read_text("utf-8").replace("\\\n", "")
    (submit,) = re.findall(r"^    (ray job submit .*)", page, re.MULTILINE)
    for said, here in {
        "ray job": f"{RAY} job", ":8265": f":{port}", "/home/ray/sprachbund": str(ROOT), "python -m": f"{sys.executable} -m",
        "studies/data_volume.py": str(file), " --no-wait": "",
    }.items():  # fmt: skip
        assert said in submit
        submit = submit.replace(said, here)
    with head(tmp_path, "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}"):
        arguments = shlex.split(submit)
        stranger = subprocess.run(arguments, capture_output=True, text=True, env=without_token(tmp_path), check=False)
        assert stranger.returncode and "Missing authentication token" in stranger.stderr
        job = subprocess.run(arguments, capture_output=True, text=True, env=with_token(tmp_path), check=False)
    assert job.returncode == 0, job.stdout + job.stderr
    assert "11 to run" in job.stdout and "2 at once" in job.stdout
    here = command(str(file), "--local", "--jobs", "2", "--out", str(tmp_path / "here"))
    assert here.returncode == 0, here.stdout + here.stderr
    there = tmp_path / "out" / "data_volume"
    assert contents(there) == contents(tmp_path / "here")
    columns = ["fingerprint", "entity_type", "method", "volume", "tp", "fp", "fn", "f1", "status"]
    submitted, local = (engine.results(str(out)).select(columns).sort(columns) for out in (there, tmp_path / "here"))
    assert submitted.equals(local) and (local["status"] == "done").all()


def contents(out: Path) -> dict[str, object]:
    """The files of all artifacts, each with size and SHA-256."""
    found = {path.parent.name: unsealed(path.read_bytes())[1] for path in out.glob("artifacts/[!.]*/step.json")}
    assert len(found) == 11
    return found
