"""Prepare and train across two raylets, of which one declares no training resource: work goes where it belongs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.data.store.prepared import PreparedDataset

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture
def two_nodes():
    """Start the cluster; yields the environment of its drivers, tokens on."""
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(ROOT),
    }
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, str(PROGRAMS / "two_nodes.py")]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as cluster:
        first = next(line for line in iter(cluster.stdout.readline, "") if line.startswith("address "))
        try:
            yield environment | {"RAY_ADDRESS": first.split()[1]}
        finally:
            cluster.stdin.close()
            cluster.wait(timeout=60)


def run(environment, program, *arguments):
    """Run a program as a driver of the cluster; returns what it printed."""
    command = [sys.executable, str(program), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_prepare_and_train_run_across_two_nodes(two_nodes, tmp_path):
    videos, prepared, runs = tmp_path / "videos", tmp_path / "prepared", tmp_path / "runs"
    run(two_nodes, "jobs/make_synth.py", videos, "--size", "tiny")

    source = ("--name", "ssv2", "--source", videos, "--out", prepared, "--short-side", "40", "--shard-videos", "2")
    said = run(two_nodes, "jobs/prepare_data.py", *source)
    dataset = PreparedDataset.open(str(prepared))
    listed = len(dataset.rows)
    assert f"{listed:,} videos listed = {listed:,} readable + 0 quarantined" in said

    where = ("--data", prepared, "--storage", runs, "--run", "across")
    overrides = ("train.epochs=1", "compute.worker_resource=trainer", f"model.classes={len(dataset.classes)}")
    run(two_nodes, "jobs/train_stabn.py", "debug", *overrides, *where)
    assert json.loads((runs / "across" / "run.json").read_text())["passport"] == dataset.passport

    ran = json.loads(run(two_nodes, PROGRAMS / "where.py").splitlines()[-1])
    assert ran["workers"] == ["trainer"]
    # Preparing uses the CPUs of both nodes; the feed those that training leaves; nothing runs on the head.
    assert ran["tasks"] == {"Map(_work)": ["decoder", "trainer"], "MapBatches(_load_row)": ["decoder"]}
