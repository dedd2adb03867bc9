"""Steps of a demo say what they run, and a demo empties no folder that it did not make."""

import pytest

from jobs.demo_steps import MARKER, make_anew, run
from pipeline.core.errors import UserError


def test_a_step_is_printed_as_it_can_be_typed_and_its_failure_is_named(capfd):
    run("say it", "echo", "two words")
    assert capfd.readouterr().out.startswith("\n== say it\n$ echo 'two words'\ntwo words\n   0 s")
    with pytest.raises(UserError, match=r"'go wrong' failed. Received: exit status 3"):
        run("go wrong", "sh", "-c", "exit 3")


def test_only_a_demos_folder_is_emptied(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    make_anew(mine)  # empty, so taken
    (mine / "old").touch()
    make_anew(mine)
    assert [path.name for path in mine.iterdir()] == [MARKER]
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").touch()
    with pytest.raises(UserError, match="not a demo's"):
        make_anew(other)
    assert (other / "precious").exists()
