"""From what a person knows of a network (a run, its MLflow id, a folder, a registered model) to its checkpoint."""

import os
import re
import tempfile
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.eval.load import Recogniser
from pipeline.tracking.run import client_of
from pipeline.train.checkpoint import STATE
from pipeline.train.runs import RECORD

RUN_TAG = "star.run"
"""Tag of an MLflow run with its folder in the run storage."""

REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[0-9]+))")
"""A registered model by alias or version, as MLflow writes it."""
OPENED = ("", "file", "s3", "gs")
"""Schemes of artifact stores whose files every node opens itself; those of others are copied to the run storage."""

Which = Literal["best", "last"]


def find_checkpoint(reference: str, root: str, which: Which = "best") -> str:
    """Return the folder of the checkpoint that `reference` means.

    Args:
        reference: a checkpoint's folder, a run's folder, the name of a run below `root`, the id of an MLflow run, or a
            registered model as models:/NAME@ALIAS or models:/NAME/VERSION.
        root: run storage; says too where MLflow is, unless MLFLOW_TRACKING_URI does.
        which: of a run: the checkpoint with the best validation top-1, or the last one.

    Raises:
        UserError: nothing of the kind is there, or the run has no checkpoint yet.
    """
    if reference.startswith("models:"):
        return _of_registered(reference, root)
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
            allowed=f"a folder with {STATE}, a folder with {RECORD}, a run's name in {root}, an MLflow run id, "
            "models:/NAME@ALIAS or models:/NAME/VERSION",
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


def _of_registered(reference: str, root: str) -> str:
    """The weights and the recipe inside a version of a registered model, which are a checkpoint without optimiser."""
    from mlflow.exceptions import MlflowException

    from pipeline.registry.registered import checkpoint_within

    uri, parts = mlflow_uri(root), REGISTERED.fullmatch(reference)
    what, allowed = "There is no such registered model", "models:/NAME@ALIAS, models:/NAME/VERSION"
    if not (uri and parts):
        fix = "set MLFLOW_TRACKING_URI or give the --storage that holds mlflow.db" if parts else "write it like that"
        raise UserError(problem(what, got=reference, allowed=allowed, fix=fix))
    client, name = client_of(uri), parts["name"]
    try:
        by_alias, by_number = client.get_model_version_by_alias, client.get_model_version
        found = by_alias(name, parts["alias"]) if parts["alias"] else by_number(name, parts["version"])
        where = client.get_model_version_download_uri(name, found.version)
    except MlflowException as error:
        fix = f"look at the models of {uri}, or register one with --register"
        raise UserError(problem(f"{what} ({error.message})", got=reference, allowed=allowed, fix=fix)) from error
    inside = checkpoint_within(where)
    if urlsplit(where).scheme in OPENED:
        return storage.absolute(inside)
    return _copied(inside, uri, storage.join(root, "registered", f"{name}-{found.version}"))


def _copied(artifact: str, uri: str, folder: str) -> str:
    """Bring a checkpoint that only MLflow's server hands out to the run storage, once; returns its folder there."""
    import mlflow

    if not storage.exists(storage.join(folder, STATE)):
        with tempfile.TemporaryDirectory() as scratch:
            got = Path(mlflow.artifacts.download_artifacts(artifact, dst_path=scratch, tracking_uri=uri))
            for file in sorted(got.iterdir(), key=lambda file: file.name == STATE):  # which says that all is there
                storage.publish_bytes(storage.join(folder, file.name), file.read_bytes())
    return storage.absolute(folder)


def mlflow_of(network: Recogniser) -> str:
    """Return where the run that trained a network is tracked; empty when there is none, or nobody knows where."""
    return (network.recipe.tracking.uri or mlflow_uri(storage_of(network.checkpoint))) if network.run_id else ""


def storage_of(checkpoint: str) -> str:
    """Return the run storage that a checkpoint of a run lies in: storage/run/checkpoint."""
    return storage.parent(storage.parent(checkpoint))
