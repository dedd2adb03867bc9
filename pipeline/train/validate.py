"""Validation inside training: exact counts over a split, each video once, no padding, summed over the workers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import nn

from pipeline.train.device import autocast, to_model_input
from pipeline.train.losses import loss_sums

if TYPE_CHECKING:
    from pipeline.data.feed.batches import Batch
    from pipeline.train.step import StepSettings


@dataclass(frozen=True)
class Validation:
    """Accuracies of both branches over a whole split; percent."""

    videos: int
    top1: float
    top5: float
    att_top1: float | None
    """Of the attention branch; None for the baseline."""
    att_top5: float | None
    loss: float
    """Mean of L_att + L_per."""

    def metrics(self) -> dict[str, float]:
        """Return the values by the names under which they are logged."""
        named = {
            "val/top1": self.top1,
            "val/top5": self.top5,
            "val/att_top1": self.att_top1,
            "val/att_top5": self.att_top5,
            "val/loss": self.loss,
        }
        return {name: value for name, value in named.items() if value is not None}


def correct_at(logits_BK: torch.Tensor, label_B: torch.Tensor, k: int) -> torch.Tensor:
    """Return how many labels are among the k highest logits (all classes when there are fewer than k), int64 scalar."""
    top_BJ = logits_BK.float().topk(min(k, logits_BK.shape[1]), dim=1).indices
    return (top_BJ == label_B[:, None]).any(dim=1).sum()


@torch.inference_mode()
def validate(module: nn.Module, batches: Iterable[Batch], videos: int, settings: StepSettings) -> Validation:
    """Run the network over every worker's share of a split and add the counts up.

    Args:
        module: the bare network, not inside DistributedDataParallel: shares may differ by a batch, and its forward
            pass would wait for partners that have none left.
        batches: this worker's share, one view a video.
        videos: number of videos of the split over all workers; the counts must reconcile with it.
        settings: device, precision and memory format.

    Raises:
        RuntimeError: the workers together saw another number of videos than the split has.
    """
    if settings.world > 1:
        # Each worker's batch norm has followed its own clips; rank 0's statistics are the ones that checkpoints hold.
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)
    module.eval()
    # Videos; top-1 and top-5 of the perception branch; the same of the attention branch; videos that have one.
    counts_6 = torch.zeros(6, dtype=torch.int64, device=settings.device)
    loss_1 = torch.zeros(1, dtype=torch.float64, device=settings.device)
    for batch in batches:
        x_BCTHW = to_model_input(batch.x_BTHWC, settings.device, settings.precision, settings.channels_last)
        label_B = batch.label_B.to(settings.device, non_blocking=True)
        with autocast(settings.device, settings.precision):
            output = module(x_BCTHW)
        counts_6[0] += len(label_B)
        counts_6[1] += correct_at(output.logits_BK, label_B, 1)
        counts_6[2] += correct_at(output.logits_BK, label_B, 5)
        if output.att_logits_BK is not None:
            counts_6[3] += correct_at(output.att_logits_BK, label_B, 1)
            counts_6[4] += correct_at(output.att_logits_BK, label_B, 5)
            counts_6[5] += len(label_B)
        loss_1 += loss_sums(output, label_B).total()
    module.train()
    if settings.world > 1:
        dist.all_reduce(counts_6)
        dist.all_reduce(loss_1)
    return _summary(counts_6.tolist(), float(loss_1), videos)


def _summary(counts: list[int], loss_sum: float, videos: int) -> Validation:
    seen, has_attention = counts[0], counts[5] > 0
    if seen != videos:
        raise RuntimeError(f"validation saw {seen} videos and the split has {videos}: accuracies would not be exact")
    top1, top5, att_top1, att_top5 = (100.0 * count / seen for count in counts[1:5])
    return Validation(
        videos=seen,
        top1=top1,
        top5=top5,
        att_top1=att_top1 if has_attention else None,
        att_top5=att_top5 if has_attention else None,
        loss=loss_sum / seen,
    )
