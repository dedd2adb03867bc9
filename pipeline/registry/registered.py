"""A trained network as a registered MLflow model: video paths in, class, scores and both attentions out.

The model is a folder of plain files: the weights and the recipe in one tensor file that is opened without running code,
the class texts as JSON, and the source of this project. Nothing is pickled; a fresh process needs MLflow and the
libraries of `requirements.txt`.
"""

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.feed.clips import load_original
from pipeline.data.feed.views import check_mirroring
from pipeline.eval.load import Recogniser, load, recipe_of
from pipeline.eval.metrics import softmax
from pipeline.eval.protocol import Protocol
from pipeline.registry.tags import BASE_TAG, BATCHES_TAG, CHECKPOINT_TAG, DIGEST_TAG
from pipeline.tracking.run import client_of
from pipeline.train import checkpoint
from pipeline.train.recipe import Recipe

ARTIFACT = "model"
PACKAGES = ("av", "decord", "mlflow", "numpy", "opencv-contrib-python-headless", "pandas", "pyarrow", "torch")
"""What `predict` imports, directly or through the data layer."""

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string)]),  # unnamed: MLflow would refuse a list for a named column
    outputs=Schema(
        [
            ColSpec(DataType.string, "label"),
            ColSpec(DataType.long, "label_index"),
            ColSpec(DataType.double, "score"),
            ColSpec(Array(DataType.double), "scores"),
            ColSpec(Array(DataType.double), "temporal"),
            ColSpec(Array(Array(Array(DataType.double))), "spatial"),
            ColSpec(Array(DataType.long), "frames"),
        ]
    ),
)
"""label is the best class's text; scores the mean softmax over the protocol's views; temporal (T), spatial (T x H x W)
and frames (video frame behind each clip frame) those of the first view. A baseline's attentions are empty."""


class VideoModel:
    """What MLflow calls; `load_model` of the pyfunc flavour returns it wrapped.

    Raises:
        UserError: a recipe with mirrored test crops for classes that name directions.
    """

    def __init__(self, network: Recogniser) -> None:
        self._network = network
        self._protocol = _protocol(network.recipe, network.classes)

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Recognise videos.

        Args:
            model_input: a DataFrame with the column `path`, or a list of paths or URIs.
            params: none are known.

        Returns:
            One line a video, in order, with the columns of SIGNATURE.

        Raises:
            UserError: a video that cannot be decoded.
        """
        paths = _paths(model_input) if isinstance(model_input, pd.DataFrame) else model_input
        return pd.DataFrame([self._recognise(str(path)) for path in paths], columns=SIGNATURE.outputs.input_names())

    def _recognise(self, path: str) -> dict[str, Any]:
        network = self._network
        clips = load_original(path, self._protocol.clip, self._protocol.views)
        answers = [network.answer(clip.x_THWC[None]) for clip in clips]
        scores_K = np.mean([softmax(answer.logits_BK[0]) for answer in answers], axis=0)
        best, first = int(scores_K.argmax()), answers[0]
        return {
            "label": network.classes[best],
            "label_index": best,
            "score": float(scores_K[best]),
            "scores": scores_K.astype(float).tolist(),
            "temporal": [] if first.temporal_BT is None else first.temporal_BT[0].astype(float).tolist(),
            "spatial": [] if first.spatial_BTHW is None else first.spatial_BTHW[0].astype(float).tolist(),
            "frames": clips[0].idx_T.tolist(),
        }


def _protocol(recipe: Recipe, classes: Sequence[str]) -> Protocol:
    """The recipe's own test protocol, once its classes allow it."""
    protocol = Protocol(clip=recipe.clip, view=recipe.view)
    check_mirroring(protocol.view, classes)
    return protocol


def _paths(table: pd.DataFrame) -> "pd.Series[str]":
    """The column `path`, or the only column (MLflow makes one of a list)."""
    if "path" not in table.columns and len(table.columns) != 1:
        got, fix = f"columns {', '.join(map(str, table.columns))}", "name the column of video paths 'path'"
        raise UserError(problem("There is no column of paths", got=got, allowed="a column path", fix=fix))
    return table["path"] if "path" in table.columns else table.iloc[:, 0]


def _load_pyfunc(data_path: str) -> VideoModel:
    """MLflow's entry point: return the model behind the data folder of a saved model."""
    return VideoModel(load(data_path, precision="fp32"))


def save_model(checkpoint_uri: str, folder: Path) -> None:
    """Write a checkpoint as an MLflow model into `folder`, without its optimiser.

    Raises:
        UserError: there is no checkpoint, or mirrored test crops for classes that name directions.
    """
    snapshot = checkpoint.read(checkpoint_uri)
    _protocol(recipe_of(snapshot), snapshot.classes)  # not a model that nobody could load
    with tempfile.TemporaryDirectory() as scratch:
        data, code = Path(scratch) / "data", Path(scratch) / "code"
        data.mkdir()
        checkpoint.write(str(data), replace(snapshot, optimizer={}, points=()))
        for file, value in (
            ("recipe.json", snapshot.recipe),
            ("classes.json", list(snapshot.classes)),
            ("passport.json", {"passport": snapshot.passport, "step": snapshot.step}),
        ):
            (data / file).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
        with warnings.catch_warnings():
            # About a type hint of MLflow's own, and about an example that an explicit signature makes needless.
            warnings.filterwarnings("ignore", r"[\s\S]*(Any type hint|An input example)", UserWarning)
            mlflow.pyfunc.save_model(
                str(folder),
                loader_module="pipeline.registry.registered",
                data_path=str(data),
                code_paths=_copy_sources(code),
                signature=SIGNATURE,
                pip_requirements=[f"{package}=={version(package)}" for package in PACKAGES],
                metadata={"passport": snapshot.passport, "step": snapshot.step},
            )


def checkpoint_within(model: str) -> str:
    """Return the folder with weights and recipe inside a saved model, a path or URI: a checkpoint that `load` reads."""
    return storage.join(model, "data", "data")  # MLflow puts the folder "data" of `save_model` below its own


def _copy_sources(code: Path) -> list[str]:
    """Copy the packages that the model needs, sources alone; returns their folders."""
    top = Path(__file__).parents[2]
    for package in ("models", "pipeline"):
        shutil.copytree(top / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))
    return [str(code / package) for package in ("models", "pipeline")]


def register_model(
    run_id: str, checkpoint_uri: str, name: str, *, tracking_uri: str = "", tags: Mapping[str, str] | None = None
) -> int:
    """Register a checkpoint as a version of the model `name`, belonging to its training's run.

    Registering the same checkpoint under the same name again returns the version that is there already, with the tags
    that it lacks.

    Args:
        run_id: MLflow run of the training.
        checkpoint_uri: folder of the checkpoint.
        name: registered model, created when absent.
        tracking_uri: MLflow server or sqlite:/// path, which holds the registry too; empty takes MLflow's own setting.
        tags: what the version says beside its weights' digest, data, step and checkpoint.

    Returns:
        Number of the version.

    Raises:
        UserError: there is no checkpoint.
        MlflowException: the server refuses.
    """
    client = client_of(tracking_uri or mlflow.get_tracking_uri())
    snapshot = checkpoint.read(checkpoint_uri)
    digest = weights_digest(snapshot.model)
    try:
        client.create_registered_model(name, description="STAR: video action recognition with attention")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    said = {DIGEST_TAG: digest, "star.passport": snapshot.passport, "star.step": str(snapshot.step)}
    said |= {CHECKPOINT_TAG: storage.absolute(checkpoint_uri), **_edited(snapshot.recipe), **(tags or {})}
    for found in client.search_model_versions(f"name = '{name}'"):
        if found.run_id == run_id and found.tags.get(DIGEST_TAG) == digest:
            for tag, value in said.items():
                if tag not in found.tags:
                    client.set_model_version_tag(name, found.version, tag, value)
            return int(found.version)
    artifact = f"{ARTIFACT}-{digest[:12]}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        save_model(checkpoint_uri, folder)
        client.log_artifacts(run_id, str(folder), artifact)
    made = client.create_model_version(name, f"runs:/{run_id}/{artifact}", run_id, tags=said)
    return int(made.version)


def _edited(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Return what a version of a fine-tuning says of the edits that it has learnt from."""
    if "edits" not in recipe:
        return {}
    batches = sorted({str(uri).rstrip("/").rsplit("/", 1)[-1] for uri in recipe["edits"]["batches"]})
    return {BASE_TAG: str(recipe["edits"]["base"]), BATCHES_TAG: ",".join(batches)}


def weights_digest(weights: Mapping[str, torch.Tensor]) -> str:
    """Return a SHA-256 over the names, types, shapes and bytes of all weights."""
    digest = hashlib.sha256()
    for key, value in sorted(weights.items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
