"""Sealed batches about the tiny videos, recipes that learn from them, and batches without a feed."""

import numpy as np
import pytest
import torch

from pipeline.annotate.batches import BatchRow, write_batch
from pipeline.core import storage
from pipeline.data.feed.batches import Batch
from pipeline.eval.load import recipe_of
from pipeline.finetune.recipe import derive
from pipeline.train import checkpoint
from pipeline.train.task import StepSettings


def edit_row(video, frames, label, **values):
    """A row of a sealed batch; scores are 0.5 on every frame, set by hand."""
    known = {
        "video_id": video,
        "dataset": "folder",
        "label": label,
        "num_frames": frames,
        "fps": 12.0,
        "scores": (0.5,) * frames,
        "source": (0,) * frames,
        "init": "blank",
        "annotators": ("p1",),
        "n_annotators": 1,
        "kappa": None,
        "decision": "single",
        "model_version_shown": "m",
        "editor_version": "1",
        "submitted_at": 1.0,
        "seconds_spent": 20.0,
    }
    return BatchRow(**(known | values))


@pytest.fixture
def row():
    return edit_row


@pytest.fixture
def sealed(tmp_path):
    """A function that writes rows as a sealed batch and returns its folder."""

    def seal(*rows, **facts):
        manifest = write_batch(str(tmp_path / "batches"), rows, facts)
        return storage.join(str(tmp_path / "batches"), manifest["batch"])

    return seal


@pytest.fixture
def recipe_from(tiny_checkpoint):
    """A function from sealed batches to the recipe of a fine-tuning of the tiny checkpoint, or of another."""

    def derived(*batches, gamma_t=10.0, gamma_s=0.0, base=tiny_checkpoint):
        return derive(recipe_of(checkpoint.read(base)), base, batches, gamma_t=gamma_t, gamma_s=gamma_s)

    return derived


@pytest.fixture
def make_batch():
    """Noise under given ids, clip frames 0 to 7 unless `idx_BT` says otherwise."""

    def build(ids, *, idx_BT=None, valid_BT=None, samples_in_step=None, step=0, seed=0):
        rng = np.random.default_rng(seed)
        idx_BT = np.tile(np.arange(8), (len(ids), 1)) if idx_BT is None else np.asarray(idx_BT)
        valid_BT = np.ones(idx_BT.shape, bool) if valid_BT is None else np.asarray(valid_BT)
        return Batch(
            x_BTHWC=torch.from_numpy(rng.integers(0, 256, (len(ids), 8, 32, 32, 3), dtype=np.uint8)),
            label_B=torch.from_numpy(rng.integers(0, 3, len(ids))),
            idx_BT=torch.from_numpy(idx_BT.astype(np.int32)),
            valid_BT=torch.from_numpy(valid_BT),
            ids=tuple(ids),
            step=step,
            epoch=0,
            micro=0,
            samples_in_step=samples_in_step or len(ids),
        )

    return build


@pytest.fixture
def settings():
    def build(**changes):
        values = {"device": torch.device("cpu"), "precision": "fp32", "channels_last": False, "accumulate": 1}
        values |= {"clip_norm": 20.0, "seed": 0, "rank": 0, "world": 1}
        return StepSettings(**(values | changes))

    return build
