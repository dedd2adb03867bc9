"""The optimisers, SGD as published (S0 section 4.1), and the schedule as a pure function of the step."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from pipeline.train.recipe import OptimConfig

WARMUP_START = 0.01
"""Share of the learning rate at which a warm-up begins."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every step of a run; holds no state, so a resumed run needs nothing but its step."""

    config: OptimConfig
    global_batch: int
    """Samples of one optimiser step."""
    steps_per_epoch: int
    epochs: int

    @property
    def peak(self) -> float:
        """The rate after linear scaling: lr * global batch / reference batch (reference batch 0: lr itself)."""
        scale = self.global_batch / self.config.reference_batch if self.config.reference_batch else 1.0
        return self.config.lr * scale

    def lr(self, step: int) -> float:
        """Return the learning rate of optimiser step `step`, counted from 0 over the whole run."""
        warmup_steps = self.config.warmup_epochs * self.steps_per_epoch
        if step < warmup_steps:
            return self.peak * (WARMUP_START + (1 - WARMUP_START) * step / warmup_steps)
        if self.config.schedule == "cosine":
            span = self.epochs * self.steps_per_epoch - warmup_steps
            return self.peak * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / span))
        # Compared in steps, not in epochs: step / steps_per_epoch would round.
        passed = sum(step >= milestone * self.steps_per_epoch for milestone in self.config.milestones)
        return self.peak * self.config.gamma**passed


STATES = {"sgd": 1, "adam": 2, "adamw": 2}
"""Values that an optimiser keeps for each weight, and a checkpoint with it."""


def build_optimizer(parameters: Iterable[torch.nn.Parameter], config: OptimConfig) -> torch.optim.Optimizer:
    """Return the optimiser of `parameters`; one group, so weight decay acts on batch norm and biases too, as published.

    Every step sets the learning rate from the schedule.
    """
    if config.name != "sgd":
        kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
        return kind(parameters, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov and config.momentum > 0,  # torch refuses nesterov without momentum
        weight_decay=config.weight_decay,
    )
