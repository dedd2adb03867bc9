"""An evaluation reaches its training's run; an MLflow that refuses is said, and stops nothing."""

import pytest
from mlflow import MlflowClient

from pipeline.core import storage
from pipeline.tracking.evaluation import log_evaluation

# MLflow uses an option that SQLAlchemy 2.1 has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")


def test_numbers_and_files_are_attached_and_a_second_time_changes_no_value(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    run_id = client.create_run(client.create_experiment("e", artifact_location=str(tmp_path / "a"))).info.run_id
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "table.txt").write_text("top-1")
    for _ in range(2):
        values = {"eval/validation/8x2/none/top1": 50.0}
        assert log_evaluation(uri, run_id, metrics=values, step=7, folder=str(folder), artifact_path="evaluation/x")
    points = client.get_metric_history(run_id, "eval/validation/8x2/none/top1")
    assert {(point.step, point.value) for point in points} == {(7, 50.0)}
    assert [a.path for a in client.list_artifacts(run_id, "evaluation/x")] == ["evaluation/x/table.txt"]


@pytest.mark.parametrize("scheme", ["file", "mock"])
def test_files_behind_a_uri_are_attached(tmp_path, scheme):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    run_id = client.create_run(client.create_experiment("e", artifact_location=str(tmp_path / "a"))).info.run_id
    folder = f"{scheme}://{tmp_path}/results"
    storage.publish_bytes(f"{folder}/table.txt", b"top-1")
    assert log_evaluation(uri, run_id, metrics={}, step=7, folder=folder, artifact_path="evaluation/x")
    assert (tmp_path / "a" / run_id / "artifacts" / "evaluation" / "x" / "table.txt").read_bytes() == b"top-1"


def test_a_run_that_is_not_there_is_said(tmp_path, capsys):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert not log_evaluation(uri, "0" * 32, metrics={"a": 1.0}, step=1, folder=str(tmp_path), artifact_path="x")
    assert "WARNING the evaluation was not logged" in capsys.readouterr().err
