"""The parts that 3D networks are made of: residual blocks, a checkpointed sequence, initial weights, input checks.

Shape letters, used as suffixes: B batch, C channel, T frame of the clip, H height, W width, K class.
No layer here ever strides over time: frame t of the clip stays frame t of every feature map.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


class Backbone(NamedTuple):
    """A network cut where the attention branch attaches: what is before the cut, and how to build what comes after."""

    extractor: nn.Module
    """Clip B,3,T,H,W to features B,`channels`,T,h,w."""

    channels: int
    """Channels of the features."""

    stage_channels: int
    """Channels after the last stage, on either branch."""

    attention_stage: Callable[[], nn.Module]
    """Builds the last stage again without its spatial reduction, for the attention branch."""

    perception: Callable[[int], nn.Module]
    """Builds the rest of the network for that many input channels: features to logits B,K. Its `stage` is the
    last stage, with the layers of `attention_stage`."""


def conv3d(channels_in: int, channels_out: int, kernel: tuple[int, int, int], stride: int = 1) -> nn.Conv3d:
    """A 3D convolution without bias that keeps T, and divides H and W by `stride`."""
    time, height, width = kernel
    return nn.Conv3d(
        channels_in,
        channels_out,
        kernel,
        stride=(1, stride, stride),
        padding=(time // 2, height // 2, width // 2),
        bias=False,
    )


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    projection = nn.Sequential()
    projection.add_module("conv", conv3d(channels_in, channels_out, (1, 1, 1), stride))
    projection.add_module("bn", nn.BatchNorm3d(channels_out))
    return projection


class BasicBlock3d(nn.Module):
    """Two convolutions, (kt,3,3) then (1,3,3), and a shortcut: the block of the 10-, 18- and 34-layer networks.

    Shape: B,`channels_in`,T,H,W to B,`planes`,T,H/stride,W/stride.
    """

    expansion: ClassVar[int] = 1

    def __init__(self, channels_in: int, planes: int, stride: int, kernel_t: int) -> None:
        super().__init__()
        self.conv_a = conv3d(channels_in, planes, (kernel_t, 3, 3), stride)
        self.bn_a = nn.BatchNorm3d(planes)
        self.conv_b = conv3d(planes, planes, (1, 3, 3))
        self.bn_b = nn.BatchNorm3d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = _shortcut(channels_in, planes, stride)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Convolve, add the shortcut, rectify."""
        y_BCTHW = self.relu(self.bn_a(self.conv_a(x_BCTHW)))
        y_BCTHW = self.bn_b(self.conv_b(y_BCTHW))
        y_BCTHW += self.shortcut(x_BCTHW)
        out_BCTHW: Tensor = self.relu(y_BCTHW)
        return out_BCTHW


class Bottleneck3d(nn.Module):
    """Convolutions (kt,1,1), (1,3,3), (1,1,1) and a shortcut: the block of the 50- and 101-layer networks.

    The spatial stride sits on the middle convolution, as in torchvision's ResNet, whose weights fit.

    Shape: B,`channels_in`,T,H,W to B,4*`planes`,T,H/stride,W/stride.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, channels_in: int, planes: int, stride: int, kernel_t: int) -> None:
        super().__init__()
        channels_out = planes * self.expansion
        self.conv_a = conv3d(channels_in, planes, (kernel_t, 1, 1))
        self.bn_a = nn.BatchNorm3d(planes)
        self.conv_b = conv3d(planes, planes, (1, 3, 3), stride)
        self.bn_b = nn.BatchNorm3d(planes)
        self.conv_c = conv3d(planes, channels_out, (1, 1, 1))
        self.bn_c = nn.BatchNorm3d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = _shortcut(channels_in, channels_out, stride)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Convolve, add the shortcut, rectify."""
        y_BCTHW = self.relu(self.bn_a(self.conv_a(x_BCTHW)))
        y_BCTHW = self.relu(self.bn_b(self.conv_b(y_BCTHW)))
        y_BCTHW = self.bn_c(self.conv_c(y_BCTHW))
        y_BCTHW += self.shortcut(x_BCTHW)
        out_BCTHW: Tensor = self.relu(y_BCTHW)
        return out_BCTHW


class Stage(nn.Sequential):
    """Blocks in a row; with `checkpointing`, only each block's input is kept and the rest recomputed in the backward.

    Args:
        blocks: modules that take and return one tensor.
        checkpointing: trade about a third more compute for the memory of the blocks' inner activations.
        draws: the blocks draw random numbers, which recomputing must draw again.
    """

    def __init__(self, *blocks: nn.Module, checkpointing: bool, draws: bool = False) -> None:
        super().__init__(*blocks)
        self.checkpointing = checkpointing
        self.draws = draws

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Run the blocks in order."""
        for block in self:
            recompute = self.checkpointing and torch.is_grad_enabled()
            x_BCTHW = _recomputed(block, x_BCTHW, self.draws) if recompute else block(x_BCTHW)
        return x_BCTHW


def _recomputed(block: nn.Module, x_BCTHW: Tensor, draws: bool) -> Tensor:
    # A compiled graph writes its buffers once, at the end of the forward; eager recomputation would write them again.
    y_BCTHW: Tensor
    if torch.compiler.is_compiling():
        y_BCTHW = checkpoint(block, x_BCTHW, use_reentrant=False, preserve_rng_state=draws)
        return y_BCTHW

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _RunningStatisticsKept(block)

    y_BCTHW = checkpoint(block, x_BCTHW, use_reentrant=False, preserve_rng_state=draws, context_fn=contexts)
    return y_BCTHW


class _RunningStatisticsKept:
    """Lets batch norm use the batch's statistics, as in the forward, without adding them to the running ones again.

    Entered once for every backward pass through the block, so not a generator-based context, which works once.
    """

    def __init__(self, block: nn.Module) -> None:
        self.norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
        self.before: list[tuple[float | None, Tensor | None]] = []

    def __enter__(self) -> None:
        self.before = [(norm.momentum, norm.num_batches_tracked) for norm in self.norms]
        for norm in self.norms:
            norm.momentum = 0.0
            norm.num_batches_tracked = None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()

    def __exit__(self, *_: object) -> None:
        for norm, (momentum, tracked) in zip(self.norms, self.before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked


def init_convolutions(module: nn.Module) -> None:
    """Give every convolution of `module` He's normal weights (fan out), and every batch norm the identity."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, _BatchNorm):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


def classifier(features: int, classes: int) -> nn.Linear:
    """A last linear layer: weights normal with deviation 0.01, bias zero, so that training starts near chance."""
    linear = nn.Linear(features, classes)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return linear


def check_clip(x_BCTHW: Tensor, frames: int) -> None:
    """Refuse anything but normalised clips of the configured length.

    Raises:
        ValueError: wrong rank, channels, number of frames, or an integer type.
    """
    shape = tuple(x_BCTHW.shape)
    if x_BCTHW.dim() != 5:
        raise ValueError(
            f"The network takes a batch of clips. Received: shape {shape}. Allowed: 5 axes, B,3,T,H,W. "
            "Fix: add the batch axis, or move the axes into this order."
        )
    if shape[1] != 3:
        raise ValueError(
            f"A clip has 3 colour channels on axis 1. Received: shape {shape}. Allowed: B,3,T,H,W. "
            "Fix: permute B,T,H,W,C to B,C,T,H,W."
        )
    if shape[2] != frames:
        raise ValueError(
            f"The network was built for another clip length. Received: T={shape[2]} in shape {shape}. "
            f"Allowed: T={frames}. Fix: set model.frames and clip.frames to the same number."
        )
    if not x_BCTHW.is_floating_point():
        raise ValueError(
            f"The network takes normalised clips. Received: {x_BCTHW.dtype}. Allowed: a floating-point type. Fix: "
            "subtract the mean and divide by the deviation first."
        )
