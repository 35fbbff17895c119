"""What is damaged in a store is found by its checksum, moved to quarantine/, done again by the same command, and told."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
import sham
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import StoreError
from engine.mend import damage, mend
from engine.plan import make_plan
from engine.store import Store
from engine.store.artifacts import _local_copy
from engine.train.loop import FolderCheckpoints, TrainingLog, _resume

Damage = Callable[[bytes], bytes | None]  # None: the file is gone
WAYS: dict[str, Damage] = {
    "empty": lambda _: b"",
    "cut": lambda content: content[: len(content) // 2],
    "garbage": lambda content: b"\xa5" * len(content),
    "one bit": lambda content: content[:40] + bytes([content[40] ^ 1]) + content[41:],
}
GRAPH = sham.graph()
CELL = GRAPH.cells[0]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sham study done in it."""
    with pytest.MonkeyPatch.context() as patch:
        return Path(finished(str(tmp_path_factory.mktemp("done") / "out"), patch).root)


@pytest.fixture
def store(done: Path, tmp_path: Path) -> Store:
    """A copy of it."""
    return Store(str(shutil.copytree(done, tmp_path / "out")))


@pytest.fixture(params=["folder", "mock:///out"])  # the latter is pyarrow's own, and not a local one
def anywhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Store:
    return request.getfixturevalue("store") if request.param == "folder" else finished(request.param, monkeypatch)


def finished(address: str, patch: pytest.MonkeyPatch) -> Store:
    made = Store(address)
    if not made.local:  # a bucket needs no folders
        publish = made.publish
        made.publish = lambda name, *rest: (made._fs.create_dir(f"{made.root}/artifacts/{name}"), publish(name, *rest))
    sham.run(GRAPH, made, patch)
    assert len(table(made)) == 4 * len(GRAPH.cells)
    return made


def table(store: Store) -> pl.DataFrame:
    return store.results().drop("finished", "seconds")


def spoil(store: Store, path: str, way: Damage) -> bytes:
    """Damage a file of the store. Return what it holds now."""
    content = way(store._read(path))
    if content is None:
        store._delete(path)
    else:
        store._write(path, content)
    return content or b""


def rows_file(store: Store) -> str:
    return min(name for name in store._names("results") if name.endswith(".parquet"))


def need_again(store: Store) -> str:
    """Take an evaluation away, so that the model is read again. Return the model."""
    spoil(store, f"artifacts/{CELL.scored}/step.json", lambda _: None)
    return CELL.trained


def quarantined_content(store: Store, name: str) -> bytes:
    [path] = [file.path for file in store._list("quarantine", recursive=True) if file.path.endswith(name)]
    return store._read(path.removeprefix(f"{store.root}/"))


@pytest.mark.parametrize("above", [0, 500], ids=["a part", "a row file"])
@pytest.mark.parametrize("way", WAYS)
def test_damaged_rows_are_set_aside_and_done_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, way: str, above: int
) -> None:
    whole = table(store)
    store.compact(above)
    name = rows_file(store)
    content = spoil(store, f"results/{name}", WAYS[way])
    with pytest.raises(StoreError, match=f"{name}.*Run the study again"):
        store.results()
    plan, lines, outcomes = sham.run(GRAPH, store, monkeypatch)
    assert len(plan.missing) == (1 if above else len(GRAPH.cells)) and not plan.to_run  # rows alone: nothing is trained
    [line] = lines
    moved = re.search(r"Moved to (.*)$", line)
    assert name in line and moved and moved[1].endswith(f"results/{name}")
    assert quarantined_content(store, name) == content
    [why] = store.quarantined().values()
    assert why.startswith(f"results/{name}: ")
    assert table(store).equals(whole) and not any(outcome.failed for outcome in outcomes)
    assert not sham.run(GRAPH, store, monkeypatch)[0].open


@pytest.mark.parametrize("seed", [["a"], [1], None], ids=["other types", "other columns", "a part of no cells"])
def test_a_table_of_another_hand_is_set_aside(store: Store, monkeypatch: pytest.MonkeyPatch, seed: list[object] | None) -> None:
    whole = table(store)
    name = "my-own-notes.parquet" if seed else "part1-0123456789ab.parquet"
    foreign = store.results().drop("seed").with_columns(seed=pl.lit("a")) if seed == ["a"] else pl.DataFrame({"seed": seed or [1]})
    foreign.write_parquet(Path(store.root, "results", name))
    if seed:
        assert not damage(make_plan(GRAPH, store, on_gpu=False))  # which looks at names and ends alone
    with pytest.raises(StoreError, match=f"results/{name} cannot be read.*Run the study again"):
        store.results()
    plan, [line], _ = sham.run(GRAPH, store, monkeypatch)
    assert name in line and "oved to " in line and not plan.open
    assert table(store).equals(whole) and len(store.quarantined()) == 1


def test_a_plan_tells_of_damage_and_moves_nothing(store: Store) -> None:
    name = rows_file(store)
    spoil(store, f"results/{name}", WAYS["cut"])
    [line] = damage(make_plan(GRAPH, store, on_gpu=False))
    assert name in line and "a run moves it" in line
    assert len(make_plan(GRAPH, store, on_gpu=False).missing) == 1 and name in store._names("results")


@pytest.mark.parametrize("file", ["weights", "step.json"])
@pytest.mark.parametrize("way", ["empty", "cut", "garbage", "gone"])
def test_a_damaged_artifact_is_set_aside_and_done_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, way: str, file: str
) -> None:
    damage_an_artifact(store, monkeypatch, way, file)


@pytest.mark.parametrize(
    "content",
    ["{}", "3", "[" * 100_000, '{"files": 3}', '{"files": [1]}', '{"files": {"a": 3}}', '{"files": {"a": [1, 2]}}', '{"files": {"weights": [3200, "a"]}}',
     '{"kind": "finetune", "recipe": {}, "figures": {}, "files": null}', '{"kind": "finetune", "seal": 3}'],
)  # fmt: skip
def test_a_record_of_another_hand_is_damage(store: Store, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    whole, model = table(store), need_again(store)
    spoil(store, f"artifacts/{model}/step.json", lambda _: content.encode())
    with pytest.raises(StoreError, match=f"{model} is damaged: step.json"):
        store.record(model)
    with pytest.raises(StoreError, match=f"{model} is damaged: step.json"), store.fetch(model):
        pass
    _, [line], _ = sham.run(GRAPH, store, monkeypatch)
    assert model in line and "oved to " in line
    assert table(store).equals(whole) and not mend(GRAPH, store, on_gpu=False)[0].open


def test_an_artifact_of_before_there_were_seals_is_taken_as_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    record = store.record(need_again(store))
    spoil(store, f"artifacts/{CELL.trained}/step.json", lambda _: json.dumps(record).encode())
    assert sham.run(GRAPH, store, monkeypatch)[1] == [] and store.record(CELL.trained) == record


@pytest.mark.parametrize("way", ["cut", "garbage"])
def test_so_it_is_in_a_bucket(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    damage_an_artifact(finished("mock:///out", monkeypatch), monkeypatch, way, "weights")


def damage_an_artifact(store: Store, patch: pytest.MonkeyPatch, way: str, file: str) -> None:
    whole, model = table(store), need_again(store)
    _local_copy.cache_clear()  # as another process has it
    spoil(store, f"artifacts/{model}/{file}", (WAYS | {"gone": lambda _: None})[way])
    lines = []
    for _ in range(2):  # what only its content shows is found by who reads it, and is there again after the next run
        _, said, outcomes = sham.run(GRAPH, store, patch)
        lines += [*said, *(error for outcome in outcomes for error in outcome.failed.values())]
    without_record = (file, way) == ("step.json", "gone")  # then it is no artifact
    assert without_record or any(model in line and "oved to " in line for line in lines)
    assert any(model in why for why in store.quarantined().values())
    assert table(store).equals(whole) and not mend(GRAPH, store, on_gpu=False)[0].open
    with store.fetch(model) as folder:
        assert (folder / "weights").stat().st_size == 3200


def test_a_damaged_checkpoint_is_set_aside_and_the_step_begins_anew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps are sham, so this one goes on from its checkpoint here, as a training does."""
    need_again(store)
    newest = Path(store.root, "artifacts", f".run-{CELL.scored}", "newest")
    newest.mkdir(parents=True)
    for name in ("plain.pt", "state-0.pt"):
        (newest / name).write_bytes(b"garbage")
    real = sham.sham_step

    def resuming(*arguments: object) -> dict[str, object]:
        backend = arguments[-1]
        monkeypatch.setattr("engine.train.loop._state_file", lambda folder, _: folder / "state-0.pt")
        _resume(backend, FolderCheckpoints(newest, 1), TrainingLog(), iter(()))
        return real(*arguments)

    monkeypatch.setattr(sham, "sham_step", resuming)
    _, _, outcomes = sham.run(GRAPH, store, monkeypatch)
    [error] = [error for outcome in outcomes for error in outcome.failed.values()]
    assert "CheckpointError" in error and not newest.exists()
    assert any("checkpoint" in why for why in store.quarantined().values())
    assert not any(outcome.failed for outcome in sham.run(GRAPH, store, monkeypatch)[2])


def test_who_only_reads_is_told_of_a_damaged_artifact_and_moves_nothing(store: Store) -> None:
    spoil(store, f"artifacts/{CELL.trained}/weights", WAYS["one bit"])
    with pytest.raises(StoreError, match="weights is not what was written.*Run the study again"), store.fetch(CELL.trained):
        pass
    assert store.has(CELL.trained) and store.quarantined() == {}


def test_rows_whose_evaluation_is_gone_are_made_again_and_the_old_ones_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = table(store)
    need_again(store)
    assert not make_plan(GRAPH, store, on_gpu=False).open  # --plan takes the rows' word
    plan, _, _ = sham.run(GRAPH, store, monkeypatch)
    assert plan.orphans and set(plan.orphans) <= set(plan.missing) and {step.artifact for step in plan.to_run} == {CELL.scored}
    assert table(store).equals(whole)
    kept = pl.read_parquet(Path(store.root, "results", "superseded", "*.parquet"))
    assert set(kept["fingerprint"]) == {work.fingerprint for work in plan.orphans}


def test_two_runs_that_see_the_same_damage_move_it_once(anywhere: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store = anywhere
    whole, name = table(store), rows_file(store)
    spoil(store, f"results/{name}", WAYS["garbage"])
    seen = store.damaged()
    assert store.quarantine(f"results/{name}", seen[name]) and store.quarantine(f"results/{name}", seen[name]) is None
    sham.run(GRAPH, store, monkeypatch)
    assert table(store).equals(whole) and len(store.quarantined()) == 1


def test_what_was_quarantined_before_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for byte in (b"a", b"b"):
        spoil(store, f"artifacts/{need_again(store)}/weights", lambda _, byte=byte: byte)
        sham.run(GRAPH, store, monkeypatch)
    kept = [file.path for file in store._list("quarantine", recursive=True) if file.path.endswith("weights")]
    assert {b"a", b"b"} <= {store._read(path.removeprefix(f"{store.root}/")) for path in kept}


@settings(deadline=None, derandomize=True, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    above=st.sampled_from([0, 500]),
    hits=st.lists(
        st.tuples(st.floats(0, 0.999), st.floats(0, 1), st.floats(0, 0.999)), min_size=1, max_size=4, unique_by=lambda hit: hit[0]
    ),
)
def test_whatever_is_damaged_the_table_comes_back(
    done: Path, monkeypatch: pytest.MonkeyPatch, above: int, hits: list[tuple[float, float, float]]
) -> None:
    """`hits`: which file, where it is cut, and which byte of the rest is changed, as shares."""
    with TemporaryDirectory() as folder:
        store = Store(str(shutil.copytree(done, Path(folder, "out"))))
        store.compact(above)
        whole, root = table(store), Path(store.root)
        files = [path for part in ("artifacts", "results") for path in sorted((root / part).rglob("*")) if path.is_file()]
        for which, cut, flipped in hits:
            path = files[int(which * len(files))]
            content = bytearray(path.read_bytes()[: round(cut * path.stat().st_size)])
            if content:
                content[int(flipped * len(content))] ^= 1
            path.write_bytes(content)
        for _ in range(5):
            if not sham.run(GRAPH, store, monkeypatch)[0].open:
                break
        assert not mend(GRAPH, store, on_gpu=False)[0].open and table(store).equals(whole)
