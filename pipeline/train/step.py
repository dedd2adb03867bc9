"""One optimiser step: micro-batches forward and backward, average over workers, clip, refuse or apply.

With G clips in the step over all W workers, each worker back-propagates W/G times its summed loss; DDP averages
gradients over workers, which leaves exactly the gradient of the mean loss over the G clips, however unevenly the clips
are shared out.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.train.device import Precision, autocast, seed_step, to_model_input
from pipeline.train.losses import loss_sums

if TYPE_CHECKING:
    from pipeline.data.feed.batches import Batch


@dataclass(frozen=True)
class StepSettings:
    """What stays the same from step to step on one worker."""

    device: torch.device
    precision: Precision
    channels_last: bool
    accumulate: int
    """Micro-batches of a step on this worker."""
    clip_norm: float
    """Largest gradient norm; 0 clips nothing."""
    seed: int
    rank: int
    world: int


@dataclass(frozen=True)
class StepOutcome:
    """What one step did, on this worker."""

    step: int
    epoch: int
    ids: tuple[str, ...]
    """Videos of this worker's share, in the order of the plan."""
    clips: int
    """Clips of the step over all workers."""
    loss_sums_2: torch.Tensor
    """Summed [L_per, L_att] of this worker's clips, float32 on the device."""
    grad_norm: float
    """Norm of the averaged gradient before clipping; the same on all workers."""
    applied: bool
    """False when the gradient was not finite; weights, momentum and buffers are then as before the step."""


def train_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterator[Batch], lr: float, settings: StepSettings
) -> StepOutcome:
    """Take `settings.accumulate` micro-batches from `batches` and make one optimiser step.

    Args:
        network: the network in train mode, inside DistributedDataParallel when there are several workers.
        optimizer: its optimiser.
        batches: micro-batches in the order of the plan.
        lr: learning rate of this step.
        settings: the rest.

    Returns:
        The outcome; `applied` is the same on all workers because all see the same averaged gradient.
    """
    before = _copy_buffers(network)
    loss_sums_2 = torch.zeros(2, device=settings.device)
    ids: list[str] = []
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad(set_to_none=True)

    for micro in range(settings.accumulate):
        batch = next(batches)
        if micro == 0:
            seed_step(settings.seed, batch.step, settings.rank)
        x_BCTHW = to_model_input(batch.x_BTHWC, settings.device, settings.precision, settings.channels_last)
        label_B = batch.label_B.to(settings.device, non_blocking=True)
        # Gradients cross the network once a step, with the last micro-batch.
        with _local_only(network) if micro < settings.accumulate - 1 else contextlib.nullcontext():
            with autocast(settings.device, settings.precision):
                output = network(x_BCTHW)
            sums = loss_sums(output, label_B)
            (sums.total() * (settings.world / batch.samples_in_step)).backward()  # type: ignore[no-untyped-call]
        loss_sums_2 += torch.stack([sums.perception, sums.attention]).detach()
        ids.extend(batch.ids)

    grad_norm = _clip(network, settings.clip_norm)
    applied = math.isfinite(grad_norm)
    if applied:
        optimizer.step()
    else:
        # The forward pass has already put the poisoned statistics into batch norm's running averages.
        _restore_buffers(network, before)
    return StepOutcome(batch.step, batch.epoch, tuple(ids), batch.samples_in_step, loss_sums_2, grad_norm, applied)


def _clip(network: nn.Module, clip_norm: float) -> float:
    """Clip the gradients in place and return their norm before; the one synchronisation with the device in a step."""
    limit = clip_norm if clip_norm > 0 else math.inf
    return float(nn.utils.clip_grad_norm_(network.parameters(), limit))


def _local_only(network: nn.Module) -> contextlib.AbstractContextManager[None]:
    return network.no_sync() if isinstance(network, DistributedDataParallel) else contextlib.nullcontext()


def _copy_buffers(network: nn.Module) -> list[torch.Tensor]:
    return [buffer.detach().clone() for buffer in network.buffers()]


def _restore_buffers(network: nn.Module, saved: list[torch.Tensor]) -> None:
    for buffer, value in zip(network.buffers(), saved, strict=True):
        buffer.copy_(value)
