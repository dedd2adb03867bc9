"""A network small enough to reason about, and micro-batches of the feed's type."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.train.step import StepSettings


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
