"""A run's name, folder and MLflow id all lead to its best or last checkpoint, as Ray Train recorded them."""

import json
import tempfile
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.core.errors import UserError
from pipeline.registry.locate import find_checkpoint, mlflow_uri, storage_of

# MLflow uses an option that SQLAlchemy 2.1 has deprecated; Ray Train warns about itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SCORES = (10.0, 30.0, 20.0)


def loop():
    from ray import train

    for step, score in enumerate(SCORES, start=1):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "state.pt").write_text(str(step))
            metrics = {"score": score, "step": step}
            train.report(metrics, checkpoint=train.Checkpoint.from_directory(folder))


@pytest.fixture(scope="module")
def run(ray_cluster, tmp_path_factory):
    """A run of Ray Train with three checkpoints of which two are kept; the second is the best. Returns its folder."""
    from ray.train import CheckpointConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    root = tmp_path_factory.mktemp("runs")
    keep = CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="score")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
        DataParallelTrainer(
            loop,
            scaling_config=ScalingConfig(num_workers=1),
            run_config=RunConfig(name="r", storage_path=str(root), checkpoint_config=keep),
        ).fit()
    (root / "r" / "run.json").write_text(json.dumps({"name": "r"}))
    return root / "r"


@pytest.mark.ray
def test_every_name_of_a_run_leads_to_its_checkpoint(run, monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = str(run.parent)
    client = MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db")
    run_id = client.create_run(client.create_experiment("e", artifact_location=str(tmp_path))).info.run_id
    client.set_tag(run_id, "star.run", str(run))
    for reference in ("r", str(run), run_id):
        best, last = (find_checkpoint(reference, root, which) for which in ("best", "last"))
        assert (Path(best) / "state.pt").read_text() == "2"
        assert (Path(last) / "state.pt").read_text() == "3"
        assert storage_of(best) == root
    assert find_checkpoint(best, "/elsewhere") == best


def test_what_is_no_training_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match="no such training"):
        find_checkpoint("absent", str(tmp_path))
    assert list(tmp_path.iterdir()) == []  # looking creates no data base
    assert mlflow_uri(str(tmp_path)) == ""
    MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db").search_experiments()
    with pytest.raises(UserError, match="no such training"):
        find_checkpoint("absent", str(tmp_path))


def test_a_run_without_a_checkpoint_is_named(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "run.json").write_text("{}")
    with pytest.raises(UserError, match="no checkpoint"):
        find_checkpoint("r", str(tmp_path))
