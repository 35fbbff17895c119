"""A cluster of several nodes on this machine: its room, whether all see the store, and a study on three nodes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
import ray
from ray.cluster_utils import Cluster
from small_study import ROOT, STUDY

import engine
from engine.cluster import check_nodes, start_ray
from engine.errors import StoreError, StudyError
from engine.spec import Resources
from engine.store import Store

pytestmark = pytest.mark.cluster
DEADLINE = 200  # seconds for a node to come up


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head without processors and two nodes of one each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for _ in range(2):
                cluster.add_node(num_cpus=1)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


@contextmanager
def connected(cluster: Cluster, resources: Resources, jobs: int | None = None) -> Iterator[int]:
    """As a study's command connects: gives the number of steps at once."""
    try:
        yield start_ray(cluster.address, False, jobs, resources)
    finally:
        ray.shutdown()


@contextmanager
def node_with_a_disk_of_its_own(cluster: Cluster, folder: Path) -> Iterator[None]:
    """A further node, for which `folder` is another disk: it lives in a mount namespace of its own."""
    ray_start = f"{Path(sys.executable).parent}/ray start --address={cluster.address} --num-cpus=1 --block"
    command = ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs none {folder} && exec {ray_start}"]
    before = len(ray.nodes())
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        try:
            end = time.monotonic() + DEADLINE
            while len(ray.nodes()) == before:
                assert process.poll() is None and time.monotonic() < end, "the node did not come up"
                time.sleep(0.2)
            yield
        finally:
            process.terminate()


def can_unshare() -> bool:
    command = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_step_that_no_node_has_room_for_is_an_error_at_once(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(cluster, Resources(threads=1)) as at_once:
        assert at_once == 2
    with connected(cluster, Resources(threads=1, workers=2)) as at_once:
        assert at_once == 1
    said = r"1 x \(2 CPUs and 0 GPUs .* room for 0 of them .* 2 of 1 CPUs"
    with pytest.raises(StudyError, match=said), connected(cluster, Resources(threads=2)):
        pass
    with pytest.raises(StudyError, match=r"3 x \(1 CPUs .* room for 2 of"), connected(cluster, Resources(threads=1, workers=3)):
        pass
    monkeypatch.setenv("RAY_NODE_TYPE_NAME", "small")  # as `ray up` and KubeRay start a node
    node = cluster.add_node(num_cpus=1)
    with connected(cluster, Resources(gpus=1.0)) as at_once:
        assert at_once == 0, "an autoscaler may bring a GPU: the study waits for it"
    cluster.remove_node(node)


@pytest.mark.skipif(not can_unshare(), reason="needs the right to make a mount namespace")
def test_a_path_that_a_node_sees_otherwise_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    shared, own = Store(str(tmp_path / "shared")), Store(str(tmp_path / "own"))
    shared.probe()
    own.probe()
    with connected(cluster, Resources(threads=1)):
        check_nodes(own)
        with node_with_a_disk_of_its_own(cluster, tmp_path / "own"):
            check_nodes(shared)
            with pytest.raises(StoreError, match=r"the node \S+ \(.*own: what the driver wrote there is not seen"):
                check_nodes(own)
    assert not list(tmp_path.rglob(".probe-*"))


def test_a_study_on_three_nodes(cluster: Cluster, tmp_path: Path) -> None:
    file, out = tmp_path / "small.py", tmp_path / "out"
    file.write_text(STUDY.replace("seeds=(0,)", "seeds=(0,), resources=Resources(threads=1)").replace("Recipe, Study", "Recipe, Resources, Study"))
    command = [sys.executable, "-m", "engine.study", str(file), "--address", cluster.address, "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=280, env=environment, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "; 2 at once" in run.stdout
    rows = engine.results(str(out)).filter(pl.col("entity_type") == "ALL")
    assert len(rows) == 4 and (rows["status"] == "done").all()
