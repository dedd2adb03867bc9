"""The two-stream system at test time: two streams that show each other where to look, without knowing any answer.

Source: the two-stream thesis (S3). Each final network needs the map of the other stream, and a map needs the features
that the final network would give. A first round cuts the circle: its networks were trained with `START_ATTENTION`
everywhere, and see it here too (docs/decisions/0007).

    first round    frames, 0.1 -> first spatial  -> features -> attention net -> S
                   flow,   0.1 -> first temporal -> features -> attention net -> T
    final round    frames, T   -> spatial  -> softmax -> mean over views --+
                   flow,   S   -> temporal -> softmax -> mean over views --+-> weighted mean

No label, and nothing made from one, enters: `models.grad_cam` is not imported here. Letters: B video, G view (frame and
crop), N all views of all videos, H and W of the view, h and w of the feature map, C channel, K class.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from models.attention_maps import START_ATTENTION, resize_maps
from models.attention_net import AttentionNet
from models.outputs import TwoStreamOutput
from models.stream import StreamNet, to_input

FUSION = (1.0, 1.5)
"""Weights of the spatial and the temporal stream. The thesis gives none; these are TSN's (Wang et al. 2016)."""


class TwoStream(nn.Module):
    """Six trained networks as one recogniser, always in evaluation mode.

    Args:
        first_spatial: spatial stream of the first round.
        first_temporal: temporal stream of the first round.
        spatial_attention: first spatial features to S.
        temporal_attention: first temporal features to T.
        spatial: final spatial stream, trained with T.
        temporal: final temporal stream, trained with S.
        fusion: weights of the two streams' probabilities.
        at_once: views that go through the networks together.

    Raises:
        ValueError: networks that do not belong together.
    """

    def __init__(
        self,
        *,
        first_spatial: StreamNet,
        first_temporal: StreamNet,
        spatial_attention: AttentionNet,
        temporal_attention: AttentionNet,
        spatial: StreamNet,
        temporal: StreamNet,
        fusion: tuple[float, float] = FUSION,
        at_once: int = 64,
    ) -> None:
        super().__init__()
        _check_streams((("first_spatial", first_spatial), ("spatial", spatial)), "spatial")
        _check_streams((("first_temporal", first_temporal), ("temporal", temporal)), "temporal")
        _check_alike((first_spatial, first_temporal, spatial, temporal))
        _check_features(first_spatial, spatial_attention)
        _check_features(first_temporal, temporal_attention)
        _check_fusion(fusion)
        self.first_spatial = first_spatial
        self.first_temporal = first_temporal
        self.spatial_attention = spatial_attention
        self.temporal_attention = temporal_attention
        self.spatial = spatial
        self.temporal = temporal
        self.fusion = fusion
        self.at_once = at_once
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: every part is trained on its own, and dropout or batch statistics here are a bug."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def forward(
        self,
        rgb_BGHWC: Tensor,
        flow_BGHWC: Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> TwoStreamOutput:
        """Recognise videos, each by some views of its frames and, at the same places, of its flow.

        Args:
            rgb_BGHWC: uint8 frames.
            flow_BGHWC: uint8 stacks of flow, 2m channels as `to_input` takes them. View g of the flow starts at the
                frame of view g and shows the same crop: their maps are exchanged place by place.
            dtype: of the networks' inputs.
            channels_last: memory layout of the networks' inputs.

        Returns:
            Probabilities and both maps, float32.

        Raises:
            ValueError: inputs of the wrong shape or type, or views that do not pair.
        """
        batch, views = rgb_BGHWC.shape[:2]
        if flow_BGHWC.shape[:2] != (batch, views) or views == 0:
            raise ValueError(
                f"Every view of frames needs its view of flow. Received: frames {tuple(rgb_BGHWC.shape)}, flow "
                f"{tuple(flow_BGHWC.shape)}. Allowed: equal B and G, G at least 1. Fix: sample both at the same places."
            )
        rgb_N1HWC, flow_N1HWC = (x.flatten(0, 1).unsqueeze(1) for x in (rgb_BGHWC, flow_BGHWC))
        parts = [
            self._views(rgb_N1HWC[i : i + self.at_once], flow_N1HWC[i : i + self.at_once], dtype, channels_last)
            for i in range(0, batch * views, self.at_once)
        ]
        spatial_BGK, temporal_BGK, spatial_map_BGhw, temporal_map_BGhw = (
            torch.unflatten(torch.cat(part), 0, (batch, views)) for part in zip(*parts, strict=True)
        )
        spatial_BK, temporal_BK = spatial_BGK.mean(dim=1), temporal_BGK.mean(dim=1)
        fused_BK = fuse(spatial_BK, temporal_BK, self.fusion)
        return TwoStreamOutput(spatial_BK, temporal_BK, fused_BK, spatial_map_BGhw, temporal_map_BGhw)

    def _views(
        self, rgb_N1HWC: Tensor, flow_N1HWC: Tensor, dtype: torch.dtype, channels_last: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        def prepared(x_N1HWC: Tensor, attention: Tensor | float, net: StreamNet) -> Tensor:
            return to_input(x_N1HWC, attention, net.config, dtype=dtype, channels_last=channels_last)[:, 0]

        rgb_NCHW = prepared(rgb_N1HWC, START_ATTENTION, self.first_spatial)
        flow_NCHW = prepared(flow_N1HWC, START_ATTENTION, self.first_temporal)
        spatial_map_Nhw = self.spatial_attention(self.first_spatial.features(rgb_NCHW))
        temporal_map_Nhw = self.temporal_attention(self.first_temporal.features(flow_NCHW))
        size = self.spatial.config.size
        rgb_NCHW = prepared(rgb_N1HWC, resize_maps(temporal_map_Nhw, size).unsqueeze(1), self.spatial)
        flow_NCHW = prepared(flow_N1HWC, resize_maps(spatial_map_Nhw, size).unsqueeze(1), self.temporal)
        spatial_NK = self.spatial.scores(self.spatial.features(rgb_NCHW)).float().softmax(dim=1)
        temporal_NK = self.temporal.scores(self.temporal.features(flow_NCHW)).float().softmax(dim=1)
        return spatial_NK, temporal_NK, spatial_map_Nhw, temporal_map_Nhw


def fuse(spatial_BK: Tensor, temporal_BK: Tensor, weights: tuple[float, float] = FUSION) -> Tensor:
    """Return the weighted mean of two streams' probabilities; rows still sum to 1.

    Args:
        spatial_BK: probabilities of the spatial stream, or of a baseline's.
        temporal_BK: probabilities of the temporal stream.
        weights: spatial and temporal, in any scale. Not to be tuned on test videos.

    Raises:
        ValueError: negative weights, or both zero.
    """
    _check_fusion(weights)
    spatial, temporal = weights
    return (spatial * spatial_BK + temporal * temporal_BK) / (spatial + temporal)


def _check_fusion(weights: tuple[float, float]) -> None:
    if min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(
            f"Fusion is a weighted mean. Received: weights {weights}. Allowed: spatial and temporal, not "
            f"negative, not both zero. Fix: {FUSION} is the default."
        )


def _check_streams(named: Sequence[tuple[str, StreamNet]], stream: str) -> None:
    for name, net in named:
        if net.config.stream != stream or not net.config.attention_channel:
            raise ValueError(
                f"The networks of a two-stream system are in each other's place. Received: {name} with "
                f"stream={net.config.stream}, attention_channel={net.config.attention_channel}. Allowed: "
                f"stream={stream}, attention_channel=True. Fix: pass each checkpoint under its own name; "
                "probabilities of baselines are fused by `fuse`."
            )


def _check_alike(nets: Sequence[StreamNet]) -> None:
    shared = [(net.config.classes, net.config.size) for net in nets]
    stacks = [net.config.flow_stack for net in nets if net.config.stream == "temporal"]
    if len(set(shared)) > 1 or len(set(stacks)) > 1:
        raise ValueError(
            "The networks of a two-stream system see the same views and know the same classes. Received: (classes, "
            f"size) {shared}, flow_stack {stacks}. Allowed: equal ones. Fix: use checkpoints of one recipe."
        )


def _check_features(net: StreamNet, attention: AttentionNet) -> None:
    if attention.channels != net.feature_channels:
        raise ValueError(
            f"An attention net was built for other features. Received: channels={attention.channels} for a "
            f"{net.config.stream} stream with {net.feature_channels}. Allowed: the same. Fix: use the attention "
            "net that was trained on this stream."
        )
