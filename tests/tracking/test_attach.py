"""Numbers and files reach the training's run; an MLflow that refuses is said, and stops nothing."""

import pytest
from mlflow import MlflowClient

from pipeline.core import storage
from pipeline.tracking.attach import attach

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
        assert attach(uri, run_id, metrics=values, step=7, folder=str(folder), artifact_path="evaluation/x")
    points = client.get_metric_history(run_id, "eval/validation/8x2/none/top1")
    assert {(point.step, point.value) for point in points} == {(7, 50.0)}
    assert [a.path for a in client.list_artifacts(run_id, "evaluation/x")] == ["evaluation/x/table.txt"]


def test_only_the_files_asked_for(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    run_id = client.create_run(client.create_experiment("e", artifact_location=str(tmp_path / "a"))).info.run_id
    for name in ("strip-1.png", "index.html", "arrays-1.npz"):
        storage.publish_bytes(str(tmp_path / "x" / name), b"1")
    assert attach(uri, run_id, folder=str(tmp_path / "x"), artifact_path="e", files=("strip-*.png", "index.html"))
    assert [a.path for a in client.list_artifacts(run_id, "e")] == ["e/index.html", "e/strip-1.png"]


@pytest.mark.parametrize("scheme", ["file", "mock"])
def test_files_behind_a_uri_are_attached(tmp_path, scheme):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    run_id = client.create_run(client.create_experiment("e", artifact_location=str(tmp_path / "a"))).info.run_id
    folder = f"{scheme}://{tmp_path}/results"
    storage.publish_bytes(f"{folder}/table.txt", b"top-1")
    assert attach(uri, run_id, folder=folder, artifact_path="evaluation/x")
    assert (tmp_path / "a" / run_id / "artifacts" / "evaluation" / "x" / "table.txt").read_bytes() == b"top-1"


def test_an_artifact_store_that_refuses_is_said(tmp_path, capsys):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    (tmp_path / "a").write_text("a file where the artifacts' folder should be")
    run_id = client.create_run(client.create_experiment("e", artifact_location=str(tmp_path / "a"))).info.run_id
    storage.publish_bytes(str(tmp_path / "x" / "table.txt"), b"1")
    assert not attach(uri, run_id, folder=str(tmp_path / "x"), artifact_path="e")
    assert "was not logged" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_said(tmp_path, capsys):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert not attach(uri, "0" * 32, metrics={"a": 1.0}, step=1, folder=str(tmp_path), artifact_path="x")
    assert f"was not logged to MLflow run {'0' * 32}" in capsys.readouterr().err
