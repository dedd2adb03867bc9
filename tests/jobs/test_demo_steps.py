"""Steps of a demo say what they run, and a demo empties no folder that it did not make."""

import subprocess

import pytest

from jobs.demo_steps import CHECKOUT, LAPTOP, MARKER, claimed, run
from pipeline.core.errors import UserError


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
    with pytest.raises(UserError, match="not a demo's"), claimed(other, keep=False):
        pytest.fail("entered")
    with claimed(other, keep=True):
        pass
    assert [path.name for path in other.iterdir()] == ["precious"]  # unmarked, so no later demo empties it


def test_a_folder_in_use_is_neither_emptied_nor_shared(tmp_path):
    with claimed(tmp_path, keep=False):
        (tmp_path / "videos").touch()
        for keep in (False, True):
            with pytest.raises(UserError, match="A demo runs in the folder"), claimed(tmp_path, keep=keep):
                pytest.fail("entered")
        assert (tmp_path / "videos").exists()
    with claimed(tmp_path, keep=True):
        assert (tmp_path / "videos").exists()


def test_the_laptops_cluster_asks_for_the_environment(tmp_path):
    asked = {"cwd": CHECKOUT, "env": {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}}
    done = subprocess.run([LAPTOP, "start"], capture_output=True, text=True, check=False, **asked)
    assert done.returncode == 2
    assert "there is no 'ray' on the PATH. Received: /usr/bin:/bin" in done.stderr
    assert "Fix: source .venv/bin/activate" in done.stderr
