"""A run is resumed as the run it was, and every difference is named."""

import json

import pytest

from pipeline.core.config import override
from pipeline.core.errors import UserError
from pipeline.data.store.catalog import Passport
from pipeline.train.recipe import Recipe
from pipeline.train.runs import fresh_name, open_record, tracking_uri, update_record

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


def test_where_and_how_conveniently_a_run_runs_may_change(recipe, tmp_path):
    open_record(str(tmp_path), "run", recipe, DATA)
    moved = ["data.root=s3://elsewhere", "compute.workers=2", "train.max_steps=5", "train.log_every=1"]
    assert open_record(str(tmp_path), "run", override(recipe, moved), DATA)[1]


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
