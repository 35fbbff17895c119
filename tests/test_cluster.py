"""cluster.yaml, docs/kuberay.yaml and docs/cluster.md: Ray takes them, a simulated EC2 starts their nodes."""

import copy
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import jsonschema
import kubernetes_validate
import pytest
import ray.autoscaler
import yaml
from botocore.exceptions import ParamValidationError
from moto import mock_aws
from packaging.specifiers import SpecifierSet
from ray.autoscaler._private.aws import config as aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.aws.utils import client_cache, resource_cache
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.node_launch_exception import NodeLaunchException
from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import GangResourceRequest
from ray.scripts.scripts import cli

from engine.cluster import check_types
from engine.errors import StudyError
from engine.spec import Resources
from engine.study import _parser

Config = dict[str, Any]

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "cluster.md").read_text("utf-8").replace("\\\n", " ")
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if "==" in line)
WORKERS = ("gpu-small", "gpu-multi")
REGION = "us-west-2"
KUBERNETES = "1.33"

# Of KubeRay's API reference, the fields of a RayJob (ray.io/v1) that the manifest has, by where they stand.
KUBERAY_FIELDS = {
    "spec": {"entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"},
    "rayClusterSpec": {
        "rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs",
    },
    "headGroupSpec": {"rayStartParams", "template"},
    "workerGroupSpecs": {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"},
}  # fmt: skip


def cluster() -> Config:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text("utf-8"))


def accept(config: Config) -> Config:
    """What Ray makes of a configuration. Raises where it fails Ray's checks, or has a provider key unknown to Ray.

    Ray's schema lets any provider key through: a misspelt one would be ignored without a word.
    """
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text("utf-8"))
    unknown = set(config["provider"]) - set(schema["properties"]["provider"]["properties"])
    if unknown:
        raise ValueError(f"provider has {unknown}, which Ray does not know")
    return prepared


def said(pattern: str) -> list[str]:
    """What the pattern's group finds on the page."""
    return re.findall(pattern, PAGE, re.DOTALL)


def images(part: Any) -> Iterator[str]:
    """Every container image under a manifest's part."""
    if isinstance(part, dict):
        yield from (value for key, value in part.items() if key == "image")
        part = list(part.values())
    if isinstance(part, list):
        for value in part:
            yield from images(value)


# ---------------------------------------------------------------------------------------------------------------
# The file


def test_ray_accepts_the_file() -> None:
    prepared = accept(cluster())
    types = prepared["available_node_types"]
    assert prepared["head_node_type"] == "head" and set(types) == {"head", *WORKERS}
    assert all(types[kind]["min_workers"] == 0 for kind in types)
    assert all(types[kind]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"} for kind in WORKERS)
    assert all(types[kind]["node_config"]["SecurityGroupIds"] for kind in types), "for one without, Ray opens port 22 to all"
    assert 0 < prepared["idle_timeout_minutes"] <= 10


@pytest.mark.parametrize(
    "place",
    [
        "max_workers", "setup_commands", "head_node_type", "auth.ssh_user", "docker.image", "provider.type",
        "provider.availability_zone", "available_node_types.head",
        "available_node_types.gpu-small.min_workers", "available_node_types.gpu-multi.node_config",
    ],
)  # fmt: skip
def test_a_misspelt_key_is_refused(place: str) -> None:
    config = cluster()
    *path, key = place.split(".")
    part = config
    for name in path:
        part = part[name]
    part[key[:-2] + key[-1] + key[-2]] = part.pop(key)
    with pytest.raises((jsonschema.ValidationError, ValueError, AssertionError, KeyError)):
        accept(config)


def test_versions_are_those_of_the_constraints() -> None:
    config = cluster()
    ray_version, python = re.fullmatch(r"rayproject/ray:([\d.]+)-py(\d+)-gpu", config["docker"]["image"]).groups()
    assert ray_version == PINS["ray"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert SpecifierSet(project["requires-python"]).contains(f"{python[0]}.{python[1:]}")
    installs = [*config["setup_commands"], *config["head_setup_commands"]]
    assert all(re.search(r"pip install .*--constraint \S*constraints.txt", command) for command in installs)
    packages = {command.split()[-1] for command in installs} - {"."}
    assert packages <= set(PINS), f"not pinned in constraints.txt: {packages - set(PINS)}"


def test_only_the_token_and_ssh_lead_in() -> None:
    config = cluster()
    assert "--env=RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert any(remote.endswith("/.ray/auth_token") for remote in config["file_mounts"])
    (start,) = (command for command in config["head_start_ray_commands"] if "ray start" in command)
    assert "--dashboard-host=127.0.0.1" in start


def test_what_must_be_changed_says_so() -> None:
    lines = (ROOT / "cluster.yaml").read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        if "CHANGE-ME" in line.partition(" #")[0]:
            assert any("CHANGE:" in near for near in lines[number - 2 : number + 1]), line


# ---------------------------------------------------------------------------------------------------------------
# A simulated EC2


def group_of_the_page() -> str:
    """Make the security group as docs/cluster.md says."""
    ec2 = boto3.client("ec2", REGION)
    (name,), (address,) = said(r"create-security-group --group-name (\S+)"), said(r"--port 22 --cidr (\S+)")
    group = ec2.create_security_group(GroupName=name, Description="Sprachbund")["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group, IpPermissions=[{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]
    )
    ec2.authorize_security_group_ingress(GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp=address)
    return group


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """An empty AWS account, and the configuration that Ray has prepared it for."""
    with pytest.MonkeyPatch.context() as patch, mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # Ray writes its key to ~/.ssh
        # Ray waits half a minute for a new role to be known everywhere.
        patch.setattr(aws, "time", SimpleNamespace(sleep=lambda seconds: None))
        for cache in (resource_cache, client_cache):
            cache.cache_clear()
        config = AWSNodeProvider.fillout_available_node_types_resources(accept(cluster()))
        validate_config(config)
        group = group_of_the_page()
        for kind in config["available_node_types"].values():
            kind["node_config"]["SecurityGroupIds"] = [group]
        yield aws.bootstrap_aws(config)
    for cache in (resource_cache, client_cache):
        cache.cache_clear()


@pytest.fixture(scope="module")
def profile(account: Config) -> str:
    """The workers' instance profile, made as docs/cluster.md says."""
    (name,) = said(r"create-instance-profile --instance-profile-name (\S+)")
    (trust,) = said(r"--assume-role-policy-document '(.*?)'")
    (bucket,) = said(r"--policy-name bucket --policy-document '(.*?)'")
    iam = boto3.client("iam")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
    iam.put_role_policy(RoleName=name, PolicyName="bucket", PolicyDocument=bucket)
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return name


def machine(account: Config, kind: str) -> Config:
    """What Ray asks EC2 for, to start a node of this type."""
    own = account["head_node"] if kind == account["head_node_type"] else {}
    return copy.deepcopy(account["available_node_types"][kind]["node_config"] | own)


def rules(group: str) -> list[tuple[str, int | None, list[str], list[str]]]:
    """A security group's rules: protocol, port, addresses and groups that may come in."""
    found = boto3.client("ec2", REGION).describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    return [
        (
            rule["IpProtocol"], rule.get("FromPort"), [at["CidrIp"] for at in rule["IpRanges"]],
            [pair["GroupId"] for pair in rule["UserIdGroupPairs"]],
        )
        for rule in found
    ]  # fmt: skip


def test_resources_are_those_of_the_machines(account: Config) -> None:
    types = account["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    for kind, gpus in zip(WORKERS, (1, 4), strict=True):
        name = types[kind]["node_config"]["InstanceType"]
        found = boto3.client("ec2", REGION).describe_instance_types(InstanceTypes=[name])["InstanceTypes"][0]
        assert types[kind]["resources"]["CPU"] == found["VCpuInfo"]["DefaultVCpus"], kind
        assert types[kind]["resources"]["GPU"] == found["GpuInfo"]["Gpus"][0]["Count"] == gpus, kind


def test_bootstrap_gives_the_head_a_role(account: Config) -> None:
    iam = boto3.client("iam")
    attached = iam.list_attached_role_policies(RoleName="ray-autoscaler-v1")["AttachedPolicies"]
    assert {policy["PolicyName"] for policy in attached} == {"AmazonEC2FullAccess", "AmazonS3FullAccess"}
    made = iam.get_instance_profile(InstanceProfileName="ray-autoscaler-v1")["InstanceProfile"]
    assert [role["RoleName"] for role in made["Roles"]] == ["ray-autoscaler-v1"]
    assert account["head_node"]["IamInstanceProfile"] == {"Arn": made["Arn"]}
    assert "ray-autoscaler-v1" in said(r"--role-name (\S+)"), "the page names the role that Ray makes"


def test_nodes_are_in_the_group_of_the_page_and_ray_opens_none(account: Config) -> None:
    ec2 = boto3.client("ec2", REGION)
    (group,) = {group for kind in account["available_node_types"] for group in machine(account, kind)["SecurityGroupIds"]}
    assert rules(group) == [("-1", None, [], [group]), ("tcp", 22, said(r"--port 22 --cidr (\S+)"), [])]
    assert {found["GroupName"] for found in ec2.describe_security_groups()["SecurityGroups"]} == {"default", *said(r"--group-name (\S+)")}


@pytest.mark.usefixtures("account")
def test_without_a_group_of_ones_own_nothing_is_started_or_opened() -> None:
    ec2 = boto3.client("ec2", REGION)
    before = ec2.describe_security_groups()["SecurityGroups"]
    with pytest.raises(AssertionError) as raised:  # Ray logs its text: that it finds no such group
        aws.bootstrap_aws(accept(cluster()))
    assert "_get_vpc_id_of_sg" in {entry.name for entry in raised.traceback}
    assert ec2.describe_security_groups()["SecurityGroups"] == before


@pytest.mark.parametrize(("kind", "lifecycle"), [("head", None), ("gpu-small", "spot"), ("gpu-multi", "spot")])
def test_nodes_are_started_listed_and_ended(account: Config, profile: str, kind: str, lifecycle: str | None) -> None:
    provider = AWSNodeProvider(account["provider"], account["cluster_name"])
    tags = {TAG_RAY_NODE_KIND: "head" if kind == "head" else "worker", TAG_RAY_USER_NODE_TYPE: kind}
    provider.create_node(machine(account, kind), tags, 1)
    (node,) = provider.non_terminated_nodes({TAG_RAY_USER_NODE_TYPE: kind})
    assert provider.is_running(node) and provider.node_tags(node)[TAG_RAY_USER_NODE_TYPE] == kind
    found = boto3.client("ec2", REGION).describe_instances(InstanceIds=[node])["Reservations"][0]["Instances"][0]
    assert found["InstanceType"] == cluster()["available_node_types"][kind]["node_config"]["InstanceType"]
    assert found.get("InstanceLifecycle") == lifecycle
    assert found["IamInstanceProfile"]["Arn"].endswith("/ray-autoscaler-v1" if kind == "head" else f"/{profile}")
    provider.terminate_nodes([node])
    assert provider.non_terminated_nodes({}) == []
    assert provider.is_terminated(node)


def test_a_worker_without_its_profile_is_not_started(account: Config) -> None:
    provider = AWSNodeProvider(account["provider"], account["cluster_name"])
    wrong = machine(account, "gpu-small") | {"IamInstanceProfile": {"Name": "forgotten"}}
    with pytest.raises(NodeLaunchException, match="forgotten"):
        provider.create_node(wrong, {TAG_RAY_NODE_KIND: "worker"}, 1)


@pytest.mark.parametrize("kind", WORKERS)
def test_a_misspelt_setting_of_a_machine_is_refused(account: Config, profile: str, kind: str) -> None:
    provider = AWSNodeProvider(account["provider"], account["cluster_name"])
    for key in cluster()["available_node_types"][kind]["node_config"]:
        wrong = machine(account, kind)
        wrong[key[:-2] + key[-1] + key[-2] + "x"] = wrong.pop(key)
        with pytest.raises(ParamValidationError, match="Unknown parameter"):
            provider.create_node(wrong, {TAG_RAY_NODE_KIND: "worker"}, 1)


# ---------------------------------------------------------------------------------------------------------------
# Which nodes Ray starts


def started(account: Config, resources: Resources, steps: int) -> dict[str, int]:
    """The nodes that Ray's autoscaler starts for so many waiting steps, by type."""
    read = AutoscalingConfig({key: part for key, part in account.items() if key != "head_node"}, skip_content_hash=True)
    worker = ResourceRequestUtil.make({"CPU": resources.cpus, "GPU": resources.gpus})
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=read.get_node_type_configs(),
        max_num_nodes=read.get_max_num_worker_nodes(),  # no head stands beside them here
        # Tune asks for a trial's resources, and Train for its workers', as a group.
        gang_resource_requests=[GangResourceRequest(requests=[worker] * resources.workers)] * steps,
    )
    return {launch.instance_type: launch.count for launch in ResourceDemandScheduler().schedule(request).to_launch}


@pytest.mark.parametrize(("gpus", "steps", "nodes"), [(1, 3, 3), (1, 100, 8), (0.5, 6, 3)])
def test_cells_of_one_worker_get_small_nodes(account: Config, gpus: float, steps: int, nodes: int) -> None:
    assert started(account, Resources(gpus=gpus), steps) == {"gpu-small": nodes}


def test_steps_of_several_workers_get_a_large_node(account: Config) -> None:
    for threads in (1, 8):
        zero = Resources(workers=4, zero_stage=3, gpus=1, threads=threads)
        assert started(account, zero, 1) == {"gpu-multi": 1}
    assert started(account, zero, 2) == {"gpu-multi": 1}, "the second waits"
    four = Resources(workers=4, gpus=1, threads=4)
    assert started(account, four, 2) == {"gpu-multi": 1, "gpu-small": 4}, "the second runs over the network"


@pytest.mark.parametrize(
    ("resources", "room"),
    [
        (Resources(gpus=1), None), (Resources(gpus=4, threads=48), None), (Resources(workers=12, gpus=1, threads=4), "11"),
        (Resources(workers=11, gpus=1, threads=4), None), (Resources(workers=5, gpus=1, threads=8), "4"),
        (Resources(gpus=8), "0"), (Resources(threads=64), "0"),
    ],
)  # fmt: skip
def test_what_no_growth_makes_room_for_is_refused(resources: Resources, room: str | None) -> None:
    """With 8 workers in all: one large node has 4 GPUs, and seven small ones 7."""
    check_types(resources, {})  # nothing is known
    if room is None:
        check_types(resources, cluster())
        return
    with pytest.raises(StudyError, match=f"room for {room} of them .*gpu-multi, at most 1, with 48 CPUs and 4 GPUs"):
        check_types(resources, cluster())


# ---------------------------------------------------------------------------------------------------------------
# Kubernetes and the page


def test_the_kuberay_manifest_agrees_with_the_rest() -> None:
    manifest = yaml.safe_load((ROOT / "docs" / "kuberay.yaml").read_text("utf-8"))
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    spec = manifest["spec"]["rayClusterSpec"]
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    parts = {"spec": [manifest["spec"]], "rayClusterSpec": [spec], "headGroupSpec": [spec["headGroupSpec"]]}
    for name, some in {**parts, "workerGroupSpecs": list(groups.values())}.items():
        assert all(set(part) <= KUBERAY_FIELDS[name] for part in some), name
    assert spec["rayVersion"] == PINS["ray"] and spec["authOptions"] == {"mode": "token"}
    base = cluster()["docker"]["image"]
    assert f"FROM {base}\n" in PAGE, "the page's Dockerfile starts from the same image"
    tag = re.sub(r".*:([\d.]+)-(py\d+)-gpu", r"ray\1-\2", base)
    found = list(images(spec))
    assert len(found) == 3 and all(image.endswith(f"/sprachbund:{tag}") for image in found)
    assert f"/sprachbund:{tag} " in PAGE
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert set(groups) == set(WORKERS) and all(group["minReplicas"] == 0 for group in groups.values())
    types = cluster()["available_node_types"]
    for name, group in groups.items():
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert limits["nvidia.com/gpu"] == types[name]["resources"]["GPU"]
        assert group["maxReplicas"] == types[name]["max_workers"]


def pods() -> list[Config]:
    """What Kubernetes would be asked for: a pod of each of KubeRay's templates."""
    spec = yaml.safe_load((ROOT / "docs" / "kuberay.yaml").read_text("utf-8"))["spec"]["rayClusterSpec"]
    groups = (spec["headGroupSpec"], *spec["workerGroupSpecs"])
    return [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a-pod"}, **group["template"]} for group in groups]


def test_the_manifests_pods_are_kubernetes_pods() -> None:
    assert len(pods()) == 3
    for pod in pods():
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("typo", [{"serviceAcountName": "x"}, {"containers": [{"name": "x", "imag": "x"}]}, {"volumes": {}}])
def test_a_typo_in_a_pod_is_found(typo: Config) -> None:
    for pod in pods():
        pod["spec"] |= typo
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_the_study_commands_have_only_real_options() -> None:
    manifest = yaml.safe_load((ROOT / "docs" / "kuberay.yaml").read_text("utf-8"))
    text = PAGE + "\n" + manifest["spec"]["entrypoint"].replace('"', "'")
    commands = re.findall(r"python -m engine\.study ([^'`\n]+)", text)
    assert len(commands) >= 5
    for command in commands:
        options = _parser().parse_args(shlex.split(command))
        assert (ROOT / options.file).is_file()
        assert options.plan or (options.address == "auto" and options.out)


def test_the_ray_commands_are_rays() -> None:
    page = re.sub(r'"\$SLURM_\w+"', "2", PAGE)
    lines = re.findall(r"^    (?:srun )?ray (.*)", page, re.MULTILINE) + re.findall(r"`ray ([^`]+)`", page)
    assert {"up", "exec", "down", "symmetric-run"} <= {line.split()[0] for line in lines}
    for line in lines:
        name, *arguments = shlex.split(line)
        if arguments:  # a bare name is a mention
            cli.commands[name].make_context(name, arguments)
        assert name in cli.commands
