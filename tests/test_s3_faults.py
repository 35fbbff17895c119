"""An S3 server that slows down, fails and drops: a real one on loopback, behind a proxy that injects the faults."""

import http.client
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import polars as pl
import pytest
import sham
from moto.server import ThreadedMotoServer
from pyarrow import fs
from small_study import STUDY, command
from test_s3 import KEYS

import engine
from engine.errors import StorageError
from engine.mend import mend
from engine.store import Store, retry, slug

pytestmark = pytest.mark.cluster
SLOW_DOWN = (503, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")
INTERNAL = (500, b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>")
BUSY = 8.0  # seconds of one outage: longer than pyarrow itself tries


class Proxy(ThreadingHTTPServer):
    """Hands requests on to a server. After each `after` of them it answers with a fault for `lasting` seconds."""

    daemon_threads = True

    def __init__(self, server: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server, self.lock = server, threading.Lock()
        self.after, self.lasting, self.outages = 1 << 60, 0.0, 1 << 60
        self.passed = self.injected = 0
        self.until = 0.0

    def trouble(self, after: int, lasting: float = BUSY, outages: int = 1 << 60) -> None:
        with self.lock:
            self.after, self.lasting, self.outages, self.passed, self.until = after, lasting, outages, 0, 0.0

    def fault(self) -> tuple[int, bytes] | None:
        with self.lock:
            if self.passed >= self.after and self.outages:
                self.until, self.passed, self.outages = time.monotonic() + self.lasting, 0, self.outages - 1
            if time.monotonic() < self.until:
                self.injected += 1
                return (SLOW_DOWN, INTERNAL)[self.injected % 2]
            self.passed += 1
            return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _pass(self) -> None:
        body = b"".join(self._body())
        if fault := self.server.fault():
            self._answer(fault[0], [("Content-Type", "application/xml")], fault[1])
            return
        host, port = self.server.server
        there = http.client.HTTPConnection(host, port, timeout=60)
        sent = {name: value for name, value in self.headers.items() if name.lower() not in ("transfer-encoding", "content-length")}
        there.request(self.command, self.path, body, sent)
        answer = there.getresponse()
        known = [(name, value) for name, value in answer.getheaders() if name.lower() not in ("transfer-encoding", "connection", "server", "date")]
        self._answer(answer.status, known, answer.read())
        there.close()

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding") != "chunked":
            yield self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass

    def log_message(self, *_: object) -> None:
        """Nothing: the tests' output is theirs."""


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """A proxy before a server with an empty bucket; its keys are in the environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch, Proxy(server.get_host_and_port()) as made:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        boto3.client("s3", endpoint_url=f"http://127.0.0.1:{made.server_port}").create_bucket(Bucket="studies")
        yield made
        made.shutdown()
    server.stop()


@pytest.fixture
def address(proxy: Proxy, request: pytest.FixtureRequest) -> str:
    name = slug(request.node.name, length=200)
    return f"s3://studies/{name}?endpoint_override=127.0.0.1:{proxy.server_port}&scheme=http"


@pytest.mark.soak
def test_a_study_outlives_outages(proxy: Proxy, address: str, tmp_path: Path) -> None:
    file = tmp_path / "small.py"
    file.write_text(STUDY)
    proxy.trouble(after=150, outages=1)
    run = command(str(file), "--local", "--out", address)
    left = proxy.outages
    proxy.trouble(after=1 << 60)
    assert run.returncode == 0, run.stdout + run.stderr
    assert left == 0 and proxy.injected > 0
    whole = engine.results(address).filter(pl.col("entity_type") == "ALL")
    assert len(whole) == 4 and (whole["status"] == "done").all()


@pytest.mark.soak
def test_a_server_that_stays_out_stops_the_run_and_the_next_goes_on(
    proxy: Proxy, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "TRIES", 2)
    graph, store = sham.graph(), Store(address)
    store.probe()
    proxy.trouble(after=60, lasting=3600.0)
    with pytest.raises(StorageError, match=r"--out s3://.*cannot be (read|written).*(SLOW_DOWN|INTERNAL_FAILURE|HTTP status 50)"):
        sham.run(graph, store, monkeypatch)
    proxy.trouble(after=1 << 60)
    assert store.damaged() == {} == store.faults(sorted(store.artifacts()))
    assert store.results()["status"].to_list() == ["done"] * len(store.results())
    sham.run(graph, store, monkeypatch)
    assert len(store.results()) == 4 * len(graph.cells) and not mend(graph, store, on_gpu=False)[0].open


def test_a_file_that_was_left_out_of_an_upload_is_sent_again(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyarrow's copy_files has returned without an error, and without a file, when S3 was out (seen with SlowDown for 7 s)."""
    (tmp_path / "deep").mkdir()
    for name in ("first", "second", "deep/third"):
        (tmp_path / name).write_text(name)
    whole, calls = fs.copy_files, []

    def forgetful(source: str, *others: Any, **named: Any) -> None:
        whole(source, *others, **named)
        if not calls:
            store._delete("artifacts/a-step/deep/third")
        calls.append(source)

    monkeypatch.setattr(fs, "copy_files", forgetful)
    monkeypatch.setattr(retry, "FIRST", 0.0)
    store = Store(address)
    store.probe()
    store.publish("a-step", tmp_path, {"kind": "a"})
    assert len(calls) == 2 and store.faults(["a-step"]) == {}


def test_damage_in_a_bucket_is_set_aside(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, store = sham.graph(), Store(address)
    sham.run(graph, store, monkeypatch)
    whole = store.results().drop("finished", "seconds")
    cell, rows = graph.cells[0], min(name for name in store._names("results") if name.endswith(".parquet"))
    store._delete(f"artifacts/{cell.scored}/step.json")
    for path, content in ((f"artifacts/{cell.trained}/weights", b"cut"), (f"results/{rows}", b"garbage")):
        store._write(path, content)
    _, lines, _ = sham.run(graph, Store(address), monkeypatch)
    assert len(lines) == 2 and all("Moved to s3://" in line for line in lines)
    assert store.results().drop("finished", "seconds").equals(whole) and len(store.quarantined()) == 2
    kept = [store._read(file.path.removeprefix(f"{store.root}/")) for file in store._list("quarantine", recursive=True) if file.size]
    assert {b"cut", b"garbage"} <= set(kept)
