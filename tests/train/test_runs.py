"""A run is resumed as the run it was, and every difference is named."""

import json
import subprocess
from dataclasses import replace

import pytest
import torch
from mlflow import MlflowClient

from pipeline.core.config import override, to_dict
from pipeline.core.errors import UserError
from pipeline.data.store.catalog import CatalogRow, Passport, passport_of
from pipeline.tracking.run import TrackedRun
from pipeline.train import runs
from pipeline.train.recipe import Recipe, RunRecipe
from pipeline.train.runs import fresh_name, open_record, recorded, software, tracking_uri, update_record
from pipeline.train.trained_on import TrainedOn

DATA = Passport("d1", {"ids": "1", "codec": "2"})


@pytest.fixture
def recipe():
    return Recipe(name="r")


def test_a_new_run_is_recorded_and_found_again(recipe, tmp_path):
    record, resumed = open_record(str(tmp_path), "run", recipe, DATA)
    assert not resumed
    assert json.loads((tmp_path / "run" / "run.json").read_text())["key"] == record.key
    update_record(str(tmp_path), record, mlflow_run_id="m")
    again, resumed = open_record(str(tmp_path), "run", recipe, DATA)
    assert resumed
    assert (again.key, again.mlflow_run_id) == (record.key, "m")


def test_another_recipe_is_refused_with_every_difference(recipe, tmp_path):
    open_record(str(tmp_path), "run", recipe, DATA)
    other = override(recipe, ["optim.lr=0.02", "train.seed=3"])
    with pytest.raises(UserError) as error:
        open_record(str(tmp_path), "run", other, DATA)
    assert "optim.lr 0.01 -> 0.02; train.seed 0 -> 3" in str(error.value)


def test_other_data_are_refused_with_the_part_that_differs(recipe, tmp_path):
    open_record(str(tmp_path), "run", recipe, DATA)
    with pytest.raises(UserError, match="ids differs"):
        open_record(str(tmp_path), "run", recipe, Passport("d2", {"ids": "9", "codec": "2"}))


def test_other_videos_are_named_though_the_catalog_is_gone(recipe, tmp_path):
    rows = [CatalogRow(id=i, path=i, label=0, split=("train",), status="readable", frames=4) for i in "ab"]
    longer = [replace(rows[0], frames=5), rows[1]]
    then, now = (passport_of(r, classes=("x",), codec={}, short_side=9) for r in (rows, longer))
    open_record(str(tmp_path), "run", recipe, then, rows)
    with pytest.raises(UserError, match=r"frames differs in 1 of 2 videos: a \(4 -> 5\)"):
        open_record(str(tmp_path), "run", recipe, now, longer)


def test_a_run_older_than_a_field_is_resumed_and_keeps_its_rows_from_now_on(recipe, tmp_path):
    """Fields that were added since have the values that the older version had."""
    open_record(str(tmp_path), "run", recipe, DATA)
    record = tmp_path / "run" / "run.json"
    values = json.loads(record.read_text())
    del values["recipe"]["optim"]["name"]
    record.write_text(json.dumps(values))
    rows = [CatalogRow(id="a", path="a", label=0, split=("train",), status="readable")]
    assert open_record(str(tmp_path), "run", recipe, DATA, rows)[1]
    assert [row.id for row in TrainedOn(DATA, str(tmp_path / "run")).rows()] == ["a"]
    with pytest.raises(UserError, match=r"optim\.name 'sgd' -> 'adam'"):
        open_record(str(tmp_path), "run", override(recipe, ["optim.name=adam"]), DATA)


def test_a_run_of_another_kind_of_recipe_is_refused(recipe, tmp_path):
    open_record(str(tmp_path), "run", recipe, DATA)
    with pytest.raises(UserError, match=r"clip\.frames 32 -> 'absent'"):
        open_record(str(tmp_path), "run", RunRecipe(name="r"), DATA)


def test_where_and_how_conveniently_a_run_runs_may_change(recipe, tmp_path):
    open_record(str(tmp_path), "run", recipe, DATA)
    moved = ["data.root=s3://elsewhere", "compute.workers=2", "train.max_steps=5", "train.log_every=1"]
    assert open_record(str(tmp_path), "run", override(recipe, moved), DATA)[1]


def test_torchvisions_weights_are_known_by_the_digest_in_their_name_and_other_files_by_their_place(recipe, tmp_path):
    began, elsewhere = "init.path=/a/resnet50-0676ba61.pth", "init.path=https://b/resnet50-0676ba61.pth"
    open_record(str(tmp_path), "run", override(recipe, [began]), DATA)
    assert open_record(str(tmp_path), "run", override(recipe, [elsewhere]), DATA)[1]
    for other in ("init.path=/a/resnet50-11ad3fa6.pth", "init.path="):
        with pytest.raises(UserError, match=r"init\.path \"torchvision's -0676ba61\.pth\" -> "):
            open_record(str(tmp_path), "run", override(recipe, [other]), DATA)
    open_record(str(tmp_path), "own", override(recipe, ["init.path=/a/best.pth"]), DATA)
    with pytest.raises(UserError, match=r"init\.path '/a/best\.pth' -> '/b/best\.pth'"):
        open_record(str(tmp_path), "own", override(recipe, ["init.path=/b/best.pth"]), DATA)


def test_fresh_names_start_with_the_recipes_and_differ_within_a_second(recipe, tmp_path):
    names = {fresh_name(recipe) for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("r-20") for name in names)
    open_record(str(tmp_path), names.pop(), recipe, DATA)


@pytest.mark.parametrize("name", ["a/b", "..", "two words", ""])
def test_a_name_that_no_folder_can_have_is_refused(recipe, tmp_path, name):
    with pytest.raises(UserError, match="letters, digits"):
        open_record(str(tmp_path), name, recipe, DATA)


def test_the_record_goes_to_the_recipes_server_then_the_environments_then_sqlite(recipe, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(recipe, "/runs") == "sqlite:////runs/mlflow.db"
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI"):
        tracking_uri(recipe, "s3://bucket/runs")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://env")
    assert tracking_uri(recipe, "s3://bucket/runs") == "http://env"
    assert tracking_uri(override(recipe, ["tracking.uri=http://own"]), "/runs") == "http://own"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one commit, as the folder of this project."""
    monkeypatch.setattr(runs, "ROOT", tmp_path.resolve())
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "m"]):
        subprocess.run([*git, *command], check=True)
    return tmp_path


def test_the_software_is_the_commit_and_the_versions(checkout):
    found = software()
    head = (checkout / ".git" / (checkout / ".git" / "HEAD").read_text().split()[1]).read_text().strip()
    assert (found["commit"], found["dirty"]) == (head, "false")
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    (checkout / "file").write_text("2")
    assert software()["dirty"] == "true"


def test_what_cannot_be_told_is_said_to_be_absent(checkout, monkeypatch):
    (checkout / "inner").mkdir()
    monkeypatch.setattr(runs, "ROOT", (checkout / "inner").resolve())  # inside another repository
    assert (software()["commit"], software()["dirty"]) == ("absent", "absent")
    monkeypatch.setenv("PATH", "")  # no git
    assert (software()["commit"], software()["dirty"]) == ("absent", "absent")


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
@pytest.mark.parametrize(("torch_then", "warning"), [(None, ""), ("1.0", "torch 1.0 -> ")])
def test_a_repetition_by_other_software_is_said(recipe, tmp_path, capsys, torch_then, warning):
    uri = tracking_uri(recipe, str(tmp_path))
    then = software() | ({"torch": torch_then} if torch_then else {})
    data = {"run": "/runs/r", "passport": DATA.digest, "passport_parts": dict(DATA.parts), "software": then}
    tracked = TrackedRun(uri, "e", "r", "key", artifact_root=str(tmp_path / "artifacts"))
    run_id = tracked.begin({}, {"recipe.json": to_dict(recipe), "data.json": data}, {})
    assert MlflowClient(uri).get_run(run_id)
    capsys.readouterr()
    assert recorded(Recipe, run_id, str(tmp_path), []) == (recipe, TrainedOn(DATA, "/runs/r"))
    shown = capsys.readouterr().out
    assert warning in shown
    assert ("WARNING" in shown) == bool(warning)
