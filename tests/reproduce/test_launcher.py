"""The laptop's cluster: started when not up, rid of what a killed reproduction left, stopped if it was started."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.reproduce.launcher import CHECKOUT, LAPTOP, MINE, cluster


@pytest.fixture
def laptop(tmp_path, monkeypatch):
    """The variables of a laptop's cluster of this test alone."""
    values = {"STAR_LAPTOP_PORT": "26679", "STAR_LAPTOP_DASHBOARD_PORT": "28565", "STAR_LAPTOP_CPUS": "2"}
    home = Path("/tmp") / f"star-reproduce-{os.getpid()}"  # short: sockets live in it
    values |= {"STAR_LAPTOP_HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that what `cluster` sets does not outlive the test
        monkeypatch.delenv(name)
    yield
    subprocess.run([LAPTOP, "stop"], cwd=CHECKOUT, check=True)
    subprocess.run(["rm", "-rf", str(home)], check=True)


def is_up():
    return subprocess.run([LAPTOP, "status"], cwd=CHECKOUT, check=False, capture_output=True).returncode == 0


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_reproductions_jobs_are_stopped_and_others_are_not(laptop, tmp_path):
    from ray.job_submission import JobSubmissionClient

    ours = tmp_path / "ours"
    ours.mkdir()
    program = (
        "import os, signal, sys; from pathlib import Path; from pipeline.reproduce.launcher import cluster\n"
        "from ray.job_submission import JobSubmissionClient\n"
        "folder = Path(sys.argv[1])\n"
        "with cluster('laptop', folder, 's3://bucket/ours'):\n"
        "    client = JobSubmissionClient()\n"
        "    for name in ('ours/runs', 'ours-too/runs'):\n"
        "        print(client.submit_job(entrypoint=f'sleep 600 # s3://bucket/{name}'), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(ours)], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    mine, other = killed.stdout.split()[-2:]
    assert is_up()
    assert (ours / MINE).exists()
    with cluster("laptop", ours, "s3://bucket/ours"):
        client, deadline = JobSubmissionClient(), time.monotonic() + 60
        assert client.get_job_status(mine) == "STOPPED"
        while client.get_job_status(other) == "PENDING":
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert client.get_job_status(other) == "RUNNING"
    assert not is_up(), "it was started by a reproduction of this folder, though by one before"
    assert list(ours.iterdir()) == []
