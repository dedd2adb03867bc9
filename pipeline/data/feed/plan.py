"""The order of a training run: which videos every optimiser step sees, on whatever machines.

The order is a function of (seed, epoch) and of the number of samples alone. Ranks and micro-batches only cut the
step's samples into pieces, so a run that restarts on another number of workers goes on with the very same global
batches. Position is one number, the global step.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError, problem

Samples = npt.NDArray[np.int64]
"""Positions among the split's videos, sorted by id."""


@dataclass(frozen=True)
class StepPlan:
    """The global batch of one optimiser step."""

    step: int
    epoch: int
    samples: Samples

    def pieces(self, rank: int, world: int, accumulate: int) -> list[Samples]:
        """Return the micro-batches of `rank` among `world`: contiguous, sizes differing by at most one."""
        mine = np.array_split(self.samples, world)[rank]
        return np.array_split(mine, accumulate)


@dataclass(frozen=True)
class Plan:
    """Every step of a run.

    An epoch sees each sample exactly once, in ceil(samples / global_batch) steps whose sizes differ by at most one:
    nothing is dropped or repeated to fill the last batch, and no step is much noisier than its neighbours.
    """

    seed: int
    samples: int
    """Videos of the split."""
    global_batch: int
    """Largest number of samples of a step, over all ranks and micro-batches."""
    epochs: int

    def __post_init__(self) -> None:
        if min(self.samples, self.global_batch, self.epochs) < 1 or self.seed < 0:
            raise UserError(
                problem(
                    "The training plan is empty or its seed negative",
                    got=self,
                    allowed="at least 1 sample, 1 clip a step and 1 epoch; a seed of 0 or more",
                    fix="check data.train_split, train.global_batch, train.epochs and train.seed",
                )
            )

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch."""
        return -(-self.samples // self.global_batch)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the run."""
        return self.steps_per_epoch * self.epochs

    @property
    def smallest_step(self) -> int:
        """Samples of the smallest step."""
        return self.samples // self.steps_per_epoch

    def step(self, g: int) -> StepPlan:
        """Return global step `g`, from 0.

        Raises:
            IndexError: there is no such step.
        """
        if not 0 <= g < self.total_steps:
            raise IndexError(f"step {g} of a plan of {self.total_steps} steps")
        epoch, within = divmod(g, self.steps_per_epoch)
        # np.array_split, without cutting the whole epoch: the first `larger` steps have one sample more.
        size, larger = divmod(self.samples, self.steps_per_epoch)
        start = within * size + min(within, larger)
        stop = start + size + (within < larger)
        return StepPlan(step=g, epoch=epoch, samples=epoch_order(self.seed, epoch, self.samples)[start:stop])

    def check_pieces(self, world: int, accumulate: int) -> None:
        """Refuse a number of workers for which some micro-batch would be empty.

        Raises:
            UserError: the smallest step has fewer samples than micro-batches.
        """
        if self.smallest_step < world * accumulate:
            raise UserError(
                problem(
                    "A step has fewer clips than micro-batches",
                    got=f"{self.samples} videos in {self.steps_per_epoch} steps of at least {self.smallest_step}, over "
                    f"{world} workers x {accumulate} micro-batches",
                    allowed="at least one clip for every worker and micro-batch",
                    fix="lower compute.workers or train.accumulate, or raise train.global_batch",
                )
            )


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, samples: int) -> Samples:
    """Return the epoch's permutation of range(samples), read-only.

    The samples are sorted by 64 raw bits each of PCG64, seeded through SeedSequence. NumPy promises the streams of
    both never to change (NEP 19), which it does not promise for `Generator.permutation`; the sort is stable, so that
    the order is defined even where two draws agree.
    """
    keys = np.random.PCG64(np.random.SeedSequence((seed, epoch))).random_raw(samples)
    order = np.argsort(keys, kind="stable")
    order.flags.writeable = False
    return order
