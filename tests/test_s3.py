"""The store on S3: a study whose driver and workers meet only there, against a real server on loopback."""

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import polars as pl
import psutil
import pytest
import ray
from moto.server import ThreadedMotoServer
from pyarrow import fs
from small_study import ROOT, STUDY, command
from test_faults import run, study

import engine
from engine.errors import StoreError
from engine.spec import Resources, Site
from engine.store import Store

pytestmark = pytest.mark.cluster
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of an empty bucket; its keys are in the environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="studies")
        yield f"s3://studies/OUT?endpoint_override={host}:{port}&scheme=http"
    server.stop()


def test_a_study_runs_on_s3_and_is_found_there(bucket: str, tmp_path: Path) -> None:
    file, out = tmp_path / "small.py", bucket.replace("OUT", "small")
    file.write_text(STUDY)
    run = command(str(file), "--local", "--out", out, cwd=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    whole = engine.results(out).filter(pl.col("entity_type") == "ALL")
    assert len(whole) == 4 and (whole["status"] == "done").all()
    again = command(str(file), "--local", "--out", out)
    assert again.returncode == 0 and "0 to run" in again.stdout
    page = tmp_path / "report.html"
    report = [sys.executable, "-m", "analysis.report", out, "--to", str(page)]
    subprocess.run(report, check=True, cwd=ROOT, capture_output=True)
    assert "made" in page.read_text("utf-8")


def test_what_is_published_on_s3_is_whole_and_the_first_wins(bucket: str) -> None:
    store, other = (Store(bucket.replace("OUT", "artifacts")) for _ in range(2))
    store.probe()
    for writer, content in ((store, b"first"), (other, b"second")):
        with writer.scratch("step-a-1") as folder:
            (folder / "weights").write_bytes(content)
            assert store.has("step-a-1") == (content == b"second")
            writer.publish("step-a-1", folder, {"by": content.decode()})
    assert other.artifacts() == {"step-a-1"}
    with store.fetch("step-a-1") as folder:
        assert (folder / "weights").read_bytes() == b"first" and store.record("step-a-1") == {"by": "first"}


def test_checkpoints_on_s3_have_an_address_and_go_when_the_step_is_done(bucket: str, tmp_path: Path) -> None:
    store = Store(bucket.replace("OUT", "checkpoints"))
    for content in ("first", "second"):
        (tmp_path / "state").write_text(content)
        store.keep_checkpoint("step-a-1", tmp_path)
    with store.kept_checkpoint("step-a-1") as folder:
        assert (folder / "state").read_text() == "second"
    with store.checkpoints("step-a-1") as address:
        files, path = fs.FileSystem.from_uri(address)  # as Ray Train will
        kept = files.get_file_info(fs.FileSelector(path, recursive=True))
        assert sorted(file.base_name for file in kept if file.type == fs.FileType.File) == ["newest", "state"]
    with store.kept_checkpoint("step-a-1") as folder:
        assert folder is None


class _Log(logging.Handler):
    """Reads the server's log: once the bucket has a first whole checkpoint of two workers, one is killed."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.killed, self.read = False, []  # the latter: requests for parts of a checkpoint, after that

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if self.killed and re.search(r"GET \S*/\.run-finetune\S*/checkpoint_\d\S*/deepspeed/", line):
            self.read.append(line)
        elif not self.killed and re.search(r"P\w+ \S*/\.run-finetune\S*/checkpoint_manager_snapshot", line):
            workers = [process for process in psutil.Process().children(recursive=True) if _trains(process)]
            assert len(workers) == 2
            workers[-1].kill()
            self.killed = True


def _trains(process: psutil.Process) -> bool:
    return process.cmdline()[:1] and process.cmdline()[0].startswith("ray::RayTrainWorker")


@pytest.mark.soak
def test_two_workers_meet_only_on_s3_and_go_on_from_their_checkpoint_there(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, alone, store = study(steps=40), Store(str(tmp_path)), Store(bucket.replace("OUT", "two"))
    alone.probe()
    run(asked, alone)
    server, log = logging.getLogger("werkzeug"), _Log()
    monkeypatch.setattr("engine.work.CHECKPOINT_EVERY", 5)
    two = Site(resources=Resources(workers=2, zero_stage=2, micro_batch=8, threads=1))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    server.addHandler(log)
    try:
        plan, failed = run(asked, store, two)
    finally:
        server.removeHandler(log)
        ray.shutdown()
    assert not failed and not plan.open and log.killed and log.read
    assert store.artifacts() == alone.artifacts() and len(store.artifacts()) == 3
    for name in store.artifacts():
        one, other = store.record(name), alone.record(name)
        assert one["provenance"]["resources"]["workers"] == 2
        if not name.startswith("evaluate"):
            assert one["figures"]["last_loss"] == pytest.approx(other["figures"]["last_loss"], rel=1e-3)
    rows = store.results()
    assert (rows["status"] == "done").all() and len(rows)
    files, path = fs.FileSystem.from_uri(store.address)
    there = files.get_file_info(fs.FileSelector(f"{path}/artifacts", recursive=True))
    assert not [file.path for file in there if "/.run-" in file.path], "checkpoints go when their step is done"


def test_a_bucket_that_is_not_there_is_an_error(bucket: str) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        Store(bucket.replace("studies/OUT", "nowhere/out")).probe()
