"""A cluster of several nodes on this machine: its room, whether all see the store, a study on three nodes, lost nodes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import ray
from ray.cluster_utils import Cluster
from small_study import ROOT, small_study
from test_distributed import RESOURCES, fit, sentences

import engine.cluster
from engine.cluster import check_nodes, start_ray
from engine.errors import StoreError, StudyError
from engine.models.tiny import make_tiny
from engine.spec import Resources
from engine.store import Store
from engine.train.deepspeed import DeepSpeedBackend
from engine.train.distributed import run

pytestmark = pytest.mark.cluster
DEADLINE = 200  # seconds for a node to come up


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head without processors and two nodes of one each."""
    with three_nodes() as cluster:
        yield cluster


@contextmanager
def three_nodes() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests'}")
        noticed_soon = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": noticed_soon}
        cluster = Cluster(initialize_head=True, head_node_args=head)
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


def test_a_step_that_no_node_has_room_for_is_an_error_at_once(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(cluster, Resources(threads=1)) as at_once:
        assert at_once == 2
    with connected(cluster, Resources(threads=1, workers=2)) as at_once:
        assert at_once == 1
    said = r"1 x \(2 CPUs and 0 GPUs .* room for 0 of them\. .* 2 of 1 CPUs"
    with pytest.raises(StudyError, match=said), connected(cluster, Resources(threads=2)):
        pass
    with pytest.raises(StudyError, match=r"3 x \(1 CPUs .* room for 2 of"), connected(cluster, Resources(threads=1, workers=3)):
        pass
    monkeypatch.setenv("RAY_NODE_TYPE_NAME", "small")  # as `ray up` and KubeRay start a node
    node = cluster.add_node(num_cpus=1)
    with connected(cluster, Resources(gpus=1.0)) as at_once:
        assert at_once == 0, "an autoscaler may bring a GPU: the study waits for it"
    shutil.copy(ROOT / "cluster.yaml", tmp_path / "ray_bootstrap_config.yaml")  # as `ray up` leaves it on a head
    monkeypatch.setenv("HOME", str(tmp_path))
    with connected(cluster, Resources(gpus=4.0)) as at_once:
        assert at_once == 0
    with pytest.raises(StudyError, match="however far the cluster grows: it needs 1 x .1 CPUs and 8 GPUs"), connected(cluster, Resources(gpus=8.0)):
        pass
    cluster.remove_node(node)


@pytest.mark.skipif(not can_unshare(), reason="needs the right to make a mount namespace")
def test_a_path_that_a_node_sees_otherwise_is_refused(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, own = Store(str(tmp_path / "shared")), Store(str(tmp_path / "own"))
    shared.probe()
    own.probe()
    with connected(cluster, Resources(threads=1)):
        with monkeypatch.context() as impatient, pytest.raises(StoreError, match=r"the node \S+ \(.*has not said within 0 s whether"):
            impatient.setattr(engine.cluster, "ANSWER", 0)
            check_nodes(own)
        check_nodes(own)
        with node_with_a_disk_of_its_own(cluster, tmp_path / "own"):
            check_nodes(shared)
            with pytest.raises(StoreError, match=r"the node \S+ \(.*own: what the driver wrote there is not seen"):
                check_nodes(own)
    assert not list(tmp_path.rglob(".probe-*"))


def on_cluster(cluster: Cluster, file: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "engine.study", str(file), "--address", cluster.address, "--out", str(out)]


def test_a_study_on_three_nodes(cluster: Cluster, tmp_path: Path) -> None:
    command = on_cluster(cluster, small_study(tmp_path), tmp_path / "out")
    study = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=280, check=False)
    assert study.returncode == 0, study.stdout + study.stderr
    assert "; 2 at once" in study.stdout
    rows = engine.results(str(tmp_path / "out")).filter(pl.col("entity_type") == "ALL")
    assert len(rows) == 4 and (rows["status"] == "done").all()


def train_here(payload: tuple[Path, Path], backend: DeepSpeedBackend) -> dict[str, Any]:
    """Train with the loss of a node, then undisturbed: in the same workers, for to start others takes longest."""
    tiny, lost = payload
    resumed = fit(tiny, backend, dropout=0.3, lost=lost, with_node=True)
    return {"resumed": resumed, "whole": fit(tiny, DeepSpeedBackend(RESOURCES, backend.device), dropout=0.3)}


def test_a_node_lost_in_a_two_worker_step_is_replaced_and_the_losses_are_equal(cluster: Cluster, tmp_path: Path) -> None:
    make_tiny(tmp_path / "tiny", sentences(), seed=0)
    resources = replace(RESOURCES, threads=1)
    cluster.add_node(num_cpus=1)  # a spare one
    with connected(cluster, resources):
        nodes = sum(node["Alive"] for node in ray.nodes())
        both = run(train_here, (tmp_path / "tiny", tmp_path / "lost"), resources, str(tmp_path / "run"), checkpoint_every=5)
        assert (tmp_path / "lost").exists() and sum(node["Alive"] for node in ray.nodes()) == nodes - 1
    resumed, whole = both["resumed"], both["whole"]
    assert resumed["losses"] == whole["losses"] and len(whole["losses"]) == 20
    for name, weight in whole["weights"].items():
        np.testing.assert_array_equal(resumed["weights"][name], weight, err_msg=name)


@pytest.mark.soak
def test_after_the_head_was_lost_the_next_run_goes_on(tmp_path: Path) -> None:
    file, out = small_study(tmp_path), tmp_path / "out"
    with three_nodes() as cluster:
        environment = os.environ | {"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}  # a minute, else
        command = on_cluster(cluster, file, out)
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
            try:
                end = time.monotonic() + DEADLINE
                while not list(out.glob("artifacts/pretrain-*/step.json")):
                    assert process.poll() is None and time.monotonic() < end, "no step was done"
                    time.sleep(0.1)
                cluster.head_node.kill_gcs_server()
                cluster.head_node.kill_raylet()
                assert process.wait(DEADLINE) != 0
            finally:
                process.kill()
    done = {path: path.stat().st_mtime_ns for path in out.glob("artifacts/[!.]*/step.json")}
    again = subprocess.run(
        [sys.executable, "-m", "engine.study", str(file), "--local", "--out", str(out)], capture_output=True, text=True,
        cwd=ROOT, timeout=280, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stdout + again.stderr
    assert done and all(path.stat().st_mtime_ns == at for path, at in done.items())
    rows = engine.results(str(out)).filter(pl.col("entity_type") == "ALL")
    assert len(rows) == 4 and (rows["status"] == "done").all()
