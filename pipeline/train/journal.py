"""The curve of a training: what each interval of steps amounted to, as points for MLflow and lines for people."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from pipeline.train.step import StepOutcome, StepSettings

PRINT_SECONDS = 20.0
"""Least time between two lines inside an epoch."""
SLOW_FEED = 0.2
"""Share of a step's time spent waiting for data from which the line says so."""


@dataclass(frozen=True)
class Totals:
    """Sums over an interval of steps and over all workers."""

    perception: float = 0.0
    """L_per summed over the clips of the applied steps."""
    attention: float = 0.0
    clips: int = 0
    """Clips of the applied steps."""
    steps: int = 0
    wait_s: float = 0.0
    """Time spent waiting for data, mean of the workers."""
    seconds: float = 0.0
    """Time of the steps, waiting included, mean of the workers."""

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.perception + other.perception,
            self.attention + other.attention,
            self.clips + other.clips,
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
            "train/clips_per_s": self.clips / self.seconds if self.seconds else 0.0,
        }
        if self.clips:
            metrics["train/loss"] = (self.perception + self.attention) / self.clips
            metrics["train/loss_perception"] = self.perception / self.clips
            metrics["train/loss_attention"] = self.attention / self.clips
        return metrics


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
        """Take one step into the open interval."""
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
        losses_2 = sum((outcome.loss_sums_2 for outcome in applied), torch.zeros(2, device=self._settings.device))
        times_2 = torch.tensor([[wait, seconds] for _, seconds, wait in self._open], dtype=torch.float64).sum(0)
        sums_4 = torch.cat([losses_2.double(), times_2.to(self._settings.device) / self._settings.world])
        if self._settings.world > 1:
            dist.all_reduce(sums_4)
        perception, attention, wait_s, seconds = sums_4.tolist()
        clips = sum(outcome.clips for outcome in applied)
        self._interval = Totals(perception, attention, clips, len(self._open), wait_s, seconds)
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
            both = f" ({m['train/loss_perception']:.3f} + {m['train/loss_attention']:.3f})"
            parts.append(f"loss {m['train/loss']:.3f}" + (both if totals.attention else ""))
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
