"""The nightly CronJob: fields that Kubernetes knows, one night at a time, no secret in it, flags that the job has."""

import copy
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.dashboard.modules.job.cli import submit

from jobs import retrain

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "cluster" / "retrain-cronjob.yaml"
CRON_JOB = {
    "type": "object",
    "additionalProperties": False,
    "required": ["schedule", "jobTemplate"],
    "properties": {
        "schedule": {"type": "string", "pattern": r"^(\S+ ){4}\S+$"},
        "timeZone": {"type": "string"},
        "concurrencyPolicy": {"enum": ["Allow", "Forbid", "Replace"]},
        "startingDeadlineSeconds": {"type": "integer", "minimum": 10},
        "successfulJobsHistoryLimit": {"type": "integer", "minimum": 0},
        "failedJobsHistoryLimit": {"type": "integer", "minimum": 0},
        "suspend": {"type": "boolean"},
        "jobTemplate": {
            "type": "object",
            "additionalProperties": False,
            "required": ["spec"],
            "properties": {
                "metadata": {"type": "object"},
                "spec": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["template"],
                    "properties": {
                        "backoffLimit": {"type": "integer", "minimum": 0},
                        "activeDeadlineSeconds": {"type": "integer", "minimum": 1},
                        "ttlSecondsAfterFinished": {"type": "integer", "minimum": 0},
                        "podFailurePolicy": {"type": "object", "required": ["rules"]},
                        "template": {"type": "object"},
                    },
                },
            },
        },
    },
}
"""batch/v1, the fields that a schedule may need (Kubernetes API reference, CronJobSpec and JobSpec)."""


@pytest.fixture
def manifest():
    return yaml.safe_load(MANIFEST.read_text())


@pytest.fixture
def pod(manifest):
    return manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def problems(schema, value):
    return [
        f"{list(error.absolute_path)}: {error.message}"
        for error in jsonschema.Draft202012Validator(schema).iter_errors(value)
    ]


def test_the_schedule_fits_kubernetes(manifest):
    assert (manifest["apiVersion"], manifest["kind"]) == ("batch/v1", "CronJob")
    assert problems(CRON_JOB, manifest["spec"]) == []
    wrong = copy.deepcopy(manifest["spec"])
    wrong["concurencyPolicy"] = wrong.pop("concurrencyPolicy")
    assert problems(CRON_JOB, wrong)


def test_the_pod_fits_the_schema_that_kuberay_has_of_pods(manifest, schemas):
    template = schemas["ray.io/v1", "RayJob"]["properties"]["spec"]["properties"]["submitterPodTemplate"]
    found = copy.deepcopy(manifest["spec"]["jobTemplate"]["spec"]["template"])
    assert problems(template, found) == []
    found["spec"]["containers"][0]["resource"] = {}
    assert problems(template, found)


def test_one_night_at_a_time_and_none_for_ever(manifest):
    spec = manifest["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert 600 <= spec["startingDeadlineSeconds"] < 86400  # the controller looks every ten seconds
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 86400
    assert spec["jobTemplate"]["spec"]["backoffLimit"] == 0
    assert spec["failedJobsHistoryLimit"] >= spec["successfulJobsHistoryLimit"] >= 1


def test_a_failure_policy_needs_pods_that_never_restart(manifest, pod):
    assert pod["restartPolicy"] == "Never"  # Kubernetes refuses the policy otherwise
    (rule,) = manifest["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert rule == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def test_the_token_comes_from_a_secret_and_nothing_secret_is_written_down(pod):
    (container,) = pod["containers"]
    by_name = {one["name"]: one for one in container["env"]}
    assert by_name["RAY_AUTH_MODE"]["value"] == "token"
    assert by_name["RAY_AUTH_TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "star", "key": "auth_token"}}
    assert "value" not in by_name["RAY_AUTH_TOKEN"]
    (ledger,) = [argument for argument in container["args"] if argument.startswith("--ledger=")]
    assert ":" not in ledger.partition("://")[2].partition("@")[0]  # user alone: a command line is no place for more


def test_the_cluster_that_it_submits_to_has_the_ledgers_password():
    cluster = yaml.safe_load((ROOT / "cluster" / "raycluster.yaml").read_text())
    (head,) = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"]
    (password,) = [one for one in head["env"] if one["name"] == "PGPASSWORD"]
    reference = password["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "star-ledger", "key": "password", "optional": True}
    assert "kubectl create secret generic star-ledger --from-literal=password=" in MANIFEST.read_text()
    assert f"{cluster['metadata']['name']}-head-svc" in MANIFEST.read_text()


def test_it_submits_a_command_that_the_job_understands(pod):
    (container,) = pod["containers"]
    assert container["command"] == ["ray", "job", "submit"]
    asked = submit.make_context("submit", list(container["args"])).params  # Ray's own reading of its flags
    assert asked["address"] == "http://star-head-svc:8265"
    assert (asked["working_dir"], asked["no_wait"]) == (".", False)
    job, *arguments = asked["entrypoint"]
    assert (ROOT / job).stat().st_mode & 0o100
    retrain.parse(arguments)
