"""A stream and the attention net that shows it where to look, trained as one by the labels alone: no Grad-CAM.

    whole picture of the other stream, 0.1 -> other stream (frozen) -> features -> attention net -> map
    crop of this stream's picture, the map's part of it             -> this stream -> logits -> cross-entropy

The map is the one that a test makes: from the whole picture, by the first round's features, without a label. What moves
it is the loss of the stream that sees it. Neither thesis nor papers do this: docs/decisions/0020.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models import AttentionNet, StreamNet, StreamOutput
from models.attention_maps import START_ATTENTION, crop_maps
from models.config import StreamConfig
from models.stream import to_input
from pipeline.train.device import autocast
from pipeline.train.task import StepSettings
from pipeline.two_stream.networks import load_stream
from pipeline.two_stream.recipe import JointRecipe
from pipeline.two_stream.tasks import StreamTask, model_input

if TYPE_CHECKING:
    from pipeline.two_stream.feed import StreamBatch


class JointNet(nn.Module):
    """A frozen stream, the attention net on its features, and the other stream, which sees the map.

    Args:
        config: the stream that learns.
        other: the stream that gives the features.
        hidden: channels inside the attention net.
        kernel: of its second convolution.
    """

    def __init__(self, config: StreamConfig, other: StreamConfig, hidden: int, kernel: int) -> None:
        super().__init__()
        assert kernel in (1, 3), "checked by the recipe"
        self.other = StreamNet(other)
        self.attention = AttentionNet(self.other.feature_channels, hidden, 1 if kernel == 1 else 3)
        self.stream = StreamNet(config)
        # Training begins with the network that the first round left, which saw this value everywhere.
        assert self.attention.conv2.bias is not None, "made with one"
        nn.init.constant_(self.attention.conv2.bias, math.log(START_ATTENTION / (1 - START_ATTENTION)))

    def forward(
        self, whole_NCHW: Tensor, x_BGHWC: Tensor, box_BG4: Tensor, *, dtype: torch.dtype, channels_last: bool
    ) -> StreamOutput:
        """Recognise videos by crops of one stream's pictures and whole pictures of the other's, at the same places.

        Args:
            whole_NCHW: the other stream's, from `to_input` with 0.1 everywhere; N = B * G.
            x_BGHWC: uint8 crops.
            box_BG4: what of the picture each crop shows, as `crop_maps` takes it.
            dtype: of this stream's input.
            channels_last: memory layout of this stream's input.
        """
        with torch.no_grad():
            features_NChw = self.other.features(whole_NCHW)
        map_N1HW = crop_maps(self.attention(features_NChw), box_BG4.flatten(0, 1), self.stream.config.size)
        channel_BG1HW = torch.unflatten(map_N1HW, 0, x_BGHWC.shape[:2])
        x_BGCHW = to_input(x_BGHWC, channel_BG1HW, self.stream.config, dtype=dtype, channels_last=channels_last)
        output: StreamOutput = self.stream(x_BGCHW)
        return output


class JointTask(StreamTask):
    """Trains a stream and the attention net beside it; the stream under the attention net stays as it is.

    Args:
        recipe: names both streams' checkpoints and the attention net.
    """

    def __init__(self, recipe: JointRecipe) -> None:
        super().__init__(recipe)
        self._joint = recipe

    def build(self) -> nn.Module:
        """Return all three networks with randomly drawn weights."""
        joint = self._joint
        return JointNet(joint.model, joint.other, joint.hidden, joint.kernel)

    def first_weights(self, module: nn.Module, *, log: bool) -> None:
        """Give both streams the weights that the first round left; the attention net begins at random, near 0.1.

        Raises:
            UserError: a checkpoint cannot be read, or is another network's.
        """
        del log
        assert isinstance(module, JointNet), "a network of build()"
        module.stream.load_state_dict(load_stream(self._joint.init.path, self._joint.model).state_dict())
        module.other.load_state_dict(load_stream(self._joint.features, self._joint.other).state_dict())

    def train_mode(self, module: nn.Module) -> None:
        """Train but for the stream under the attention net, which answers as it will in tests."""
        assert isinstance(module, JointNet), "a network of build()"
        module.train()
        module.other.eval()

    def parameters(self, module: nn.Module) -> Iterable[nn.Parameter]:
        """Return those of the attention net, and of the stream all but what `partial_bn` freezes."""
        assert isinstance(module, JointNet), "a network of build()"
        return [*super().parameters(module.stream), *module.attention.parameters()]

    def _answer(self, network: nn.Module, batch: StreamBatch, settings: StepSettings) -> tuple[StreamOutput, Tensor]:
        """Return what the stream says about a batch under the attention net's maps, and the labels on its device."""
        assert batch.whole_BGHWC is not None, "the feed of a joint training gives the other stream's pictures"
        device = settings.device
        whole_BGHWC = batch.whole_BGHWC.to(device, non_blocking=True)
        whole_NCHW = model_input(whole_BGHWC, START_ATTENTION, self._joint.other, settings).flatten(0, 1)
        x_BGHWC, box_BG4 = (part.to(device, non_blocking=True) for part in (batch.x_BGHWC, batch.box_BG4))
        dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        with autocast(device, settings.precision):
            output: StreamOutput = network(
                whole_NCHW, x_BGHWC, box_BG4, dtype=dtype, channels_last=settings.channels_last
            )
        return output, batch.label_B.to(device, non_blocking=True)
