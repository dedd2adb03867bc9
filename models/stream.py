"""One stream: Inception-V3 on frames or stacks of flow, beside which the other stream's attention map is a channel.

Source: the two-stream thesis (S3); where it is silent, docs/decisions/0007. Letters: B video, G segment or view, N all
segments of all videos, C channel, H and W of the image, h and w of the feature map, K class.

    frame or flow, map -> to_input -> x -> features (Mixed_7c) -> scores -> logits of each segment -> mean
"""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.config import StreamConfig
from models.inception import Inception
from models.outputs import StreamOutput


class StreamNet(nn.Module):
    """A stream of the two-stream network, spatial or temporal, with or without an attention channel.

    Args:
        config: the stream. Weights follow torch's global random state; inside `torch.device("meta")` none are drawn.
    """

    def __init__(self, config: StreamConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Inception(
            config.in_channels, config.classes, width=config.width, dropout=config.dropout, aux_head=config.aux_head
        )
        if config.partial_bn:
            for norm in self.frozen_norms():
                norm.requires_grad_(False)
            self.train(self.training)

    @property
    def feature_channels(self) -> int:
        """Channels of the last layer's features: 2048 at width 1."""
        return self.trunk.channels

    def frozen_norms(self) -> list[_BatchNorm]:
        """Batch norms that training leaves as they are: with `partial_bn` all but the first, otherwise none."""
        norms = [layer for layer in self.modules() if isinstance(layer, _BatchNorm)]
        return norms[1:] if self.config.partial_bn else []

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; frozen batch norms use their running statistics in both."""
        super().train(mode)
        for norm in self.frozen_norms():
            norm.eval()
        return self

    def features(self, x_NCHW: Tensor) -> Tensor:
        """Extract Mixed_7c's output, N,`feature_channels`,h,w: 8 x 8 places for 299 x 299 images.

        Raises:
            ValueError: images of another size or number of channels.
        """
        check_images(x_NCHW, self.config)
        return self.trunk.features(x_NCHW)

    def scores(self, features_NChw: Tensor) -> Tensor:
        """Classify `features`: logits N,K, before the softmax."""
        return self.trunk.scores(features_NChw)

    def forward(self, x_BGCHW: Tensor) -> StreamOutput:
        """Recognise videos from some of their segments.

        Args:
            x_BGCHW: from `to_input`; any number of segments.

        Returns:
            Logits of the videos, of their segments, and of the auxiliary head while it is trained.

        Raises:
            ValueError: an input of another shape.
        """
        if x_BGCHW.dim() != 5:
            raise ValueError(
                f"A stream takes segments of videos. Received: shape {tuple(x_BGCHW.shape)}. Allowed: 5 axes, "
                "B,G,C,H,W. Fix: add the segment axis, of length 1 for one segment a video."
            )
        x_NCHW = x_BGCHW.flatten(0, 1)
        check_images(x_NCHW, self.config)
        logits_NK, aux_NK = self.trunk(x_NCHW)
        logits_BGK = logits_NK.unflatten(0, x_BGCHW.shape[:2])
        aux_BK = None if aux_NK is None else aux_NK.unflatten(0, x_BGCHW.shape[:2]).mean(dim=1)
        return StreamOutput(logits_BGK.mean(dim=1), logits_BGK, aux_BK)


def to_input(
    x_BGHWC: Tensor,
    attention: Tensor | float | None,
    config: StreamConfig,
    *,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
) -> Tensor:
    """Normalise frames or flow and append the attention map, on the device that holds the pixels.

    Image channels become (x / 255 - 0.5) / 0.5, in [-1, 1]; the map stays in [0, 1].

    Args:
        x_BGHWC: uint8; RGB, or 2m channels of flow as 8-bit values, interleaved: u of the first flow, v of the first,
            u of the second. Not written to.
        attention: the other stream's maps B,G,1,H,W in [0, 1], cropped and flipped as the pixels are (`crop_maps`), or
            one number for every place; None for a stream without attention channel.
        config: the stream that the input is for.
        dtype: of the result.
        channels_last: lay each image out as H,W,C, torch's channels_last.

    Returns:
        x_BGCHW: `config.in_channels` channels, the map last.

    Raises:
        ValueError: pixels of the wrong type or shape, maps of another shape or integer maps, a map for a stream without
            attention channel or none for one with it.
    """
    _check_pixels(x_BGHWC, config)
    batch, segments, height, width, channels = x_BGHWC.shape
    _check_attention(attention, config, (batch, segments, 1, height, width))
    x_NCHW = torch.empty(
        (batch * segments, config.in_channels, height, width),
        dtype=dtype,
        device=x_BGHWC.device,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
    )
    # In float32 first: bf16 would round the bytes before the shift.
    pixels_NHWC = x_BGHWC.flatten(0, 1).float().div_(127.5).sub_(1)
    x_NCHW[:, :channels] = pixels_NHWC.permute(0, 3, 1, 2)
    if isinstance(attention, Tensor):
        x_NCHW[:, channels:] = attention.flatten(0, 1)
    elif attention is not None:
        x_NCHW[:, channels:] = attention
    return x_NCHW.view(batch, segments, *x_NCHW.shape[1:])


def check_images(x_NCHW: Tensor, config: StreamConfig) -> None:
    """Refuse anything but this stream's images.

    Raises:
        ValueError: wrong rank, channels or size, or an integer type.
    """
    shape = tuple(x_NCHW.shape)
    if x_NCHW.dim() != 4 or shape[1:] != (config.in_channels, config.size, config.size):
        raise ValueError(
            f"The {config.stream} stream was built for other images. Received: shape {shape}. Allowed: N,"
            f"{config.in_channels},{config.size},{config.size} ({config.image_channels} image channels"
            f"{' and the attention map' if config.attention_channel else ', no attention map'}). Fix: make the input "
            "with to_input and the network's own config."
        )
    if not x_NCHW.is_floating_point():
        raise ValueError(
            f"The network takes normalised images. Received: {x_NCHW.dtype}. Allowed: a floating-point type. Fix: make "
            "the input with to_input."
        )


def _check_pixels(x_BGHWC: Tensor, config: StreamConfig) -> None:
    shape = tuple(x_BGHWC.shape)
    if x_BGHWC.dim() != 5 or shape[2:] != (config.size, config.size, config.image_channels):
        raise ValueError(
            f"The {config.stream} stream sees other pixels. Received: shape {shape}. Allowed: B,G,{config.size},"
            f"{config.size},{config.image_channels}, colours or flows last. Fix: match the crop size and flow_stack to "
            "the stream's config."
        )
    if x_BGHWC.dtype != torch.uint8:
        raise ValueError(
            f"Pixels come as bytes, and are normalised here. Received: {x_BGHWC.dtype}. Allowed: torch.uint8. Fix: "
            "give the stored frames or the quantised flow."
        )


def _check_attention(attention: Tensor | float | None, config: StreamConfig, allowed: tuple[int, ...]) -> None:
    if (attention is not None) != config.attention_channel:
        raise ValueError(
            f"A stream with attention channel needs a map, one without has no place for it. Received: attention "
            f"{'None' if attention is None else 'given'}, attention_channel={config.attention_channel}. Fix: give None "
            "for a baseline, START_ATTENTION where there is no map yet."
        )
    if isinstance(attention, Tensor) and (tuple(attention.shape) != allowed or not attention.is_floating_point()):
        raise ValueError(
            f"Attention maps must cover the pixels beside them. Received: {attention.dtype} of shape "
            f"{tuple(attention.shape)}. Allowed: floating point in [0, 1] of shape {allowed}. Fix: make them with "
            "crop_maps, by the box of the pixels."
        )
