"""A folder belongs to one command at a time, and is emptied by what made it alone."""

import pytest

from jobs import demo_steps
from jobs.steps import CHECKOUT, claimed, service
from pipeline.core.errors import UserError

MINE, OTHER = ".star-mine", ".star-other"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_emptied_by_what_made_it(tmp_path):
    with claimed(tmp_path, marker=MINE):
        (tmp_path / "kept").touch()
    with pytest.raises(UserError, match=f"with a file {OTHER} in it"), claimed(tmp_path, marker=OTHER, keep=False):
        pytest.fail("entered")
    with claimed(tmp_path, marker=MINE):
        assert names(tmp_path) == [MINE, "kept"]
    with claimed(tmp_path, marker=MINE, keep=False):
        assert names(tmp_path) == [MINE]


def test_a_folder_is_no_longer_emptied_once_another_command_has_worked_in_it(tmp_path):
    with claimed(tmp_path, marker=MINE):
        (tmp_path / "mine").touch()
    with claimed(tmp_path, marker=OTHER):
        assert names(tmp_path) == ["mine"]
    for marker in (MINE, OTHER):
        with pytest.raises(UserError, match="may not be emptied"), claimed(tmp_path, marker=marker, keep=False):
            pytest.fail("entered")
    assert names(tmp_path) == ["mine"]


@pytest.mark.parametrize("before", ["nothing", "a demo's folder"])
def test_no_demo_empties_a_reproductions_folder(before, tmp_path, monkeypatch):
    from jobs import reproduce

    if before != "nothing":
        with demo_steps.claimed(tmp_path, keep=False):
            pass

    def reach(*_):
        (tmp_path / "cell").touch()
        raise UserError("far enough")

    monkeypatch.setattr(reproduce, "make_databases", reach)
    with pytest.raises(UserError, match="far enough"):
        reproduce.main(["s0-table-1", "--data", "synth", "--on", "here", "--out", str(tmp_path)])
    with pytest.raises(UserError, match="may not be emptied"), demo_steps.claimed(tmp_path, keep=False):
        pytest.fail("entered")
    assert (tmp_path / "cell").exists()


def test_a_folder_in_use_is_refused_in_words_that_fit_every_command(tmp_path):
    with claimed(tmp_path, marker=MINE), pytest.raises(UserError) as error, claimed(tmp_path, marker=OTHER):
        pytest.fail("entered")
    assert str(error.value).startswith("Another command works in the folder. ")
    assert "demo" not in str(error.value).replace(str(tmp_path), "")
    assert "--keep" not in str(error.value)


def test_a_service_that_does_not_serve_says_what_to_type(capfd):
    with (
        pytest.raises(UserError, match=r"Received: 3.*then: the same command once more"),
        service("sh", "-c", "exit 3"),
    ):
        pytest.fail("entered")
    with service("sh", "-c", "pwd; echo invitation for Ada: LINK; echo serving at it; sleep 60") as link:
        assert link == "LINK"
    assert str(CHECKOUT) in capfd.readouterr().out
