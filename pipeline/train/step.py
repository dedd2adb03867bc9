"""One optimiser step: micro-batches forward and backward, average over workers, clip, refuse or apply.

A task's losses are contributions to the step's value: their sum over all micro-batches and workers is the value, say
the mean over the step's samples. With W workers each back-propagates W times its own contributions; DDP averages
gradients over workers, which leaves exactly the gradient of the sum, however unevenly the samples are shared out.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.train.device import seed_step
from pipeline.train.task import TOTAL, StepBatch, StepSettings, Task


@dataclass(frozen=True)
class StepOutcome:
    """What one step did, on this worker."""

    step: int
    epoch: int
    ids: tuple[str, ...]
    """Videos of this worker's share, in the order of the plan."""
    samples: int
    """Samples of the step over all workers."""
    losses: Mapping[str, torch.Tensor]
    """This worker's contributions to the step's losses by name, float32 scalars on the device."""
    grad_norm: float
    """Norm of the averaged gradient before clipping; the same on all workers."""
    applied: bool
    """False when the gradient was not finite; weights, momentum and buffers are then as before the step."""


def train_step(
    task: Task,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[StepBatch],
    lr: float,
    settings: StepSettings,
) -> StepOutcome:
    """Take `settings.accumulate` micro-batches from `batches` and make one optimiser step.

    Args:
        task: says what a batch's losses are.
        network: the network in train mode, inside DistributedDataParallel when there are several workers.
        optimizer: of the parameters that are trained.
        batches: micro-batches in the order of the plan.
        lr: learning rate of this step.
        settings: the rest.

    Returns:
        The outcome; `applied` is the same on all workers because all see the same averaged gradient.
    """
    before = _copy_buffers(network)
    losses: dict[str, torch.Tensor] = {}
    ids: list[str] = []
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad(set_to_none=True)

    for micro in range(settings.accumulate):
        batch = next(batches)
        if micro == 0:
            seed_step(settings.seed, batch.step, settings.rank)
        # Gradients cross the network once a step, with the last micro-batch.
        with _local_only(network) if micro < settings.accumulate - 1 else contextlib.nullcontext():
            parts = task.losses(network, batch, settings)
            (parts[TOTAL] * settings.world).backward()  # type: ignore[no-untyped-call]
        for name, value in parts.items():
            losses[name] = losses[name] + value.detach() if name in losses else value.detach()
        ids.extend(batch.ids)

    grad_norm = _clip(optimizer, settings.clip_norm)
    applied = math.isfinite(grad_norm)
    if applied:
        optimizer.step()
    else:
        # The forward pass has already put the poisoned statistics into batch norm's running averages.
        _restore_buffers(network, before)
    return StepOutcome(batch.step, batch.epoch, tuple(ids), batch.samples_in_step, losses, grad_norm, applied)


def _clip(optimizer: torch.optim.Optimizer, clip_norm: float) -> float:
    """Clip the gradients in place and return their norm before; the one synchronisation with the device in a step."""
    limit = clip_norm if clip_norm > 0 else math.inf
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return float(nn.utils.clip_grad_norm_(trained, limit))


def _local_only(network: nn.Module) -> contextlib.AbstractContextManager[None]:
    return network.no_sync() if isinstance(network, DistributedDataParallel) else contextlib.nullcontext()


def _copy_buffers(network: nn.Module) -> list[torch.Tensor]:
    return [buffer.detach().clone() for buffer in network.buffers()]


def _restore_buffers(network: nn.Module, saved: list[torch.Tensor]) -> None:
    for buffer, value in zip(network.buffers(), saved, strict=True):
        buffer.copy_(value)
