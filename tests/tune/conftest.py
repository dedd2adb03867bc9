"""Sealed batches about the tiny videos, and recipes that learn from them."""

import pytest

from pipeline.annotate.batches import BatchRow, write_batch
from pipeline.core import storage
from pipeline.core.config import override
from pipeline.eval.load import recipe_of
from pipeline.finetune.recipe import derive
from pipeline.train import checkpoint

SHARED = {
    "dataset": "folder",
    "fps": 12.0,
    "init": "blank",
    "annotators": ("p",),
    "n_annotators": 1,
    "kappa": None,
    "decision": "single",
    "model_version_shown": "m",
    "editor_version": "1",
    "seconds_spent": 1.0,
    "submitted_at": 1.0,
}


@pytest.fixture(scope="session")
def batch(tmp_path_factory):
    """A sealed batch: train-0 to learn from, train-1 held out; classes 0 and 1 are edited."""
    rows = [
        BatchRow(
            **SHARED,
            video_id=video,
            label=label,
            num_frames=frames,
            scores=tuple(float(t >= frames // 2) for t in range(frames)),
            source=(0,) * frames,
            split=split,
        )
        for video, label, frames, split in (("train-0", 0, 12, "train"), ("train-1", 1, 9, "heldout_edit"))
    ]
    root = str(tmp_path_factory.mktemp("batches"))
    return storage.join(root, write_batch(root, rows, {})["batch"])


@pytest.fixture(scope="session")
def overrides():
    """Two epochs of one step, on little."""
    small = ("train.epochs=2", "compute.data_cpus=0", "compute.cpus_per_worker=0.5", "optim.lr=0.01")
    return (*small, "tracking.experiment=tune")


@pytest.fixture(scope="session")
def recipe(tiny_checkpoint, batch, overrides):
    """A fine-tuning of the untrained tiny network."""
    base = recipe_of(checkpoint.read(tiny_checkpoint))
    return override(derive(base, tiny_checkpoint, [batch]), overrides)
