"""Validation inside training: exact sums over a split, each video once, no padding, added up over the workers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from pipeline.train.task import VIDEOS, StepBatch, StepSettings, Task, Validation


def validate(
    task: Task, module: nn.Module, batches: Iterable[StepBatch], videos: int, settings: StepSettings
) -> Validation:
    """Run the network over every worker's share of a split and add up what the task counts.

    Args:
        task: counts a batch, and says what the sums mean.
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
    sums = _sums(task, module, batches, settings)
    task.train_mode(module)
    if settings.world > 1:
        sums = _over_workers(sums, settings.world)
    seen = round(sums.get(VIDEOS, 0.0))
    if seen != videos:
        raise RuntimeError(f"validation saw {seen} videos and the split has {videos}: its values would not be exact")
    return task.summarise(sums, videos)


@torch.inference_mode()
def _sums(task: Task, module: nn.Module, batches: Iterable[StepBatch], settings: StepSettings) -> dict[str, float]:
    """Return this worker's sums; float64 holds counts exactly. Empty for a worker without a video."""
    sums: dict[str, torch.Tensor] = {}
    for batch in batches:
        for name, value in task.count(module, batch, settings).items():
            sums[name] = sums[name] + value.double() if name in sums else value.double()
    return {name: float(value) for name, value in sums.items()}


def _over_workers(sums: dict[str, float], world: int) -> dict[str, float]:
    """Add up the workers' sums, in the order of their ranks; a worker that saw no video has no names to tell."""
    shares: list[Any] = [None] * world
    dist.all_gather_object(shares, sums)
    names = dict.fromkeys(name for share in shares for name in share)
    return {name: sum(share.get(name, 0.0) for share in shares) for name in names}
