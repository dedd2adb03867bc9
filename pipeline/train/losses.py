"""The loss of ST-ABN, L_att + L_per with equal weights (S0 and S1, section on training).

Losses are returned as *sums* over clips. Only the step knows how many clips all workers see together, so only the
step may divide: with uneven shares a mean of means would weigh clips unequally.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own idiom)

if TYPE_CHECKING:
    from models.outputs import StAbnOutput


class LossSums(NamedTuple):
    """Cross-entropies of one micro-batch, summed over its clips; both are scalars in float32."""

    perception: torch.Tensor
    """L_per: the perception branch, whose class is the prediction."""

    attention: torch.Tensor
    """L_att: the attention branch; zero for the baseline, which has none."""

    def total(self) -> torch.Tensor:
        """Return L_att + L_per as published: both weigh 1."""
        return self.perception + self.attention


def loss_sums(output: StAbnOutput, label_B: torch.Tensor) -> LossSums:
    """Return the softmax cross-entropies of both branches, summed over the batch.

    Args:
        output: network output; `logits_BK`, and `att_logits_BK` or None.
        label_B: class indices, int64, on the output's device.
    """
    perception = F.cross_entropy(output.logits_BK.float(), label_B, reduction="sum")
    if output.att_logits_BK is None:
        return LossSums(perception, torch.zeros_like(perception))
    return LossSums(perception, F.cross_entropy(output.att_logits_BK.float(), label_B, reduction="sum"))
