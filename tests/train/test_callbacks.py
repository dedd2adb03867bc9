"""What the controller does with reports and failures, against a real MLflow store."""

import pytest
from mlflow import MlflowClient
from pyarrow.fs import LocalFileSystem
from ray.train import Checkpoint

from pipeline.tracking.run import TrackedRun
from pipeline.train.callbacks import Tracking

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


def report(*points, **more):
    return [{"points": [{"step": s, "time_ms": s, "metrics": {"train/loss": v}} for s, v in points], **more}, {}]


def test_reports_reach_mlflow_and_failures_are_said(tmp_path, capsys):
    tracked = TrackedRun(f"sqlite:///{tmp_path}/mlflow.db", "e", "n", "k", artifact_root=str(tmp_path / "artifacts"))
    run_id = tracked.begin({}, {}, {})
    callback = Tracking(tracked, "s3://bucket/runs/r")
    saved = Checkpoint("bucket/runs/r/step-00000004", LocalFileSystem())  # named as Train names it
    callback.after_report(None, report((2, 0.5)), None)
    callback.after_exception(None, {1: RuntimeError("first line\nConnection closed by peer")})
    callback.after_report(None, report((2, 0.5), (4, 0.25), final=True), saved)
    client = MlflowClient(tracked.uri)
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "train/loss")] == [(2, 0.5), (4, 0.25)]
    tags = client.get_run(run_id).data.tags
    assert tags["star.checkpoint"] == "s3://bucket/runs/r/step-00000004"
    assert tags["star.worker_failures"] == "1"
    assert "worker 1 failed: RuntimeError: Connection closed by peer" in capsys.readouterr().out


def test_nothing_raises_when_mlflow_is_away():
    callback = Tracking(TrackedRun("http://127.0.0.1:9", "e", "n", "k"), "/runs/r")
    callback.after_report(None, report((1, 1.0)), Checkpoint("/runs/r/step-00000001"))
    callback.after_exception(None, {0: RuntimeError()})
