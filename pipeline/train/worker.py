"""A training process, from nothing to the position of the last checkpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.core.errors import UserError
from pipeline.data.feed.plan import Plan
from pipeline.data.store.catalog import Passport
from pipeline.train import checkpoint
from pipeline.train.checkpoint import Policy, Snapshot
from pipeline.train.device import configure_torch
from pipeline.train.feeding import Batches, OpenFeed, TrainingFeed
from pipeline.train.journal import Journal
from pipeline.train.optim import Schedule, build_optimizer
from pipeline.train.recipe import RunRecipe
from pipeline.train.step import StepOutcome
from pipeline.train.task import OpenTask, StepBatch, StepSettings, Task
from pipeline.train.trained_on import TrainedOn, refuse_other_data

StepHook = Callable[[StepOutcome, int], None]
"""Called in every worker after each step with its outcome and the worker's rank."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the driver hands to every worker."""

    recipe: RunRecipe
    open_feed: OpenFeed
    open_task: OpenTask
    data: TrainedOn
    """The data as the driver found it; a worker that finds other data refuses to train on it."""
    plan: Plan
    mlflow_run_id: str = ""
    start: str = ""
    """Checkpoint of another run that a new run goes on from; empty: the first weights."""
    hooks: tuple[StepHook, ...] = ()
    clock: Callable[[], float] = time.monotonic
    """Seconds; rank 0's decides when to checkpoint."""


@dataclass(kw_only=True)
class Worker:
    """One training process. Everything above the line is fixed after the set-up."""

    job: Job
    feed: TrainingFeed
    task: Task
    settings: StepSettings
    schedule: Schedule
    module: nn.Module
    """The bare network."""
    network: nn.Module
    """The network as a step calls it: inside DistributedDataParallel when there are several workers."""
    optimizer: torch.optim.Optimizer
    batches: WaitingIterator
    policy: Policy
    journal: Journal
    last_step: int
    """Steps after which the run ends."""
    # -----------------------------------------------------------------------------------------------------------------
    done: int = 0
    """Optimiser steps done."""
    skipped: int = 0
    """Of these, the non-finite ones."""
    best_score: float | None = None
    best_top1: float | None = None
    failure: str = ""
    """Why the run stops early; the same on all workers."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What a worker has before it meets the others."""

    settings: StepSettings
    feed: TrainingFeed
    task: Task
    restored: Snapshot | None
    module: nn.Module
    """The bare network with the weights of the last checkpoint or the first weights, on the CPU."""


def prepare(job: Job) -> Ready | UserError:
    """Do alone all that a user's mistake can stop; a mistake is returned, so that the others need not wait for ever."""
    recipe, context = job.recipe, ray.train.get_context()
    logging.getLogger().setLevel(logging.WARNING)  # Ray Train would print every report whole
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # that bars are off is no news
    # 1. The device, before anything draws a number or allocates.
    if recipe.compute.gpu:
        torch.cuda.set_device(ray.train.torch.get_device())
    settings = StepSettings(
        device=configure_torch(recipe.compute.threads, gpu=recipe.compute.gpu),
        precision=recipe.train.precision,
        channels_last=recipe.train.channels_last,
        accumulate=recipe.train.accumulate,
        clip_norm=recipe.optim.clip_norm,
        seed=recipe.train.seed,
        rank=context.get_world_rank(),
        world=context.get_world_size(),
    )
    try:
        # 2. The data, which fails fastest when something is wrong.
        feed, of_run = job.open_feed(recipe), (job.data, job.plan)
        node = f"The prepared data that worker {settings.rank} finds at {recipe.data.root}"
        refuse_other_data(node, feed.passport, feed.plan, of_run=of_run, rows=feed.rows)
        # 3. The last checkpoint or the first weights.
        restored = _last_checkpoint() or (checkpoint.read(job.start) if job.start else None)
        if restored:
            passport = Passport(restored.passport, restored.passport_parts)
            refuse_other_data(f"The checkpoint at step {restored.step}", passport, Plan(**restored.plan), of_run=of_run)
        torch.manual_seed(recipe.train.seed)
        task = job.open_task(recipe)
        module = task.build()
        if restored:
            module.load_state_dict(restored.model)
        else:
            task.first_weights(module, log=settings.rank == 0)
    except UserError as error:
        return error
    return Ready(settings=settings, feed=feed, task=task, restored=restored, module=module)


def first_refusal(ready: Ready | UserError) -> str:
    """Return the first worker's refusal, or "" when all are ready; the same on all workers."""
    mine = str(ready) if isinstance(ready, UserError) else ""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return mine
    words: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(words, mine)
    return next(filter(None, words), "")


def set_up(job: Job, ready: Ready) -> Worker:
    """Build a worker at the position of the last checkpoint, together with the others."""
    recipe, settings, feed, restored = job.recipe, ready.settings, ready.feed, ready.restored
    plan = feed.plan
    network, optimizer = _network(job, ready)
    done, limit = restored.step if restored else 0, recipe.train.max_steps
    worker = Worker(
        job=job,
        feed=feed,
        task=ready.task,
        settings=settings,
        schedule=Schedule(recipe.optim, recipe.train.global_batch, plan.steps_per_epoch, recipe.train.epochs),
        module=ready.module,
        network=network,
        optimizer=optimizer,
        batches=WaitingIterator(feed.train(done, settings.rank, settings.world)),
        policy=Policy(recipe.train.checkpoint_minutes, recipe.train.agree_every, job.clock),
        journal=Journal(settings, plan.total_steps, plan.steps_per_epoch),
        last_step=min(limit, plan.total_steps) if limit else plan.total_steps,
        done=done,
    )
    if restored:
        worker.skipped, worker.best_top1 = restored.skipped, restored.best_top1
        worker.best_score = restored.best_top1 if restored.best_score is None else restored.best_score
        worker.journal.restore(restored.points)
        if settings.rank == 0:
            print(f"going on from the checkpoint at step {done} ({restored.reason})", flush=True)
    return worker


def _network(job: Job, ready: Ready) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Move the bare network to the device; return the network as a step calls it, and its optimiser."""
    recipe, settings, task, module = job.recipe, ready.settings, ready.task, ready.module
    module.to(settings.device, memory_format=task.memory_format)  # type: ignore[call-overload]
    task.train_mode(module)
    trained = freeze(task, module)
    if recipe.train.compile:
        module.compile()  # in place, so the names in checkpoints stay
    # Rank 0's parameters and buffers go to all now; before each step, its batch norm statistics do again.
    network = DistributedDataParallel(module) if settings.world > 1 else module
    optimizer = build_optimizer(trained, recipe.optim)
    if ready.restored:
        optimizer.load_state_dict(ready.restored.optimizer)
    return network, optimizer


def freeze(task: Task, module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that the task trains; all others need no gradient from now on, and get none.

    Before the network goes into DistributedDataParallel, which waits for the gradient of every parameter that needs
    one.
    """
    trained = list(task.parameters(module))
    kept = {id(parameter) for parameter in trained}
    for parameter in module.parameters():
        parameter.requires_grad_(id(parameter) in kept)
    return trained


def _last_checkpoint() -> Snapshot | None:
    last = ray.train.get_checkpoint()
    if last is None:
        return None
    with last.as_directory() as folder:
        return checkpoint.read(folder)


class WaitingIterator(Iterator[StepBatch]):
    """The feed's micro-batches, with the time spent waiting for them."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._wait_s = 0.0

    def __next__(self) -> StepBatch:
        started_s = time.perf_counter()
        batch = next(self._batches)
        self._wait_s += time.perf_counter() - started_s
        return batch

    def take_wait(self) -> float:
        """Return the seconds waited since the last call."""
        waited_s, self._wait_s = self._wait_s, 0.0
        return waited_s

    def close(self) -> None:
        """Stop the feed's tasks."""
        self._batches.close()
