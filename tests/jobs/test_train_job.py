"""The training job as people start it: plainly, by `ray job submit`, again by name, again from its MLflow record."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from jobs.cli import all_recipes
from pipeline.train import checkpoint

ROOT = Path(__file__).parents[2]
JOB = ROOT / "jobs" / "train_stabn.py"
TINY = ["model.classes=3", "clip.size=32", "clip.short_side=32", "train.global_batch=2", "train.log_every=1"]

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")]


@pytest.fixture
def environment(tmp_path):
    """A home and a Ray folder of this test's own, and this interpreter first on the path."""
    folder = tempfile.mkdtemp(prefix="star-", dir="/tmp")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    yield {"HOME": str(tmp_path), "RAY_TMPDIR": folder, "PATH": path, "LANG": "C.UTF-8"}
    shutil.rmtree(folder, ignore_errors=True)


def run(command, environment, folder, status=0):
    done = subprocess.run(
        [str(part) for part in command], env=environment, cwd=folder, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == status, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_a_plain_run_trains_and_says_what_came_out(tiny_root, environment, tmp_path):
    out = run([JOB, "debug", *TINY, "--data", tiny_root, "--run", "r"], environment, tmp_path)
    assert re.search(r"^starting run r in .*/runs$", out, re.M)
    epochs = re.findall(r"epoch (\d)/2 .*loss \d.*top-1 \d.*best \d", out)
    assert epochs == ["1", "2"]
    last = re.search(r"last checkpoint +(\S+)", out).group(1)
    assert last == "runs/r/step-00000002"
    assert checkpoint.read(str(tmp_path / last)).step == 2
    assert "resume           jobs/train_stabn.py debug --run r --storage runs" in out
    run_id, uri = re.search(r"MLflow +run (\S+) at (\S+)", out).groups()
    assert uri == f"sqlite:///{tmp_path}/runs/mlflow.db"
    record = MlflowClient(uri).get_run(run_id)
    assert record.info.status == "FINISHED"
    assert record.data.params["model.depth"] == "10"
    assert set(record.data.metrics) >= {"train/loss", "train/lr", "train/grad_norm", "train/data_wait", "val/att_top5"}
    token = Path(environment["HOME"], ".ray", "auth_token")
    assert token.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_run_is_resumed_by_name_and_repeated_from_its_record(tiny_root, environment, tmp_path):
    half = run([JOB, "debug", *TINY, "train.max_steps=1", "--data", tiny_root, "--run", "r"], environment, tmp_path)
    assert "run r: 1 steps" in half
    whole = run([JOB, "debug", *TINY, "--data", tiny_root, "--run", "r"], environment, tmp_path)
    assert "resuming run r" in whole
    assert "run r: 2 steps" in whole
    first, again = (re.search(r"MLflow +run (\S+) at (\S+)", text).groups() for text in (half, whole))
    assert first == again

    repeated = run([JOB, "--repeat", first[0], "train.max_steps=0", "--run", "twin"], environment, tmp_path)
    left, right = (checkpoint.read(str(tmp_path / "runs" / name / "step-00000002")) for name in ("r", "twin"))
    assert "run twin: 2 steps" in repeated
    assert all((value == right.model[name]).all() for name, value in left.model.items())


@pytest.mark.slow
def test_a_submitted_job_trains_on_the_running_cluster(tiny_root, environment, tmp_path):
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_USAGE_STATS_ENABLED": "0"}
    ports = [free_port() for _ in range(2)]
    places = [f"--port={ports[0]}", f"--dashboard-port={ports[1]}", f"--temp-dir={environment['RAY_TMPDIR']}"]
    head = subprocess.Popen(
        [shutil.which("ray", path=environment["PATH"]), "start", "--head", "--block", "--num-cpus=3", *places],
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    submit = ["ray", "job", "submit", "--address", f"http://127.0.0.1:{ports[1]}", "--working-dir", ROOT, "--"]
    try:
        wait_for_jobs(["ray", "job", "submit", *submit[3:5], "--", "true"], environment, tmp_path)
        arguments = ["jobs/train_stabn.py", "debug", *TINY, "--data", tiny_root, "--run", "r"]
        # Twice in one job: the default run storage would lie in Ray's copy of the folder.
        whole = shlex.join([*map(str, arguments), "--storage", f"{tmp_path}/runs"])
        out = run([*submit, "sh", "-c", f"{shlex.join(arguments)} 2>&1; exec {whole}"], environment, tmp_path)
        assert "argument --storage: A relative path means nothing in a submitted job" in out
        assert "run r: 2 steps" in out
        assert checkpoint.read(str(tmp_path / "runs" / "r" / "step-00000002")).step == 2
        # Plainly started, this would get a cluster of its own; a running one is what it is.
        # Without --working-dir: Ray may still be deleting the package of the job before, which has the same content.
        again = [*submit[:5], "--", JOB, *arguments[1:], "--storage", tmp_path / "runs", "compute.cpus_per_worker=8"]
        refused = run(again, environment, tmp_path, status=1)
        assert "1 x 8 (training processes) + 1 x 1 (feed tasks) = 9 CPUs needed at the same time" in refused
        assert "at most 3 CPUs, on 1 node" in refused
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        head.wait(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(all_recipes()) - {"debug", "stabn_demo", "baseline_demo", "oneframe_demo"}))
def test_a_full_size_recipe_takes_two_real_steps_on_a_cpu(name, tiny_root, environment, tmp_path):
    small = ["compute.gpu=false", "compute.workers=1", "compute.cpus_per_worker=1", "compute.data_cpus=0"]
    small += ["train.global_batch=1", "train.max_steps=2", "compute.threads=2", "init.source=random", "model.classes=3"]
    out = run([JOB, name, *small, "--data", tiny_root, "--run", "r"], environment, tmp_path)
    assert "run r: 2 steps, 0 skipped" in out


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_jobs(command, environment, folder, seconds=120):
    """Submit a trivial job until the cluster takes one; its dashboard answers before its agents do."""
    deadline = time.monotonic() + seconds
    while subprocess.run(command, env=environment, cwd=folder, capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline
        time.sleep(1)
