"""The manifests fit KubeRay's real schemas, strictly, and ask for what the recipes need."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MANIFESTS = sorted(path for path in (ROOT / "cluster").glob("*.yaml") if "apiVersion: ray.io/" in path.read_text())


def groups(manifest):
    spec = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    return spec, {group["groupName"]: group for group in spec["workerGroupSpecs"]}


def resources(group):
    return group["template"]["spec"]["containers"][0]["resources"]["limits"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.name)
def test_a_manifest_fits_its_schema(path, validators):
    for manifest in yaml.safe_load_all(path.read_text()):
        validator = validators[manifest["apiVersion"], manifest["kind"]]
        assert [f"{list(e.absolute_path)}: {e.message}" for e in validator.iter_errors(manifest)] == []


def test_the_schema_check_notices_a_typo(validators):
    manifest = yaml.safe_load((ROOT / "cluster" / "raycluster.yaml").read_text())
    manifest["spec"]["headGroupSpecs"] = manifest["spec"].pop("headGroupSpec")
    assert list(validators["ray.io/v1", "RayCluster"].iter_errors(manifest))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.name)
def test_tokens_are_on_and_the_head_runs_no_work(path):
    spec, _ = groups(yaml.safe_load(path.read_text()))
    assert spec["authOptions"]["mode"] == "token"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_training_has_separate_cpu_data_nodes_and_gpu_nodes():
    _, by_name = groups(yaml.safe_load((ROOT / "cluster" / "rayjob-train.yaml").read_text()))
    assert "nvidia.com/gpu" not in resources(by_name["data"])
    assert int(resources(by_name["train"])["nvidia.com/gpu"]) >= 1


def test_preparing_asks_for_no_gpu():
    _, by_name = groups(yaml.safe_load((ROOT / "cluster" / "rayjob-prepare.yaml").read_text()))
    assert all("nvidia.com/gpu" not in resources(group) for group in by_name.values())
