"""The laptop's cluster: started when not up, rid of what a killed reproduction left, stopped if it was started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.reproduce import ask, parse
from pipeline.core.errors import UserError
from pipeline.reproduce.launcher import CHECKOUT, LAPTOP, MINE


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


def test_a_clusters_place_has_to_be_named(tmp_path):
    with pytest.raises(UserError, match="give --storage s3://"):
        ask(parse(["all", "--on", "cluster", "--out", str(tmp_path)]))
    for given in ("s3://bucket/place", f"{tmp_path}/shared"):
        assert ask(parse(["all", "--on", "cluster", "--storage", given]))[0].out == given
    for on in ("laptop", "here"):
        assert ask(parse(["all", "--on", on, "--out", str(tmp_path)]))[0].out == str(tmp_path)


def is_up():
    return subprocess.run([LAPTOP, "status"], cwd=CHECKOUT, check=False, capture_output=True).returncode == 0


BEGIN = """
import os, signal, sys
from pathlib import Path
from pipeline.reproduce.launcher import cluster
with cluster("laptop", Path(sys.argv[1]), "s3://bucket/ours"):
    from ray.job_submission import JobSubmissionClient
    client = JobSubmissionClient()
"""
KILLED = """
    for name in ("ours/runs", "ours-too/runs"):
        print(client.submit_job(entrypoint=f"sleep 600 # s3://bucket/{name}"), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
AGAIN = """
    import time
    mine, other = sys.argv[2:]
    end = time.monotonic() + 60
    while client.get_job_status(other) == "PENDING" and time.monotonic() < end:
        time.sleep(0.5)
    print(client.get_job_status(mine).value, client.get_job_status(other).value, flush=True)
"""


def run(program, *arguments):
    """In a process of its own: Ray reads how to sign in when it is imported."""
    command = [sys.executable, "-c", BEGIN + program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_reproductions_jobs_are_stopped_and_others_are_not(laptop, tmp_path):
    ours = tmp_path / "ours"
    ours.mkdir()
    killed = run(KILLED, str(ours))
    assert killed.returncode == -9, killed.stderr
    mine, other = killed.stdout.split()[-2:]
    assert is_up()
    assert (ours / MINE).exists()
    again = run(AGAIN, str(ours), mine, other)
    assert again.returncode == 0, again.stderr
    assert "STOPPED RUNNING" in again.stdout
    assert not is_up(), "it was started by a reproduction of this folder, though by one before"
    assert list(ours.iterdir()) == []
