"""What a forward pass returns; one type for each family of networks, so that no caller asks which one it holds."""

from typing import NamedTuple

from torch import Tensor


class StAbnOutput(NamedTuple):
    """Scores and the attention that produced them. Letters: B batch, K class, T frame, H and W of the feature map."""

    logits_BK: Tensor
    """Perception branch, before the softmax. The prediction is made from these alone."""

    att_logits_BK: Tensor | None
    """Attention branch, before the softmax; None for a baseline."""

    spatial_B1THW: Tensor | None
    """Ms as the attention mechanism used it, so after an override or an inversion; None for a baseline."""

    temporal_B1T11: Tensor | None
    """Mt as the attention mechanism used it, so after an override or an inversion; None for a baseline."""


class StreamOutput(NamedTuple):
    """Scores of one stream, before the softmax. Letters: B video, G segment or view, K class."""

    logits_BK: Tensor
    """Mean over segments (TSN's consensus): what training compares with the label."""

    segment_logits_BGK: Tensor
    """Each segment's own."""

    aux_logits_BK: Tensor | None
    """Auxiliary classifier, mean over segments; None outside of training and in networks without it."""


class TwoStreamOutput(NamedTuple):
    """Probabilities of both streams and their fusion, and the maps that the streams gave each other.

    Letters: B video, G view, K class, h and w of the feature map.
    """

    spatial_BK: Tensor
    """Final spatial network, mean over views."""

    temporal_BK: Tensor
    """Final temporal network, mean over views."""

    fused_BK: Tensor
    """Weighted mean of the two; the prediction."""

    spatial_map_BGhw: Tensor
    """S: where the frames point. It came from the spatial features and went into the temporal network."""

    temporal_map_BGhw: Tensor
    """T: where the flow points. It came from the temporal features and went into the spatial network."""
