"""What a unit is given: threads, a GPU or a share of one. Ray plays the GPU, which it only counts."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

import engine.schedule
from engine.cluster import room, start_ray, with_threads
from engine.errors import StudyError
from engine.graph import Step
from engine.schedule import Packing, run_units
from engine.spec import Checkpoint, FinetuneRecipe, Resources, Site, Training
from engine.store import Store
from engine.work import Unit


def unit(number: int, model: str = "mt5") -> Unit:
    recipe = FinetuneRecipe(Checkpoint(model, "1"), "slots", (), 1.0, Training(steps=1), seed=number)
    return Unit(f"{model}-{number}", (Step.of(recipe, "a teacher", (), model),))


def test_the_first_of_a_kind_has_a_whole_gpu_and_the_others_what_it_showed() -> None:
    packing = Packing()
    one, two, other = unit(1), unit(2), unit(3, "another model")
    assert packing.share(one, [], gpus=2) == 1
    assert packing.share(two, [one], gpus=2) == 1
    assert packing.share(other, [one, two], gpus=2) == 0, "there is no room: it waits, for its share may turn out smaller"
    packing.learn(one, 0.25)
    assert packing.share(two, [one], gpus=1) == 0.25
    assert packing.share(other, [one], gpus=1) == 0
    assert packing.share(other, [one], gpus=2) == 1
    assert packing.share(unit(4), [one, other], gpus=1) == 0.25, "Ray lets it wait, or the cluster grow"
    packing.learn(two, 0.5)
    packing.learn(one, 0.25)
    assert packing.share(unit(4), [], gpus=1) == 0.5, "the largest that a kind has shown"


def test_a_cluster_without_gpus_yet_is_asked_for_whole_ones() -> None:
    assert Packing().share(unit(1), [unit(2), unit(3)], gpus=0) == 1


@pytest.fixture
def one_gpu() -> Iterator[None]:
    ray.init("local", num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("one_gpu")
def test_units_share_a_gpu_once_the_first_has_shown_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @ray.remote(num_cpus=0)
    class Meeting:
        """Lets units go on when three are there, which they are only if three run at once."""

        def __init__(self) -> None:
            self.barrier = asyncio.Barrier(3)

        async def join(self) -> None:
            await self.barrier.wait()

    meeting = Meeting.remote()

    class Worker(engine.schedule._Worker):
        def setup(self, config: dict[str, Any], units: dict[str, Unit], address: str, site: Site, begun: None) -> None:
            self.folder = Path(address)

        def step(self) -> dict[str, Any]:
            share = self.config["gpus"]
            (self.folder / self.config["unit"]).write_text(f"{share} {ray.get_gpu_ids()}")
            if share < 1:
                ray.get(meeting.join.remote(), timeout=120)
            return {"made": 1, "failed": [], "error": None, "gpus": 0.3333, "done": True}

    monkeypatch.setattr(engine.schedule, "_Worker", Worker)
    site = Site(resources=Resources(gpus="auto", threads=1))
    store = Store(str(tmp_path))
    store.probe()
    state = run_units([unit(number) for number in range(4)], store, site, 4, lambda state: None)
    assert state.done == {f"mt5-{number}" for number in range(4)} and not state.failed
    given = sorted((tmp_path / f"mt5-{number}").read_text() for number in range(4))
    assert given == ["0.3333 [0]"] * 3 + ["1.0 [0]"]


def test_threads_are_parted_among_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)

    def threads(jobs: int | None, address: str | None = None, **given: Any) -> int:
        return with_threads(Resources(**given), address, jobs).threads

    assert threads(None) == 1, "one thread each: as many workers as cores"
    assert threads(1) == 16 and threads(4) == 4 and threads(5) == 3 and threads(40) == 1
    assert threads(2, workers=4) == 2
    assert threads(4, address="auto") == 1, "a cluster's nodes are not this machine"
    assert threads(4, threads=2) == 2, "what the study says is taken"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gpus": "all"}, "gpus='all'"),
        ({"gpus": -1.0}, "gpus=-1.0"),
        ({"gpus": 0.5, "workers": 2}, "cannot share a GPU"),
        ({"zero_stage": 4}, "zero_stage=4"),
        ({"zero_stage": 0, "offload": True}, "nothing can be offloaded"),
        ({"gradient_checkpointing": 2}, "gradient_checkpointing=2"),
        ({"threads": -1}, "threads=-1"),
    ],
)
def test_resources_that_make_no_sense_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        Resources(**given)


def test_a_share_that_is_given_is_taken() -> None:
    assert replace(Resources(), gpus=0.25).whole_gpus == 0.25 and Resources(gpus="auto").whole_gpus == 1
    assert Resources(gpus="auto").device == Resources(gpus=0.25).device == "cuda" and Resources().device == "cpu"


def test_room_is_counted_node_by_node() -> None:
    nodes = [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 3.0, "GPU": 4.0}, {}]
    assert room(Resources(threads=1), nodes) == 11
    assert room(Resources(threads=4), nodes) == 2
    assert room(Resources(threads=2, gpus=1), nodes) == 2
    assert room(Resources(threads=1, gpus="auto"), nodes) == 4
    assert room(Resources(threads=1, gpus=0.5), nodes) == 5
    assert room(Resources(threads=1, gpus=1, workers=4), nodes) == 1
    assert room(Resources(threads=4, gpus=1, workers=2), nodes) == 0


@pytest.mark.parametrize(("failures", "calls"), [(1, 2), (2, 2)])
def test_a_machine_too_busy_for_ray_is_asked_twice(failures: int, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray is played here, with its words of ray/_private/node.py."""
    asked: list[str] = []

    def init(address: str, **_: Any) -> None:
        asked.append(address)
        if len(asked) <= failures:
            raise Exception("The current node timed out during startup. This could happen because ...")  # noqa: TRY002, as Ray does

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0}}])
    if failures < calls:
        assert start_ray(None, True, None, Resources(threads=1)) == 4
    else:
        with pytest.raises(StudyError, match="could not be started here in two tries .*too busy for it: give the same command again"):
            start_ray(None, True, None, Resources(threads=1))
    assert asked == ["local"] * calls


def test_another_fault_of_rays_start_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def init(address: str, **_: Any) -> None:
        asked.append(address)
        raise OSError("No space left on device")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(StudyError, match=r"could not be started here \(No space left on device\)"):
        start_ray(None, True, None, Resources(threads=1))
    assert asked == ["local"]


def test_a_clients_address_is_refused_with_the_way_around() -> None:
    with pytest.raises(StudyError, match="ray job submit"):
        start_ray("ray://head:10001", False, None, Resources())
