"""An evaluation in MLflow: its numbers and files, in the run of the training that it judges."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from pipeline.core import storage
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
        folder: path or URI of the folder whose files are attached; a remote one is copied: MLflow takes local files.
        artifact_path: where they go among the run's artifacts.

    Returns:
        Whether it was logged.
    """
    try:
        client = client_of(uri)
        client.log_batch(run_id, [Metric(name, value, now_ms(), step) for name, value in metrics.items()])
        with _local(folder) as files:
            client.log_artifacts(run_id, files, artifact_path)
    except (MlflowException, OSError) as error:
        print(f"WARNING the evaluation was not logged to MLflow run {run_id} at {uri}: {error}", file=sys.stderr)
        return False
    return True


@contextlib.contextmanager
def _local(folder: str) -> Iterator[str]:
    """Yield a local folder with the files of a path or URI."""
    if storage.is_local(folder):
        yield storage.local_path(folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        for file in storage.list_files(folder):
            (Path(scratch) / file.base_name).write_bytes(storage.read_bytes(storage.join(folder, file.base_name)))
        yield scratch
