"""From what a person knows of a training (its name, its MLflow id, a folder) to the checkpoint that is meant."""

import os
from typing import Literal

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.eval.load import Recogniser
from pipeline.tracking.run import client_of
from pipeline.train.checkpoint import STATE
from pipeline.train.runs import RECORD

RUN_TAG = "star.run"
"""Tag of an MLflow run with its folder in the run storage."""

Which = Literal["best", "last"]


def find_checkpoint(reference: str, root: str, which: Which = "best") -> str:
    """Return the folder of the checkpoint that `reference` means.

    Args:
        reference: a checkpoint's folder, a run's folder, the name of a run below `root`, or the id of an MLflow run.
        root: run storage.
        which: of a run: the checkpoint with the best validation top-1, or the last one.

    Raises:
        UserError: nothing of the kind is there, or the run has no checkpoint yet.
    """
    if storage.exists(storage.join(reference, STATE)):
        return storage.absolute(reference)
    for folder in (reference, storage.join(root, reference)):
        if storage.exists(storage.join(folder, RECORD)):
            return _of_run(storage.absolute(folder), which)
    folder = _folder_of_mlflow_run(reference, root)
    if folder and storage.exists(storage.join(folder, RECORD)):
        return _of_run(folder, which)
    raise UserError(
        problem(
            "There is no such training",
            got=reference,
            allowed=f"a folder with {STATE}, a folder with {RECORD}, a run's name in {root}, an MLflow run id",
            fix="check the name and --storage; a training prints both when it starts",
        )
    )


def mlflow_uri(root: str) -> str:
    """Return where runs below `root` are tracked if nothing else is said: MLFLOW_TRACKING_URI, or SQLite in `root`.

    Empty when there is neither; nothing is created.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    file = storage.join(root, "mlflow.db")
    if not uri and storage.is_local(root) and storage.exists(file):
        uri = f"sqlite:///{storage.local_path(file)}"
    return uri


def _folder_of_mlflow_run(run_id: str, root: str) -> str:
    """The run storage's folder that an MLflow run names; empty when there is no such run."""
    from mlflow.exceptions import MlflowException

    uri = mlflow_uri(root)
    if not uri or os.sep in run_id:
        return ""
    try:
        tags: dict[str, str] = client_of(uri).get_run(run_id).data.tags
    except MlflowException:
        return ""
    return tags.get(RUN_TAG, "")


def _of_run(folder: str, which: Which) -> str:
    """The best or last checkpoint that Ray Train has recorded for a run; half-uploaded ones are not among them."""
    from ray.train import Result

    filesystem, path = storage.resolve(folder)
    try:
        result = Result.from_path(path, storage_filesystem=filesystem)
    except (RuntimeError, FileNotFoundError):
        result = None
    kept = (result.best_checkpoints or []) if result else []
    if result is None or result.checkpoint is None:
        fix = "wait for the first checkpoint, or resume the run"
        raise UserError(problem("The run has no checkpoint", got=folder, allowed="one checkpoint or more", fix=fix))
    chosen = result.checkpoint
    if which == "best" and kept:
        chosen = max(kept, key=lambda pair: (pair[1]["score"], pair[1]["step"]))[0]
    return storage.join(folder, os.path.basename(chosen.path.rstrip("/")))


def mlflow_of(network: Recogniser) -> str:
    """Return where the run that trained a network is tracked; empty when there is none, or nobody knows where."""
    return (network.recipe.tracking.uri or mlflow_uri(storage_of(network.checkpoint))) if network.run_id else ""


def storage_of(checkpoint: str) -> str:
    """Return the run storage that a checkpoint of a run lies in: storage/run/checkpoint."""
    return storage.parent(storage.parent(checkpoint))
