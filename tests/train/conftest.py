"""A network small enough to reason about, and micro-batches of the feed's type."""

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.train.clip_task import ClipTask
from pipeline.train.recipe import Recipe
from pipeline.train.task import StepSettings


class Output(NamedTuple):
    logits_BK: torch.Tensor
    att_logits_BK: torch.Tensor | None


class Batch(NamedTuple):
    x_BTHWC: torch.Tensor
    label_B: torch.Tensor
    ids: tuple[str, ...]
    step: int
    epoch: int
    micro: int
    samples_in_step: int


class TwoHeads(nn.Module):
    """A convolution, batch norm, dropout, and two linear heads."""

    def __init__(self, classes=5, dropout=0.0, two=True):
        super().__init__()
        self.conv = nn.Conv3d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm3d(4)
        self.drop = nn.Dropout(dropout)
        self.perception = nn.Linear(4, classes)
        self.attention = nn.Linear(4, classes) if two else None

    def forward(self, x_BCTHW):
        h_BC = self.drop(torch.relu(self.norm(self.conv(x_BCTHW))).mean((2, 3, 4)))
        return Output(self.perception(h_BC), self.attention(h_BC) if self.attention else None)


@pytest.fixture
def network():
    def build(**options):
        torch.manual_seed(0)
        return TwoHeads(**options)

    return build


@pytest.fixture
def task():
    """Losses and counts of clips do not depend on the recipe."""
    return ClipTask(Recipe(name="r"))


@pytest.fixture
def make_batch():
    def build(clips, *, seed=0, step=0, epoch=0, micro=0, samples_in_step=None, classes=5):
        rng = np.random.default_rng(seed)
        return Batch(
            x_BTHWC=torch.from_numpy(rng.integers(0, 256, (clips, 2, 6, 6, 3), dtype=np.uint8)),
            label_B=torch.from_numpy(rng.integers(0, classes, clips)),
            ids=tuple(f"{seed}-{i}" for i in range(clips)),
            step=step,
            epoch=epoch,
            micro=micro,
            samples_in_step=samples_in_step or clips,
        )

    return build


@pytest.fixture
def settings():
    def build(**changes):
        values = {
            "device": torch.device("cpu"),
            "precision": "fp32",
            "channels_last": False,
            "accumulate": 1,
            "clip_norm": 0.0,
            "seed": 0,
            "rank": 0,
            "world": 1,
        }
        return StepSettings(**(values | changes))

    return build


@pytest.fixture(scope="session")
def cluster():
    """A cluster made by the jobs' own `connect`, apart from any other on the machine."""
    import ray

    from pipeline.core.ray_session import connect

    folder = tempfile.mkdtemp(prefix="star-", dir="/tmp")  # short: sockets lie in it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_AUTH_MODE", "disabled")  # no token in the home folder of whoever runs the tests
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
        patch.delenv("RAY_ADDRESS", raising=False)
        ray.shutdown()  # another area's cluster, should it still be up
        connect(4.0)
        yield
        ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def fit():
    """programs/fit.py as a module whose classes travel to workers, which cannot import it, by value."""
    from ray import cloudpickle

    path = Path(__file__).parent / "programs" / "fit.py"
    spec = importlib.util.spec_from_file_location("fit", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fit"] = module
    spec.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)
    return module
