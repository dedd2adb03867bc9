"""An evaluation in MLflow: its numbers and files, in the run of the training that it judges."""

import sys
from collections.abc import Mapping

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from pipeline.tracking.run import client_of, now_ms


def log_evaluation(
    uri: str, run_id: str, *, metrics: Mapping[str, float], step: int, folder: str, artifact_path: str
) -> bool:
    """Log an evaluation to an existing run; MLflow being away is said loudly and loses nothing, the files are written.

    Args:
        uri: tracking server URL or sqlite:/// path.
        run_id: run of the training.
        metrics: values by name.
        step: optimiser steps of the checkpoint; a second evaluation of the same checkpoint adds equal points.
        folder: local folder whose files are attached.
        artifact_path: where they go among the run's artifacts.

    Returns:
        Whether it was logged.
    """
    try:
        client = client_of(uri)
        client.log_batch(run_id, [Metric(name, value, now_ms(), step) for name, value in metrics.items()])
        client.log_artifacts(run_id, folder, artifact_path)
    except (MlflowException, OSError) as error:
        print(f"WARNING the evaluation was not logged to MLflow run {run_id} at {uri}: {error}", file=sys.stderr)
        return False
    return True
