"""Steps of a demo say what they run, and a demo empties no folder that it did not make."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.demo_steps import CHECKOUT, LAPTOP, MARKER, claimed, run
from pipeline.core.errors import UserError
from pipeline.core.processes import tied


def test_a_step_is_printed_as_it_can_be_typed_and_its_failure_is_named(capfd):
    run("say it", "echo", "two words")
    assert capfd.readouterr().out.startswith("\n== say it\n$ echo 'two words'\ntwo words\n   0 s")
    with pytest.raises(UserError, match=r"'go wrong' failed. Received: exit status 3"):
        run("go wrong", "sh", "-c", "exit 3")


def test_only_a_demos_folder_is_emptied(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    with claimed(mine, keep=False):  # empty, so taken
        (mine / "old").mkdir()
        (mine / "old" / "file").touch()
    with claimed(mine, keep=True):
        assert (mine / "old" / "file").exists()
    with claimed(mine, keep=False):
        assert [path.name for path in mine.iterdir()] == [MARKER]
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").touch()
    with (
        pytest.raises(UserError, match=r"may not be emptied.*a file \.star-demo.*add --keep"),
        claimed(other, keep=False),
    ):
        pytest.fail("entered")
    with claimed(other, keep=True):
        pass
    assert [path.name for path in other.iterdir()] == ["precious"]  # unmarked, so no later demo empties it


def test_make_clean_removes_what_demos_made_and_no_other_runs(tmp_path):
    demo, real = tmp_path / "runs" / "demo two", tmp_path / "runs" / "real"
    with claimed(demo, keep=False):
        (demo / "videos").mkdir()
    (real / "deeper").mkdir(parents=True)
    (real / "deeper" / MARKER).touch()
    (tmp_path / "runs" / "mlflow.db").touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    makefile = str(CHECKOUT / "Makefile")
    for _ in range(2):  # the second time there is nothing left to remove
        done = subprocess.run(["make", "-f", makefile, "clean", "VENV=.venv"], cwd=tmp_path, check=False)
        assert done.returncode == 0
        left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
        assert left == {"runs", "runs/mlflow.db", "runs/real", "runs/real/deeper", f"runs/real/deeper/{MARKER}"}


def test_a_folder_in_use_is_neither_emptied_nor_shared(tmp_path):
    with claimed(tmp_path, keep=False):
        (tmp_path / "videos").touch()
        for keep in (False, True):
            with pytest.raises(UserError, match="Another command works in the folder"), claimed(tmp_path, keep=keep):
                pytest.fail("entered")
        assert (tmp_path / "videos").exists()
    with claimed(tmp_path, keep=True):
        assert (tmp_path / "videos").exists()


STEP = ("sh", "-c", "echo $$ > $0/new; mv $0/new $0/pid; echo serving at last; sleep 60; true")


@pytest.mark.skipif(not tied(), reason="the system has no setpriv")
@pytest.mark.parametrize("call", ["run('work', *sys.argv[1:])", "with service(*sys.argv[1:]): time.sleep(60)"])
def test_a_step_ends_with_a_demo_that_is_killed(tmp_path, call):
    """Two of them would write the same files."""
    program = [sys.executable, "-c", f"import sys, time; from jobs.demo_steps import run, service\n{call}"]
    with subprocess.Popen([*program, *STEP, str(tmp_path)], cwd=CHECKOUT, stdout=subprocess.DEVNULL) as demo:
        wait_for((tmp_path / "pid").exists)
        step = Path("/proc") / (tmp_path / "pid").read_text().strip()
        assert demo.poll() is None
        assert step.exists()
        demo.kill()
    wait_for(lambda: not step.exists())


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_laptops_cluster_asks_for_the_environment(tmp_path):
    asked = {"cwd": CHECKOUT, "env": {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}}
    done = subprocess.run([LAPTOP, "start"], capture_output=True, text=True, check=False, **asked)
    assert done.returncode == 2
    assert "there is no 'ray' on the PATH. Received: /usr/bin:/bin" in done.stderr
    assert "Fix: source .venv/bin/activate" in done.stderr
