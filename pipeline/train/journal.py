"""The curve of a training: what each interval of steps amounted to, as points for MLflow and lines for people."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from pipeline.train.step import StepOutcome
from pipeline.train.task import TOTAL, StepSettings

PRINT_SECONDS = 20.0
"""Least time between two lines inside an epoch."""
SLOW_FEED = 0.2
"""Share of a step's time spent waiting for data from which the line says so."""


@dataclass(frozen=True)
class Totals:
    """Sums over an interval of steps and over all workers."""

    losses: Mapping[str, float] = field(default_factory=dict)
    """Losses of the applied steps by name, each step's value times its samples."""
    samples: int = 0
    """Samples of the applied steps."""
    steps: int = 0
    wait_s: float = 0.0
    """Time spent waiting for data, mean of the workers."""
    seconds: float = 0.0
    """Time of the steps, waiting included, mean of the workers."""

    def __add__(self, other: Totals) -> Totals:
        names = {**self.losses, **other.losses}
        return Totals(
            {name: self.losses.get(name, 0.0) + other.losses.get(name, 0.0) for name in names},
            self.samples + other.samples,
            self.steps + other.steps,
            self.wait_s + other.wait_s,
            self.seconds + other.seconds,
        )

    def metrics(self) -> dict[str, float]:
        """Return the means by the names under which they are logged; no losses when every step was skipped."""
        if not self.steps:
            return {}
        metrics = {
            "train/step_s": self.seconds / self.steps,
            "train/data_wait": self.wait_s / self.seconds if self.seconds else 0.0,
            "train/clips_per_s": self.samples / self.seconds if self.seconds else 0.0,
        }
        return metrics | {_logged(name): value / self.samples for name, value in self.losses.items()}


def _logged(loss: str) -> str:
    return "train/loss" if loss == TOTAL else f"train/loss_{loss}"


class Journal:
    """Sums steps up to intervals and keeps the points that no checkpoint holds yet.

    Args:
        settings: device, rank and world.
        steps: optimiser steps of the whole run.
        steps_per_epoch: of one epoch.
    """

    def __init__(self, settings: StepSettings, steps: int, steps_per_epoch: int) -> None:
        self._settings = settings
        self._steps = steps
        self._steps_per_epoch = steps_per_epoch
        self._open: list[tuple[StepOutcome, float, float]] = []
        self._interval = self._epoch = Totals()
        self._lr = 0.0
        self._grad_norm = 0.0
        self._printed_s = time.monotonic()
        self.points: list[dict[str, Any]] = []
        """Points since the last checkpoint."""
        self._sent = 0

    def add(self, outcome: StepOutcome, lr: float, seconds: float, wait_s: float) -> None:
        """Take one step into the open interval.

        Raises:
            RuntimeError: the task's losses have other names than those of the step before.
        """
        if self._open and (before := self._open[-1][0].losses.keys()) != outcome.losses.keys():
            raise RuntimeError(f"the task's losses were {list(before)} and are {list(outcome.losses)}; see Task.losses")
        self._open.append((outcome, seconds, wait_s))
        self._lr = lr
        if outcome.applied:
            self._grad_norm = outcome.grad_norm

    def close_interval(self, done: int, skipped: int) -> None:
        """Turn the open interval into a point; a collective, so all workers call it after the same steps."""
        if not self._open:
            return
        applied = [outcome for outcome, _, _ in self._open if outcome.applied]
        # A skipped step counts with its time alone: its losses are not finite.
        names = list(applied[0].losses) if applied else []
        times_2 = torch.tensor([[wait, seconds] for _, seconds, wait in self._open], dtype=torch.float64).sum(0)
        sums_L = times_2.to(self._settings.device) / self._settings.world
        if applied:
            losses_SL = torch.stack([torch.stack([outcome.losses[name] for name in names]) for outcome in applied])
            samples_S1 = torch.tensor([[outcome.samples] for outcome in applied], device=self._settings.device)
            sums_L = torch.cat([sums_L, (losses_SL.double() * samples_S1).sum(0)])
        if self._settings.world > 1:
            dist.all_reduce(sums_L)
        wait_s, seconds, *losses = sums_L.tolist()
        samples = sum(outcome.samples for outcome in applied)
        by_name = dict(zip(names, losses, strict=True))
        self._interval = Totals(by_name, samples, len(self._open), wait_s, seconds)
        self._epoch += self._interval
        self._open = []
        state = {"epoch": done / self._steps_per_epoch, "train/lr": self._lr, "train/grad_norm": self._grad_norm}
        self.note(done, self._interval.metrics() | state | {"train/skipped": float(skipped)})

    def note(self, done: int, metrics: Mapping[str, float]) -> None:
        """Add a point after `done` steps."""
        self.points.append({"step": done, "time_ms": time.time_ns() // 1_000_000, "metrics": dict(metrics)})

    def unsent(self) -> list[dict[str, Any]]:
        """Return the points that no report has carried yet, and count them as carried."""
        fresh = self.points[self._sent :]
        self._sent = len(self.points)
        return fresh

    def saved(self) -> None:
        """Forget the points: a checkpoint holds them now."""
        self.points, self._sent = [], 0

    def restore(self, points: Sequence[dict[str, Any]]) -> None:
        """Report a checkpoint's points again, should its own report have been lost; MLflow gets each once."""
        self.points, self._sent = list(points), 0

    def line_is_due(self) -> bool:
        """True when nothing was printed for a while."""
        return time.monotonic() - self._printed_s >= PRINT_SECONDS

    def line(self, done: int, *, end_of_epoch: bool) -> str:
        """Return one dense line about the last interval, or about the whole epoch at its end."""
        self._printed_s = time.monotonic()
        totals = self._epoch if end_of_epoch else self._interval
        if end_of_epoch:
            self._epoch = Totals()
        epochs = self._steps // self._steps_per_epoch
        parts = [f"epoch {-(-done // self._steps_per_epoch)}/{epochs}", f"step {done}/{self._steps}"]
        m = totals.metrics()
        if "train/loss" in m:
            named = [f"{name} {m[_logged(name)]:.3f}" for name in totals.losses if name != TOTAL]
            parts.append(f"loss {m['train/loss']:.3f}" + (f" ({', '.join(named)})" if len(named) > 1 else ""))
        if m:
            parts += [f"lr {self._lr:.2g}", f"grad {self._grad_norm:.2f}", f"{m['train/clips_per_s']:.1f} clips/s"]
            slow = " (slow feed: raise compute.data_cpus)" if m["train/data_wait"] > SLOW_FEED else ""
            parts.append(f"data wait {100 * m['train/data_wait']:.0f} %{slow}")
            parts.append(f"{_duration((self._steps - done) * m['train/step_s'])} left")
        return "  ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
