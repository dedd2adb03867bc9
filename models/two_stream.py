"""The two-stream system at test time: two streams that show each other where to look, without knowing any answer.

Source: the two-stream thesis (S3). Each final network needs the map of the other stream, and a map needs the features
that the final network would give. A first round cuts the circle: its networks were trained with `START_ATTENTION`
everywhere, and see it here too (docs/decisions/0007).

    first round    whole frames, 0.1 -> first spatial  -> features -> attention net -> S
                   whole flow,   0.1 -> first temporal -> features -> attention net -> T
    final round    views of frames, T -> spatial  -> softmax -> mean over views --+
                   views of flow,   S -> temporal -> softmax -> mean over views --+-> weighted mean

No label, and nothing made from one, enters: `models.grad_cam` is not imported here. Letters: B video, G view (frame and
crop), N all views of all videos, H and W of the view, h and w of the feature map, C channel, K class.
"""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from models.attention_maps import START_ATTENTION, WHOLE, crop_maps
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
        whole_rgb_BGHWC: Tensor | None = None,
        whole_flow_BGHWC: Tensor | None = None,
        box_BG4: Tensor | None = None,
        flow_box_BG4: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> TwoStreamOutput:
        """Recognise videos, each by some views of its frames and, at the same places, of its flow.

        Maps are made of whole frames, as those were that the attention nets learnt from, and each view gets its part of
        them. Without `whole_*` the views are whole frames themselves.

        Args:
            rgb_BGHWC: uint8 frames.
            flow_BGHWC: uint8 stacks of flow, 2m channels as `to_input` takes them. View g of the flow starts at the
                frame of view g and shows the same crop: their maps are exchanged place by place.
            whole_rgb_BGHWC: the whole frames, their height and width resized to the network's; one for each view, or
                a single one where all views of a row are crops of the same frame.
            whole_flow_BGHWC: the same of the flow.
            box_BG4: what of the frame each view shows, as `crop_maps` takes it.
            flow_box_BG4: what of its picture each view of the flow shows, where flow is stored in another shape than
                the frames, as TSN does; None: the same.
            dtype: of the networks' inputs.
            channels_last: memory layout of the networks' inputs.

        Returns:
            Probabilities and both maps, float32.

        Raises:
            ValueError: inputs of the wrong shape or type, views that do not pair, or whole frames without boxes.
        """
        _check_pairs(rgb_BGHWC, flow_BGHWC)
        if whole_rgb_BGHWC is None or whole_flow_BGHWC is None or box_BG4 is None:
            _check_none(whole_rgb_BGHWC, whole_flow_BGHWC, box_BG4, flow_box_BG4)
            whole_rgb_BGHWC, whole_flow_BGHWC = rgb_BGHWC, flow_BGHWC
        _check_wholes(whole_rgb_BGHWC, whole_flow_BGHWC, rgb_BGHWC)
        spatial_map_BGhw, temporal_map_BGhw = self.maps(
            whole_rgb_BGHWC, whole_flow_BGHWC, dtype=dtype, channels_last=channels_last
        )
        options: dict[str, Any] = {"at_once": self.at_once, "dtype": dtype, "channels_last": channels_last}
        spatial_BGK = view_probabilities(self.spatial, rgb_BGHWC, temporal_map_BGhw, box_BG4, **options)
        flow_box_BG4 = box_BG4 if flow_box_BG4 is None else flow_box_BG4
        temporal_BGK = view_probabilities(self.temporal, flow_BGHWC, spatial_map_BGhw, flow_box_BG4, **options)
        spatial_BK, temporal_BK = spatial_BGK.mean(dim=1), temporal_BGK.mean(dim=1)
        fused_BK = fuse(spatial_BK, temporal_BK, self.fusion)
        return TwoStreamOutput(spatial_BK, temporal_BK, fused_BK, spatial_map_BGhw, temporal_map_BGhw)

    @torch.no_grad()
    def maps(
        self,
        rgb_BGHWC: Tensor,
        flow_BGHWC: Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Run the first round on whole frames: S of the frames and T of the flow, each B,G,h,w in [0, 1], float32.

        Args:
            rgb_BGHWC: uint8 frames.
            flow_BGHWC: uint8 stacks of flow.
            dtype: of the networks' inputs.
            channels_last: memory layout of the networks' inputs.
        """
        found = []
        for x_BGHWC, net, attention in (
            (rgb_BGHWC, self.first_spatial, self.spatial_attention),
            (flow_BGHWC, self.first_temporal, self.temporal_attention),
        ):
            x_NHWC = x_BGHWC.flatten(0, 1)
            pieces = [
                attention(net.features(_images(x_NHWC[some], START_ATTENTION, net, dtype, channels_last)))
                for some in _pieces(len(x_NHWC), self.at_once)
            ]
            found.append(torch.unflatten(torch.cat(pieces).float(), 0, x_BGHWC.shape[:2]))
        return found[0], found[1]


@torch.no_grad()
def view_probabilities(
    net: StreamNet,
    x_BGHWC: Tensor,
    map_BGhw: Tensor | None = None,
    box_BG4: Tensor | None = None,
    *,
    at_once: int = 64,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
) -> Tensor:
    """Let one stream classify every view on its own.

    Args:
        net: in evaluation mode.
        x_BGHWC: uint8 views.
        map_BGhw: of whole frames, one for each view or a single one for all views of a row. None: 0.1 everywhere, and
            nothing for a stream without attention channel.
        box_BG4: what of the frame each view shows; None: all of it.
        at_once: views that go through the network together.
        dtype: of the network's input.
        channels_last: memory layout of the network's input.

    Returns:
        probabilities_BGK, float32.

    Raises:
        ValueError: inputs of the wrong shape or type.
    """
    batch, views = x_BGHWC.shape[:2]
    x_NHWC = x_BGHWC.flatten(0, 1)
    if map_BGhw is not None:
        map_Nhw = map_BGhw.expand(batch, views, *map_BGhw.shape[2:]).flatten(0, 1)
        box_N4 = torch.tensor(WHOLE).expand(batch * views, 4) if box_BG4 is None else box_BG4.flatten(0, 1)
    parts: list[Tensor] = []
    for some in _pieces(len(x_NHWC), at_once):
        attention: Tensor | float | None = START_ATTENTION if net.config.attention_channel else None
        if map_BGhw is not None:
            attention = crop_maps(map_Nhw[some], box_N4[some], net.config.size).unsqueeze(1)
        parts.append(net.scores(net.features(_images(x_NHWC[some], attention, net, dtype, channels_last))))
    return torch.unflatten(torch.cat(parts).float().softmax(dim=1), 0, (batch, views))


def _pieces(total: int, at_once: int) -> list[slice]:
    return [slice(start, start + at_once) for start in range(0, total, at_once)]


def _images(
    x_NHWC: Tensor, attention: Tensor | float | None, net: StreamNet, dtype: torch.dtype, channels_last: bool
) -> Tensor:
    """Return x_NCHW of images that are segments of their own."""
    return to_input(x_NHWC.unsqueeze(1), attention, net.config, dtype=dtype, channels_last=channels_last)[:, 0]


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


def _check_pairs(rgb_BGHWC: Tensor, flow_BGHWC: Tensor) -> None:
    if flow_BGHWC.shape[:2] != rgb_BGHWC.shape[:2] or rgb_BGHWC.shape[1] == 0:
        raise ValueError(
            f"Every view of frames needs its view of flow. Received: frames {tuple(rgb_BGHWC.shape)}, flow "
            f"{tuple(flow_BGHWC.shape)}. Allowed: equal B and G, G at least 1. Fix: sample both at the same places."
        )


def _check_none(*parts: Tensor | None) -> None:
    if any(part is not None for part in parts):
        raise ValueError(
            "Views of frames come with the whole frames and with their boxes. Received: some of whole_rgb_BGHWC, "
            "whole_flow_BGHWC, box_BG4. Allowed: all three, or none where the views are whole frames. Fix: give all "
            "three."
        )


def _check_wholes(whole_rgb_BGHWC: Tensor, whole_flow_BGHWC: Tensor, rgb_BGHWC: Tensor) -> None:
    batch, views = rgb_BGHWC.shape[:2]
    shapes = whole_rgb_BGHWC.shape[:2], whole_flow_BGHWC.shape[:2]
    if any(tuple(shape) not in ((batch, views), (batch, 1)) for shape in shapes) or shapes[0] != shapes[1]:
        raise ValueError(
            f"Every view needs its whole frame. Received: whole frames {tuple(whole_rgb_BGHWC.shape)} and flow "
            f"{tuple(whole_flow_BGHWC.shape)} for {batch} x {views} views. Allowed: one for each view, or one for "
            "each row. Fix: sample both at the places of the views."
        )


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
