"""What a recipe trains, apart from its data: the contract between the training loop and a network with its losses.

The loop knows steps, workers, checkpoints and tracking. What the network is, where its first weights come from, which
of its parts are trained, what a batch's loss is and what a validation counts is a task's. Nothing here imports Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from pipeline.train.device import Precision

TOTAL = "total"
"""Key of the loss that is back-propagated."""
VIDEOS = "videos"
"""Key of the number of videos counted."""


class StepBatch(Protocol):
    """What the loop itself reads of a batch; everything else is between a feed and its task."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Videos of the samples, one entry a sample."""

    @property
    def step(self) -> int:
        """Global step of the run."""

    @property
    def epoch(self) -> int:
        """Epoch of the step."""

    @property
    def micro(self) -> int:
        """Number of the micro-batch in its step and rank."""

    @property
    def samples_in_step(self) -> int:
        """Samples of the whole step, over all ranks and micro-batches."""


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
class Validation:
    """What a validation over a whole split found."""

    metrics: Mapping[str, float]
    """Values by name; logged as val/<name>."""
    score: float
    """Ranks checkpoints: the highest is the best."""
    top1: float | None = None
    """Percent, of tasks that classify."""
    shown: Mapping[str, float] = field(default_factory=dict)
    """The few values that the line of an epoch shows, by the words shown; empty shows all metrics."""

    def words(self) -> str:
        """Return the values for the line of an epoch."""
        return "  ".join(f"{name} {value:.2f}" for name, value in (self.shown or self.metrics).items())


class Task(Protocol):
    """What is trained. Made from the recipe once in the driver and once in every worker."""

    @property
    def memory_format(self) -> torch.memory_format:
        """Of the network's weights."""

    def build(self) -> nn.Module:
        """Return the network with randomly drawn weights; reads no file, since the driver builds on the meta device."""

    def check_first_weights(self) -> None:
        """Try in the driver what every worker will do, so that a wrong path ends the job before it has begun.

        Raises:
            UserError: the weights cannot be read, or belong to another network.
        """

    def first_weights(self, module: nn.Module, *, log: bool) -> None:
        """Give a freshly built network the weights that a new run starts from.

        Args:
            module: changed in place, on the CPU.
            log: say what was copied.

        Raises:
            UserError: the weights cannot be read, or belong to another network.
        """

    def train_mode(self, module: nn.Module) -> None:
        """Call `module.train()`, then put frozen parts into eval mode: their batch norm must not follow the batches.

        Called before the first step and after every validation.
        """

    def parameters(self, module: nn.Module) -> Iterable[nn.Parameter]:
        """Return the parameters to train; the loop freezes all others."""

    def losses(self, network: nn.Module, batch: Any, settings: StepSettings) -> Mapping[str, torch.Tensor]:
        """Run a micro-batch forward and return its losses.

        Every value is the micro-batch's contribution to the step's value, a scalar on the device: divided by
        `batch.samples_in_step`, say, for a mean over the step's samples. The sum over all micro-batches and workers is
        the step's value, however unevenly the samples are shared out. A batch without a sample of some kind
        contributes 0: the keys are the same for every batch of a run, on all workers.

        Args:
            network: the network in train mode, inside DistributedDataParallel when there are several workers; called
                once, so that gradients are averaged.
            batch: a batch of the feed.
            settings: device, precision and memory format.

        Returns:
            "total", which is back-propagated and logged as train/loss, and its parts or whatever else is worth
            watching, logged as train/loss_<key>.
        """

    def count(self, module: nn.Module, batch: Any, settings: StepSettings) -> Mapping[str, torch.Tensor]:
        """Return sums over a validation batch, scalars on the device; "videos" is how many it holds.

        Args:
            module: the bare network in eval mode.
            batch: a batch of the feed.
            settings: device, precision and memory format.
        """

    def summarise(self, sums: Mapping[str, float], videos: int) -> Validation:
        """Return what the sums over all batches and workers say of the whole split.

        Args:
            sums: by the keys of `count`.
            videos: of the split; equals the sum of "videos".
        """


OpenTask = Callable[[Any], Task]
"""Makes the task of a recipe; travels to the workers by pickling."""
