"""A checkpoint: everything a run needs to go on as if nothing had happened, in one file, and when to take it.

A checkpoint counts once Ray Train has recorded it in the run's folder; a folder whose upload was cut short is never
read. The file itself is plain data and tensors, so `torch.load(weights_only=True)` opens it and runs no code.
"""

from __future__ import annotations

import dataclasses
import enum
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.core import storage
from pipeline.core.errors import UserError, problem

STATE = "state.pt"
FORMAT = 1
RNG_RULE = "torch.manual_seed(SeedSequence([seed, step, rank]).generate_state(1, uint64)[0] >> 1) before every step"
"""The whole state of the random generators; recorded so that a reader need not trust this file's age."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The content of a checkpoint."""

    step: int
    """Optimiser steps done, so the next step; with the plan it is the position of the feed."""
    reason: str
    """epoch, clock, preemption or limit."""
    model: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    recipe: dict[str, Any]
    """The recipe as nested dictionaries; also fixes the schedule, a function of recipe and step."""
    plan: dict[str, int]
    """seed, samples, global_batch, epochs: the order of the videos is a function of these."""
    passport: str
    """Identity of the prepared data set."""
    passport_parts: dict[str, str]
    """Digests of what the passport is made of, so that a difference can be named."""
    classes: tuple[str, ...]
    """Class texts by index, so that the weights can be used without the data set."""
    mlflow_run_id: str
    """Empty when MLflow could not be reached."""
    skipped: int = 0
    """Non-finite steps so far."""
    top1: float | None = None
    """Validation top-1 of exactly these weights, percent; None when they were not validated or are no classifier."""
    best_top1: float | None = None
    """Best validation top-1 of the run so far."""
    score: float | None = None
    """Validation score of exactly these weights, by which checkpoints are ranked; of a clip recipe its top-1."""
    best_score: float | None = None
    """Best validation score of the run so far. Absent in older files, whose score was their top-1."""
    points: tuple[dict[str, Any], ...] = ()
    """Points of the training curve since the checkpoint before; logged again after a restart, counted once."""
    rng: str = RNG_RULE


def write(folder: str, snapshot: Snapshot) -> None:
    """Write a checkpoint into `folder`; the file appears whole or not at all."""
    values = {field.name: getattr(snapshot, field.name) for field in dataclasses.fields(snapshot)}
    with storage.publish(storage.join(folder, STATE)) as file:
        torch.save({"format": FORMAT, **values}, file)


def read(folder: str) -> Snapshot:
    """Read the checkpoint in `folder` (a path or URI) onto the CPU, without running code from it.

    Raises:
        UserError: there is no checkpoint, or it was written by an incompatible version.
    """
    uri = storage.join(folder, STATE)
    try:
        data = storage.read_bytes(uri)
    except FileNotFoundError as error:
        fix = "give a checkpoint folder as printed at the end of a training, or a run's folder"
        raise UserError(
            problem("There is no checkpoint", got=folder, allowed=f"a folder with {STATE}", fix=fix)
        ) from error
    values: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if values.pop("format", None) != FORMAT:
        fix = "train again, or read it with the version that wrote it"
        raise UserError(problem("The checkpoint's format is unknown", got=folder, allowed=f"format {FORMAT}", fix=fix))
    return Snapshot(**values)


class Action(enum.IntEnum):
    """What all workers do together at an agreement."""

    NOTHING = 0
    REPORT = 1
    """Send the points of the curve, so that it can be watched between checkpoints."""
    CHECKPOINT_CLOCK = 2
    CHECKPOINT_PREEMPTION = 3


class Policy:
    """When to report and checkpoint inside an epoch; rank 0 decides, and every `agree_every` steps all follow.

    Workers must not look at their own clocks: two that disagree by a step would wait for each other for ever.
    """

    def __init__(self, minutes: float, agree_every: int, clock: Callable[[], float], report_seconds: float = 30.0):
        self._seconds = minutes * 60
        self._agree_every = agree_every
        self._clock = clock
        self._report_seconds = report_seconds
        self._handled: frozenset[str] = frozenset()
        self._checkpoint_s = self._report_s = clock()

    def is_agreement(self, done: int) -> bool:
        """True when the workers agree after `done` steps; the same on all of them."""
        return done % self._agree_every == 0

    def decide(self, leaving: frozenset[str]) -> Action:
        """Return rank 0's decision.

        Args:
            leaving: nodes that announced their preemption; each notice is answered by one checkpoint.
        """
        now_s = self._clock()
        if leaving - self._handled:
            self._handled |= leaving
            return Action.CHECKPOINT_PREEMPTION
        if now_s - self._checkpoint_s >= self._seconds:
            return Action.CHECKPOINT_CLOCK
        return Action.REPORT if now_s - self._report_s >= self._report_seconds else Action.NOTHING

    def reported(self, *, checkpoint: bool) -> None:
        """Restart the clocks after a report, with or without a checkpoint."""
        self._report_s = self._clock()
        if checkpoint:
            self._checkpoint_s = self._report_s
