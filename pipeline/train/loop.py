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
from typing import Any

import ray.train
import torch
import torch.distributed as dist

from pipeline.core.config import to_dict
from pipeline.core.errors import UserError
from pipeline.train import checkpoint
from pipeline.train.checkpoint import Action, Snapshot
from pipeline.train.step import StepOutcome, train_step
from pipeline.train.task import Validation
from pipeline.train.validate import validate
from pipeline.train.worker import Job, Ready, Worker, first_refusal, prepare, set_up

NOT_VALIDATED = -1e300
"""Score of a checkpoint whose weights were not validated: it is the first to go. JSON knows no infinity."""


def train_worker(config: dict[str, Job]) -> dict[str, Any]:
    """Train until the recipe's end; Ray Train runs this in every worker and returns rank 0's result.

    Args:
        config: {"job": the job}.

    Returns:
        Steps done, non-finite steps, best validation score and top-1 (percent) or None, a failure in words or "", and
        why the set-up was refused or "".

    Raises:
        UserError: the feed met something that a person has to mend. The others may be waiting for this worker; raised,
            it makes the controller end them all (see `callbacks.Tracking`).
    """
    job = config["job"]
    ready = prepare(job)
    if refused := first_refusal(ready):
        return {"refused": refused}
    assert isinstance(ready, Ready)
    worker = set_up(job, ready)
    try:
        with contextlib.closing(worker.batches):
            while worker.done < worker.last_step and not worker.failure:
                run_epoch(worker)
    except UserError:
        logging.getLogger("ray.train").setLevel(logging.CRITICAL)  # it would log a traceback
        raise
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
