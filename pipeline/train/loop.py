"""What every training process runs under Ray Train: set up, then epochs of steps, checkpoints on the way.

The loop holds no state that a checkpoint lacks: position, weights, optimiser and counts are in it, the order of the
videos and the learning rate are functions of the position, and dropout is seeded anew for every step. A run that was
killed therefore goes on exactly where its last checkpoint stands.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import tempfile
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

from pipeline.core.config import to_dict
from pipeline.core.errors import UserError
from pipeline.data.feed.plan import Plan
from pipeline.data.store.catalog import Passport
from pipeline.train import checkpoint
from pipeline.train.checkpoint import Action, Policy, Snapshot
from pipeline.train.device import configure_torch
from pipeline.train.feeding import Batches, OpenFeed, TrainingFeed, refuse_other_data
from pipeline.train.journal import Journal
from pipeline.train.optim import Schedule, build_optimizer
from pipeline.train.recipe import RunRecipe
from pipeline.train.step import StepOutcome, train_step
from pipeline.train.task import OpenTask, StepBatch, StepSettings, Task, Validation
from pipeline.train.validate import validate

NOT_VALIDATED = -1e300
"""Score of a checkpoint whose weights were not validated: it is the first to go. JSON knows no infinity."""

StepHook = Callable[[StepOutcome, int], None]
"""Called in every worker after each step with its outcome and the worker's rank."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the driver hands to every worker."""

    recipe: RunRecipe
    open_feed: OpenFeed
    open_task: OpenTask
    passport: Passport
    """Identity of the data as the driver found it; a worker that finds other data refuses to train on it."""
    plan: Plan
    mlflow_run_id: str = ""
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


def train_worker(config: dict[str, Job]) -> dict[str, Any]:
    """Train until the recipe's end; Ray Train runs this in every worker and returns rank 0's result.

    Args:
        config: {"job": the job}.

    Returns:
        Steps done, non-finite steps, best validation score and top-1 (percent) or None, a failure in words or "", and
        why the set-up was refused or "": returned and not raised, since Ray Train would only try again.
    """
    job = config["job"]
    ready = _prepare(job)
    if refused := _first_refusal(ready):
        return {"refused": refused}
    assert isinstance(ready, Ready)
    worker = set_up(job, ready)
    with contextlib.closing(worker.batches):
        while worker.done < worker.last_step and not worker.failure:
            run_epoch(worker)
    if worker.failure:
        ray.train.report({"points": worker.journal.unsent(), "final": True} if worker.settings.rank == 0 else {})
    return {
        "steps": worker.done,
        "skipped": worker.skipped,
        "best_score": worker.best_score,
        "best_top1": worker.best_top1,
        "failure": worker.failure,
        "refused": "",
    }


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What a worker has before it meets the others."""

    settings: StepSettings
    feed: TrainingFeed
    task: Task
    restored: Snapshot | None
    module: nn.Module
    """The bare network with the weights of the last checkpoint or the first weights, on the CPU."""


def _prepare(job: Job) -> Ready | UserError:
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
        feed, of_run = job.open_feed(recipe), (job.passport, job.plan)
        node = f"The prepared data that worker {settings.rank} finds at {recipe.data.root}"
        refuse_other_data(node, feed.passport, feed.plan, of_run=of_run)
        # 3. The last checkpoint or the first weights.
        restored = _last_checkpoint()
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


def _first_refusal(ready: Ready | UserError) -> str:
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


def run_epoch(worker: Worker) -> None:
    """Train to the end of the epoch, then validate and checkpoint."""
    recipe, steps_per_epoch = worker.job.recipe, worker.feed.plan.steps_per_epoch
    end = min((worker.done // steps_per_epoch + 1) * steps_per_epoch, worker.last_step)
    while worker.done < end and not worker.failure:
        lr = worker.schedule.lr(worker.done)
        started_s = time.perf_counter()
        outcome = train_step(worker.task, worker.network, worker.optimizer, worker.batches, lr, worker.settings)
        seconds = time.perf_counter() - started_s
        if outcome.step != worker.done:
            raise RuntimeError(f"the feed is at step {outcome.step} and the loop at step {worker.done}")
        worker.done += 1
        worker.journal.add(outcome, lr, seconds, worker.batches.take_wait())
        for hook in worker.job.hooks:
            hook(outcome, worker.settings.rank)
        if not outcome.applied:
            _skip(worker, outcome)
        if worker.done % recipe.train.log_every == 0:
            worker.journal.close_interval(worker.done, worker.skipped)
            # The end of an epoch gets a line of its own.
            if worker.settings.rank == 0 and worker.done < end and worker.journal.line_is_due():
                print(worker.journal.line(worker.done, end_of_epoch=False), flush=True)
        # The last step of an epoch is left to the checkpoint that follows validation.
        if worker.done < end and worker.policy.is_agreement(worker.done):
            _agree(worker)
    if not worker.failure:
        _finish_epoch(worker)


def _finish_epoch(worker: Worker) -> None:
    worker.journal.close_interval(worker.done, worker.skipped)
    plan, train = worker.feed.plan, worker.job.recipe.train
    epoch, rest = divmod(worker.done, plan.steps_per_epoch)
    is_due = not rest and (epoch == plan.epochs or (train.eval_every > 0 and epoch % train.eval_every == 0))
    result = _validate(worker) if is_due else None
    if worker.settings.rank == 0:
        line = worker.journal.line(worker.done, end_of_epoch=True)
        if result:
            line += f"  {result.words()}  best {worker.best_score:.2f}"
        print(line, flush=True)
    _save(worker, "limit" if rest else "epoch", result)


def _validate(worker: Worker) -> Validation:
    settings = worker.settings
    with contextlib.closing(worker.feed.validation(settings.rank, settings.world)) as batches:
        result = validate(worker.task, worker.module, batches, worker.feed.validation_videos, settings)
    worker.best_score = max(result.score, NOT_VALIDATED if worker.best_score is None else worker.best_score)
    metrics = {f"val/{name}": value for name, value in result.metrics.items()}
    if result.top1 is not None:
        worker.best_top1 = max(result.top1, worker.best_top1 or 0.0)
        metrics["val/best_top1"] = worker.best_top1
    worker.journal.note(worker.done, metrics)
    return result


def _skip(worker: Worker, outcome: StepOutcome) -> None:
    """Say which videos a refused step held, and stop the run when there were too many such steps."""
    worker.skipped += 1
    ids = list(outcome.ids)
    if worker.settings.world > 1:
        shares: list[Any] = [None] * worker.settings.world
        dist.all_gather_object(shares, ids)
        ids = [video for share in shares for video in share]
    text = f"step {outcome.step} was skipped: gradient norm {outcome.grad_norm}; videos {', '.join(ids)}"
    if worker.settings.rank == 0:
        print(f"WARNING {text}", flush=True)
    limit = worker.job.recipe.train.nonfinite_limit
    if worker.skipped > limit:
        worker.failure = (
            f"{worker.skipped} steps were not finite and train.nonfinite_limit is {limit}; the last: {text}"
        )


def _agree(worker: Worker) -> None:
    """Do what rank 0's clock and the cluster's preemption notices ask for, on all workers at once."""
    notice = ray.train.get_preemption_info()  # a collective: the same on all workers
    leaving = frozenset(notice.preempted_node_ids) if notice else frozenset()
    decision = torch.tensor([int(worker.policy.decide(leaving))], device=worker.settings.device)
    if worker.settings.world > 1:
        dist.broadcast(decision, src=0)
    action = Action(int(decision))
    if action is Action.REPORT:
        ray.train.report({"points": worker.journal.unsent()} if worker.settings.rank == 0 else {})
        worker.policy.reported(checkpoint=False)
    elif action is not Action.NOTHING:
        worker.journal.close_interval(worker.done, worker.skipped)
        _save(worker, "clock" if action is Action.CHECKPOINT_CLOCK else "preemption")


def _save(worker: Worker, reason: str, result: Validation | None = None) -> None:
    """Checkpoint; rank 0 writes, all report. Ray Train uploads the folder and then records it, which makes it count."""
    journal = worker.journal
    if worker.settings.rank == 0:
        metrics = {
            "step": worker.done,
            "points": journal.unsent(),
            "final": worker.done == worker.last_step,
            "score": result.score if result else NOT_VALIDATED,  # ranks the checkpoints to keep
        }
        with tempfile.TemporaryDirectory() as folder:
            checkpoint.write(folder, _snapshot(worker, reason, result))
            saved = ray.train.Checkpoint.from_directory(folder)
            ray.train.report(metrics, checkpoint=saved, checkpoint_dir_name=f"step-{worker.done:08d}")
    else:
        ray.train.report({})
    journal.saved()
    worker.policy.reported(checkpoint=True)


def _snapshot(worker: Worker, reason: str, result: Validation | None) -> Snapshot:
    return Snapshot(
        step=worker.done,
        reason=reason,
        model=worker.module.state_dict(),
        optimizer=worker.optimizer.state_dict(),
        recipe=to_dict(worker.job.recipe),
        plan=dataclasses.asdict(worker.feed.plan),
        passport=worker.feed.passport.digest,
        passport_parts=dict(worker.feed.passport.parts),
        classes=worker.feed.classes,
        mlflow_run_id=worker.job.mlflow_run_id,
        skipped=worker.skipped,
        top1=result.top1 if result else None,
        best_top1=worker.best_top1,
        score=result.score if result else None,
        best_score=worker.best_score,
        points=tuple(worker.journal.points),
    )


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
