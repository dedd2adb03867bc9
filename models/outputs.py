"""What a forward pass returns; the same type for every network, so that no caller asks which one it holds."""

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
