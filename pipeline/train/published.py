"""A published network as a checkpoint of ours, so that every job that takes one takes it."""

import torch

from models import ModelConfig, build_model
from models.published import load_published, published_config, read_published
from pipeline.core.config import to_dict
from pipeline.core.errors import UserError, problem
from pipeline.data.config import ClipConfig, DataConfig
from pipeline.data.store.prepared import PreparedDataset
from pipeline.train import checkpoint
from pipeline.train.recipe import InitConfig, Recipe
from pipeline.train.weights import local_copy

UNKNOWN = "not known: the authors' training"
"""In place of the passport of the data that it was trained on."""


def import_published(path: str, dataset: PreparedDataset, out: str) -> ModelConfig:
    """Write an authors' ST-ABN as a checkpoint folder.

    It answers for clips of consecutive frames at the centre of a short side of 256, as its authors test (S0).

    Args:
        path: their file, a path or URI.
        dataset: gives the names of the classes; the authors number them in the official order, as we do.
        out: folder, a path or URI.

    Returns:
        The network that it is.

    Raises:
        UserError: not such a file, or of another number of classes than the data set.
    """
    try:
        with local_copy(path) as file:
            state = read_published(file)
        config = published_config(state)
        with torch.device("meta"):
            model = build_model(config)
        model.to_empty(device="cpu")
        load_published(model, state)
    except ValueError as error:
        raise UserError(str(error)) from error
    if config.classes != len(dataset.classes):
        what, fix = "The network is of other classes than the data set", "give the data set that it was trained on"
        got, allowed = f"{config.classes} classes", f"the {len(dataset.classes)} of {dataset.name}"
        raise UserError(problem(what, got=got, allowed=allowed, fix=fix))
    recipe = Recipe(
        name=f"authors_r{config.depth}",
        data=DataConfig(root=dataset.root),
        clip=ClipConfig(frames=config.frames, sampling="dense", size=224, short_side=256),
        model=config,
        init=InitConfig(source="authors", path=path),
    )
    snapshot = checkpoint.Snapshot(
        step=0,
        reason="imported",
        model=dict(model.state_dict()),
        optimizer={},
        recipe=to_dict(recipe),
        plan={},
        passport=UNKNOWN,
        passport_parts={},
        classes=dataset.classes,
        mlflow_run_id="",
    )
    checkpoint.write(out, snapshot)
    return config
