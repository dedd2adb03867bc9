"""What later jobs find out about a trained network, in the MLflow run of its training: numbers and files."""

import contextlib
import fnmatch
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mlflow.entities import Metric

from pipeline.core import storage
from pipeline.tracking.run import client_of, now_ms


def attach(
    uri: str,
    run_id: str,
    *,
    folder: str,
    artifact_path: str,
    files: Sequence[str] = ("*",),
    metrics: Mapping[str, float] | None = None,
    step: int = 0,
) -> bool:
    """Log numbers and files to an existing run; a failure is said loudly and loses nothing, the files are written.

    Args:
        uri: tracking server URL or sqlite:/// path.
        run_id: run of the training.
        folder: path or URI of the folder whose files are attached; copied first: MLflow takes local ones.
        artifact_path: where they go among the run's artifacts.
        files: patterns of file names.
        metrics: values by name.
        step: optimiser steps of the checkpoint; a second evaluation of the same checkpoint adds equal points.

    Returns:
        Whether it was logged.
    """
    try:
        client = client_of(uri)
        client.log_batch(run_id, [Metric(name, value, now_ms(), step) for name, value in (metrics or {}).items()])
        with _copy(folder, files) as copied:
            client.log_artifacts(run_id, copied, artifact_path)
    except Exception as error:  # servers and artifact stores fail in their own ways; the job has done its work
        cause = str(error).strip().splitlines()
        text = f"{type(error).__name__}: {cause[0][:300] if cause else ''}"
        print(f"WARNING {folder} was not logged to MLflow run {run_id} at {uri} ({text})", file=sys.stderr, flush=True)
        return False
    return True


@contextlib.contextmanager
def _copy(folder: str, patterns: Sequence[str]) -> Iterator[str]:
    """Yield a local folder with the matching files of a path or URI."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in (str(file.base_name) for file in storage.list_files(folder)):
            if any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
                (Path(scratch) / name).write_bytes(storage.read_bytes(storage.join(folder, name)))
        yield scratch
