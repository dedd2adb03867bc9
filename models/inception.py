"""Inception-V3 for any number of input channels and any width; layers are named as in torchvision, whose weights fit.

Source: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", as torchvision built it.
N images, C channels, h and w places. Outputs of the layers for 299 x 299 images at width 1:

| layer                          | channels         | places  |
|--------------------------------|------------------|---------|
| Conv2d_1a, 2a, 2b              | 32, 32, 64       | 149-147 |
| maxpool1, Conv2d_3b, Conv2d_4a | 64, 80, 192      | 73-71   |
| maxpool2, Mixed_5b to 5d       | 192, 256, 288    | 35      |
| Mixed_6a to 6e                 | 768              | 17      |
| Mixed_7a, 7b, 7c               | 1280, 2048, 2048 | 8       |

Nothing here touches the colours of the input: torchvision's `transform_input`, which rebuilds a three-channel image
from whatever it is given, has no counterpart. Inputs are normalised by (x / 255 - 0.5) / 0.5, as its weights expect.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from models.config import INCEPTION_AUX_MIN_SIZE

LAYERS = (
    "Conv2d_1a_3x3",
    "Conv2d_2a_3x3",
    "Conv2d_2b_3x3",
    "maxpool1",
    "Conv2d_3b_1x1",
    "Conv2d_4a_3x3",
    "maxpool2",
    "Mixed_5b",
    "Mixed_5c",
    "Mixed_5d",
    "Mixed_6a",
    "Mixed_6b",
    "Mixed_6c",
    "Mixed_6d",
    "Mixed_6e",
    "Mixed_7a",
    "Mixed_7b",
    "Mixed_7c",
)
"""The layers of the trunk in the order in which they run."""

LAST = LAYERS[-1]
"""The layer whose output the classifier averages."""

AUX_LAYER = "Mixed_6e"
"""The layer whose output the auxiliary head classifies."""


class Unit(NamedTuple):
    """One convolution of a block."""

    name: str
    channels: int
    """Output channels at width 1."""
    kernel: tuple[int, int]
    stride: int = 1


class Branch(NamedTuple):
    """One way through a block: perhaps a 3x3 pool, then steps. Units of one step run side by side on the same input."""

    pool: Literal["", "avg", "max"]
    steps: tuple[tuple[Unit, ...], ...]


def _branch(*units: Unit, pool: Literal["", "avg", "max"] = "") -> Branch:
    return Branch(pool, tuple((unit,) for unit in units))


def _block_a(pooled: int) -> list[Branch]:
    return [
        _branch(Unit("branch1x1", 64, (1, 1))),
        _branch(Unit("branch5x5_1", 48, (1, 1)), Unit("branch5x5_2", 64, (5, 5))),
        _branch(
            Unit("branch3x3dbl_1", 64, (1, 1)),
            Unit("branch3x3dbl_2", 96, (3, 3)),
            Unit("branch3x3dbl_3", 96, (3, 3)),
        ),
        _branch(Unit("branch_pool", pooled, (1, 1)), pool="avg"),
    ]


def _block_b() -> list[Branch]:
    return [
        _branch(Unit("branch3x3", 384, (3, 3), 2)),
        _branch(
            Unit("branch3x3dbl_1", 64, (1, 1)),
            Unit("branch3x3dbl_2", 96, (3, 3)),
            Unit("branch3x3dbl_3", 96, (3, 3), 2),
        ),
        _branch(pool="max"),
    ]


def _block_c(inner: int) -> list[Branch]:
    return [
        _branch(Unit("branch1x1", 192, (1, 1))),
        _branch(
            Unit("branch7x7_1", inner, (1, 1)),
            Unit("branch7x7_2", inner, (1, 7)),
            Unit("branch7x7_3", 192, (7, 1)),
        ),
        _branch(
            Unit("branch7x7dbl_1", inner, (1, 1)),
            Unit("branch7x7dbl_2", inner, (7, 1)),
            Unit("branch7x7dbl_3", inner, (1, 7)),
            Unit("branch7x7dbl_4", inner, (7, 1)),
            Unit("branch7x7dbl_5", 192, (1, 7)),
        ),
        _branch(Unit("branch_pool", 192, (1, 1)), pool="avg"),
    ]


def _block_d() -> list[Branch]:
    return [
        _branch(Unit("branch3x3_1", 192, (1, 1)), Unit("branch3x3_2", 320, (3, 3), 2)),
        _branch(
            Unit("branch7x7x3_1", 192, (1, 1)),
            Unit("branch7x7x3_2", 192, (1, 7)),
            Unit("branch7x7x3_3", 192, (7, 1)),
            Unit("branch7x7x3_4", 192, (3, 3), 2),
        ),
        _branch(pool="max"),
    ]


def _block_e() -> list[Branch]:
    def fork(name: str, a: str, b: str) -> tuple[Unit, Unit]:
        return Unit(f"{name}_{a}", 384, (1, 3)), Unit(f"{name}_{b}", 384, (3, 1))

    return [
        _branch(Unit("branch1x1", 320, (1, 1))),
        Branch("", ((Unit("branch3x3_1", 384, (1, 1)),), fork("branch3x3", "2a", "2b"))),
        Branch(
            "",
            (
                (Unit("branch3x3dbl_1", 448, (1, 1)),),
                (Unit("branch3x3dbl_2", 384, (3, 3)),),
                fork("branch3x3dbl", "3a", "3b"),
            ),
        ),
        _branch(Unit("branch_pool", 192, (1, 1)), pool="avg"),
    ]


def scaled(channels: int, width: float) -> int:
    """Channels of a layer that has `channels` at width 1: a multiple of 8, at least 8."""
    return max(8, round(channels * width / 8) * 8)


class ConvUnit(nn.Module):
    """Convolution without bias, batch norm, ReLU.

    `padded` keeps the number of places at stride 1; otherwise the convolution stays inside the image.
    """

    def __init__(
        self, channels_in: int, channels: int, kernel: tuple[int, int], stride: int = 1, *, padded: bool = False
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(channels_in, channels, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=0.001)

    def forward(self, x_NChw: Tensor) -> Tensor:
        """Convolve, normalise, rectify."""
        return nn.functional.relu(self.bn(self.conv(x_NChw)), inplace=True)


class Mixed(nn.Module):
    """An Inception block: its branches see the same input, and their outputs are joined on the channel axis.

    `channels` is what it returns. A pool without stride is padded to keep the places, as the branches beside it do.
    """

    def __init__(self, channels_in: int, branches: Sequence[Branch], width: float) -> None:
        super().__init__()
        self.branches = tuple(branches)
        self.channels = 0
        for branch in self.branches:
            channels = channels_in
            for step in branch.steps:
                for unit in step:
                    conv = ConvUnit(
                        channels, scaled(unit.channels, width), unit.kernel, unit.stride, padded=unit.stride == 1
                    )
                    self.add_module(unit.name, conv)
                channels = sum(scaled(unit.channels, width) for unit in step)
            self.channels += channels

    def forward(self, x_NChw: Tensor) -> Tensor:
        """Run every branch and join."""
        return torch.cat([self._run(branch, x_NChw) for branch in self.branches], dim=1)

    def _run(self, branch: Branch, x_NChw: Tensor) -> Tensor:
        if branch.pool == "avg":
            x_NChw = nn.functional.avg_pool2d(x_NChw, 3, stride=1, padding=1)
        elif branch.pool == "max":
            x_NChw = nn.functional.max_pool2d(x_NChw, 3, stride=2)
        for step in branch.steps:
            outputs = [self.get_submodule(unit.name)(x_NChw) for unit in step]
            x_NChw = torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]
        return x_NChw


class AuxHead(nn.Module):
    """The classifier on the way: Mixed_6e's output to logits, in training only."""

    def __init__(self, channels_in: int, classes: int, width: float) -> None:
        super().__init__()
        channels = scaled(768, width)
        self.conv0 = ConvUnit(channels_in, scaled(128, width), (1, 1))
        self.conv1 = ConvUnit(scaled(128, width), channels, (5, 5))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x_NChw: Tensor) -> Tensor:
        """Pool 5x5 by 3, convolve 1x1 and 5x5, average, classify."""
        if min(x_NChw.shape[-2:]) < 17:
            raise ValueError(
                f"The auxiliary head's 5x5 convolution does not fit. Received: {tuple(x_NChw.shape[-2:])} places at "
                f"{AUX_LAYER}. Allowed: at least 17 x 17, so images of at least {INCEPTION_AUX_MIN_SIZE}. Fix: set a "
                "larger size, or aux_head=false."
            )
        y_NChw = self.conv1(self.conv0(nn.functional.avg_pool2d(x_NChw, 5, stride=3)))
        logits_NK: Tensor = self.fc(y_NChw.mean(dim=(2, 3)))
        return logits_NK


class Inception(nn.Module):
    """Inception-V3: images N,C,H,W to features at any layer, and features at the last layer to logits.

    Args:
        in_channels: channels of an image.
        classes: K.
        width: share of the published channels; see `scaled`.
        dropout: before the last linear layer.
        aux_head: build the auxiliary classifier.
    """

    def __init__(
        self, in_channels: int, classes: int, *, width: float = 1.0, dropout: float = 0.5, aux_head: bool = False
    ) -> None:
        super().__init__()
        self._stem(in_channels, width)
        channels = scaled(192, width)
        for name, branches in (
            ("Mixed_5b", _block_a(32)),
            ("Mixed_5c", _block_a(64)),
            ("Mixed_5d", _block_a(64)),
            ("Mixed_6a", _block_b()),
            ("Mixed_6b", _block_c(128)),
            ("Mixed_6c", _block_c(160)),
            ("Mixed_6d", _block_c(160)),
            ("Mixed_6e", _block_c(192)),
            ("Mixed_7a", _block_d()),
            ("Mixed_7b", _block_e()),
            ("Mixed_7c", _block_e()),
        ):
            block = Mixed(channels, branches, width)
            self.add_module(name, block)
            channels = block.channels
            if name == AUX_LAYER:  # here and not at the end: state dicts keep torchvision's order
                self.AuxLogits = AuxHead(channels, classes, width) if aux_head else None
        self.channels = channels
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, classes)
        _first_weights(self)

    def _stem(self, in_channels: int, width: float) -> None:
        c32, c64, c80, c192 = (scaled(channels, width) for channels in (32, 64, 80, 192))
        self.Conv2d_1a_3x3 = ConvUnit(in_channels, c32, (3, 3), 2)
        self.Conv2d_2a_3x3 = ConvUnit(c32, c32, (3, 3))
        self.Conv2d_2b_3x3 = ConvUnit(c32, c64, (3, 3), padded=True)
        self.maxpool1 = nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = ConvUnit(c64, c80, (1, 1))
        self.Conv2d_4a_3x3 = ConvUnit(c80, c192, (3, 3))
        self.maxpool2 = nn.MaxPool2d(3, stride=2)

    def features(self, x_NChw: Tensor, *, after: str = "", until: str = LAST) -> Tensor:
        """Run the layers behind `after` (empty: from the image on) up to and with `until`.

        Args:
            x_NChw: an image N,`in_channels`,H,W, or the output of layer `after`.
            after: a name in `LAYERS`, or empty.
            until: a name in `LAYERS`.

        Returns:
            The output of layer `until`.
        """
        first = LAYERS.index(after) + 1 if after else 0
        for name in LAYERS[first : LAYERS.index(until) + 1]:
            x_NChw = self.get_submodule(name)(x_NChw)
        return x_NChw

    def scores(self, features_NChw: Tensor) -> Tensor:
        """Classify the output of the last layer: average over places, dropout, linear; logits N,K."""
        logits_NK: Tensor = self.fc(self.dropout(features_NChw.mean(dim=(2, 3))))
        return logits_NK

    def forward(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits N,K and the auxiliary logits N,K, which are None outside of training or without that head."""
        x_NChw = self.features(x_NCHW, until=AUX_LAYER)
        aux_NK = self.AuxLogits(x_NChw) if self.AuxLogits is not None and self.training else None
        return self.scores(self.features(x_NChw, after=AUX_LAYER)), aux_NK


def _first_weights(network: Inception) -> None:
    """Draw He's normal weights (fan out) for convolutions; linear layers as TSN's: deviation 0.001, bias zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.001)
            nn.init.zeros_(layer.bias)
