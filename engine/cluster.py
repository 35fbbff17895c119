"""The cluster: connecting to Ray, what of it a step finds room on, and whether all its nodes see the store.

What runs there, and when, `engine.schedule` knows.
"""

import logging
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from engine.errors import StoreError, StudyError
from engine.spec import Resources
from engine.store import Store

GROUP = "ray.io/node-group"  # label of the nodes that `ray up` and KubeRay start, whose number an autoscaler decides
BOOTSTRAP = "~/ray_bootstrap_config.yaml"  # what `ray up` leaves on the head
SLOW = "timed out"  # in what Ray says where its node was not up in time
ANSWER = 120  # seconds for the nodes to look at the store; the first process on a node takes some

WEEK = str(7 * 24 * 3600)
SETTINGS = {
    # The driver keeps its working folder on every worker of this machine, so that relative paths hold.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Nobody reads what Tune would write of each trial and of the experiment: the store is the truth.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": WEEK,
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # else Ctrl-C ends as if all had been asked for
    # Its warning of too few resources knows no run that waits for another one, and breaks where nothing was started yet.
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": WEEK,
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S_AUTOSCALER": WEEK,
}


def start_ray(address: str | None, local: bool, jobs: int | None, resources: Resources) -> int:
    """Connect to a cluster, or start Ray on this machine. Return how many units run at once.

    On this machine those that fit, at most `jobs`; on a cluster `jobs`, for which it may grow, else those that fit it now,
    0 where none does but an autoscaler may add nodes. Raises StudyError where neither --local nor --address was given and
    there is no GPU here, where the cluster does not answer, or where no unit fits and the nodes stay as they are, or none
    fits on all that the autoscaler's file on this machine lets it add.
    """
    if not local and address is None and not _gpus():
        raise StudyError(
            "no GPU on this machine and no cluster address. On a laptop add --local (the study's local form, on the CPU); "
            "on a cluster run from its head with --address auto."
        )
    if address is not None and address.startswith("ray://"):
        raise StudyError(
            f"--address {address}: a study would end with this client's connection. Run it where the cluster is: on the head "
            "with --address auto, or from here with `ray job submit -- python -m engine.study ... --address auto`."
        )
    _connect(address)
    nodes = [node["Resources"] for node in _nodes()]
    fit = room(resources, nodes)
    if not fit and (address is None or not _grows()):
        raise StudyError(_no_room(resources, nodes))
    if not fit:
        check_types(resources, _node_types())
    if fit and resources.gpus == "auto" and not resources.deepspeed:
        fit = room(replace(resources, gpus=0.0), nodes)  # how many share the GPUs is seen when the first have run
    return min(fit, jobs or fit) if address is None else jobs or fit


def with_threads(resources: Resources, address: str | None, jobs: int | None) -> Resources:
    """Fix the number of threads where the study leaves it open: this machine's cores parted among the jobs at once.

    It depends on the command and the machine alone, for another number of threads gives other roundings.
    """
    if resources.threads:
        return resources
    cores = (os.cpu_count() or 1) if jobs and address is None else 1
    return replace(resources, threads=max(1, cores // ((jobs or 1) * resources.workers)))


def room(resources: Resources, nodes: Iterable[Mapping[str, float]]) -> int:
    """How many steps at once find room on nodes with these resources by Ray's names. Each worker needs one node's."""
    return sum(_workers(resources, node) for node in nodes) // resources.workers


def check_types(resources: Resources, grown: Mapping[str, Any]) -> None:
    """Raise StudyError where a step finds no room however far the cluster grows.

    `grown`: the configuration that `ray up` left on the head, {} where it is not known. A type that does not say what its
    nodes have is taken to have enough.
    """
    types = grown.get("available_node_types", {})
    if not types or any("resources" not in kind for kind in types.values()):
        return
    head, most = grown.get("head_node_type"), grown.get("max_workers", math.inf)
    numbers = {name: 1 if name == head else min(kind.get("max_workers", most), most) for name, kind in types.items()}
    places = {name: _workers(resources, kind["resources"]) for name, kind in types.items()}
    left, found = most, places.get(head, 0)
    for name in sorted(types.keys() - {head}, key=lambda name: -places[name]):
        number = min(numbers[name], left)
        left, found = left - number, found + (number * places[name] if places[name] else 0)
    if found < resources.workers:
        has = "; ".join(f"{name}, at most {numbers[name]:g}, with {_size(kind['resources'])}" for name, kind in types.items())
        raise StudyError(
            f"no step can be placed, however far the cluster grows: {_needs(resources)}, and there is room for {found:g} of them on "
            f"all that {BOOTSTRAP} lets it start (at most {most:g} workers in all): {has}. Lower the study's `resources`, or add "
            "a larger type of node to cluster.yaml and run `ray up` again."
        )


def check_nodes(store: Store) -> None:
    """Let every node of the cluster see, write, list, read and delete a file of the store.

    Raises StoreError where one does not, such as a node for which the store's path is a folder of its own.
    """
    nodes = _nodes()
    look = ray.remote(num_cpus=0)(_look)
    with store.mark() as mark:
        there = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
        asked = [look.options(scheduling_strategy=node).remote(store.address, mark) for node in there]
        for node, answer in zip(nodes, asked, strict=True):
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            try:
                ray.get(answer, timeout=ANSWER)
            except ray.exceptions.GetTimeoutError as error:
                raise StoreError(
                    f"the node {name} has not said within {ANSWER} s whether it can use {store.address}: it is too busy to start a "
                    "process, or the store does not answer there. Give the command again when it has settled, or take the node out."
                ) from error
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None) or error
                said = str(cause) if isinstance(cause, StoreError) else f"{type(cause).__name__}: {cause}"
                raise StoreError(f"the node {name} cannot use the store. {said}") from error


def _look(address: str, mark: str) -> None:
    store = Store(address)
    if not store.sees(mark):
        raise StoreError(
            f"--out {address}: what the driver wrote there is not seen on this node, so it is another folder here. Give a "
            "bucket's URL (s3://, gs://), or a folder of a file system that all nodes have at the same place."
        )
    store.probe()


def _connect(address: str | None) -> None:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        settings |= {"num_cpus": os.cpu_count(), "include_dashboard": False}
    settings |= {"address": address or "local", "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1"}}}
    try:
        ray.init(**settings) if address is not None else _start_here(settings)
    except Exception as error:  # Ray raises a bare Exception where a node does not come up in time
        raise StudyError(_no_ray(address, error)) from error


def _start_here(settings: Mapping[str, Any]) -> None:
    """Start Ray on this machine, twice where it is too slow at first.

    On a busy machine it may be: how long Ray waits for its own processes is written in its code, and no setting lengthens
    it (ray-project/ray#65983). What the first try started idles, and ends with this process.
    """
    try:
        ray.init(**settings)
    except Exception as error:
        if SLOW not in str(error).lower():
            raise
        ray.shutdown()
        ray.init(**settings)


def _no_ray(address: str | None, error: Exception) -> str:
    if address is not None and _asks_for_token(error):
        return _no_token(address)
    if address is not None:
        return f"--address {address}: no Ray cluster could be reached ({error})."
    if SLOW not in str(error).lower():
        return f"Ray could not be started here ({error})."
    return (
        f"Ray could not be started here in two tries ({error}). This machine is too busy for it: give the same command again "
        "when less runs here. What is done is kept."
    )


def _asks_for_token(error: Exception) -> bool:
    """Whether the cluster refused this process, or would. Ray tells the cluster's own answer in the text of the cause alone."""
    return isinstance(error, ray.exceptions.AuthenticationError) or "AuthenticationError" in str(error.__cause__)


def _no_token(address: str) -> str:
    mode = os.environ.get("RAY_AUTH_MODE", "")
    shown = "has none, or another one" if mode.lower() == "token" else f"showed none, for RAY_AUTH_MODE is {mode or 'not set'}"
    return (
        f"--address {address}: the cluster asks for its token, and this process {shown}. `ray get-auth-token` on the head shows "
        "the token: keep it in ~/.ray/auth_token (or RAY_AUTH_TOKEN) here, and set RAY_AUTH_MODE=token."
    )


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _grows() -> bool:
    """Whether an autoscaler may add nodes."""
    return any(GROUP in node.get("Labels", {}) for node in _nodes()) or Path(BOOTSTRAP).expanduser().exists()


def _node_types() -> dict[str, Any]:
    """What `ray up` told this head to grow to; {} elsewhere, as under KubeRay."""
    file = Path(BOOTSTRAP).expanduser()
    return yaml.safe_load(file.read_text("utf-8")) if file.exists() else {}


def _workers(resources: Resources, node: Mapping[str, float]) -> int:
    need = {"CPU": float(resources.cpus), "GPU": resources.whole_gpus}
    return min(int(node.get(kind, 0.0) / number) for kind, number in need.items() if number)


def _no_room(resources: Resources, nodes: Iterable[Mapping[str, float]]) -> str:
    """What a step needs that these nodes have not."""
    sizes = [_size(node) for node in nodes]
    has = ", ".join(f"{number} of {size}" for size, number in sorted(Counter(sizes).items(), reverse=True))
    found = sum(_workers(resources, node) for node in nodes)
    return (
        f"no step can be placed: {_needs(resources)}, and there is room for {found} of them. The nodes are: {has}. Lower the "
        "study's `resources`, or add nodes."
    )


def _size(node: Mapping[str, float]) -> str:
    return f"{node.get('CPU', 0.0):g} CPUs and {node.get('GPU', 0.0):g} GPUs"


def _needs(resources: Resources) -> str:
    return (
        f"it needs {resources.workers} x ({resources.cpus} CPUs and {resources.whole_gpus:g} GPUs on one node; the study's "
        f"resources: workers={resources.workers}, threads={resources.cpus}, gpus={resources.gpus})"
    )


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
