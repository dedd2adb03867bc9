"""From a recipe to a finished run: check, record, track, and hand over to Ray Train."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    UserCallback,
)
from ray.train.torch import TorchConfig, TorchTrainer

from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.core.errors import UserError, problem
from pipeline.core.ray_session import connect
from pipeline.data.feed.stream import TASK_CLIPS, Share
from pipeline.tracking.run import TrackedRun, flatten
from pipeline.train import preflight
from pipeline.train.callbacks import Tracking, cause_of
from pipeline.train.clip_task import ClipTask
from pipeline.train.feeding import OpenFeed, PreparedFeed, TrainingFeed, micro_batch
from pipeline.train.lock import driving
from pipeline.train.loop import train_worker
from pipeline.train.optim import STATES
from pipeline.train.preflight import Claim
from pipeline.train.recipe import RunRecipe
from pipeline.train.runs import (
    RunRecord,
    check_name,
    fresh_name,
    has_record,
    open_record,
    software,
    tracking_uri,
    update_record,
)
from pipeline.train.task import OpenTask, Task
from pipeline.train.trained_on import TrainedOn
from pipeline.train.worker import Job, StepHook

COLLECTIVE_TIMEOUT_S = 900
"""Longest time that workers wait for each other; rank 0 may be uploading a checkpoint of several GiB."""
CONTROLLER_FAILURES = 3
"""Attempts to start the workers; Ray's default is to try for ever."""


@dataclass(frozen=True)
class Trained:
    """A finished run."""

    name: str
    steps: int
    """Optimiser steps done in all."""
    skipped: int
    """Of these, not finite and skipped."""
    best_score: float | None
    """Best validation score, by which checkpoints are ranked; None when nothing was validated."""
    best_top1: float | None
    """Best validation top-1, percent; None when nothing was validated, and of tasks that do not classify."""
    best_checkpoint: str
    """Path or URI of the checkpoint with the best validation score, else of the last; empty when there is none."""
    last_checkpoint: str
    mlflow_run_id: str
    tracking_uri: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a run has as a part of something larger, such as a sweep."""

    start: str = ""
    """Checkpoint of another run on the same data, whose weights, optimiser and step a new run goes on from."""
    callbacks: tuple[UserCallback, ...] = ()
    """Of Ray Train's controller, beside those that track the run."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Of the MLflow run, beside those of every run."""
    patience_s: float = 0.0
    """How long another driver of the run is waited for, seconds."""


ALONE = Part()


def train(
    recipe: RunRecipe,
    *,
    root: str,
    open_feed: OpenFeed = PreparedFeed,
    open_task: OpenTask = ClipTask,
    name: str = "",
    same_data_as: TrainedOn | None = None,
    part: Part = ALONE,
    hooks: tuple[StepHook, ...] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Trained:
    """Train a recipe to its end, or resume the run of that name and train it to its end.

    Args:
        recipe: what to train.
        root: run storage, a path or URI that every node can write; the run gets the folder `name` in it.
        open_feed: opens the data; called here and in every worker.
        open_task: makes what is trained, likewise; both get the recipe, and fit its type.
        name: of the run; empty for a new one. A run that exists goes on from its last checkpoint.
        same_data_as: refuse any other data, for a run that is repeated.
        part: what the run has as a part of something larger.
        hooks: called in every worker after each step.
        clock: rank 0's clock for checkpoints by time, seconds.

    Raises:
        UserError: the recipe does not fit its data, the cluster, or the run that it resumes; or another driver has the
            run; or too many steps were not finite; or the workers failed more often than the recipe allows.
    """
    root, name = storage.absolute(root), name or fresh_name(recipe)
    check_name(name)
    feed, task = open_feed(recipe), open_task(recipe)
    _check_data(recipe, feed, same_data_as)
    if not has_record(root, name):  # a run that exists has weights of its own
        task.check_first_weights()
    _claim(recipe, root, task, feed)
    with driving(root, name, patience_s=part.patience_s):
        record, resumed = open_record(root, name, recipe, feed.passport, feed.rows)
        print(f"{'resuming' if resumed else 'starting'} run {name} in {root}", flush=True)
        tracked = _tracked(recipe, root, record)
        about = _about(recipe, feed, storage.join(root, name), part.tags)
        run_id = tracked.begin(*about)
        if run_id and run_id != record.mlflow_run_id:
            record = update_record(root, record, mlflow_run_id=run_id)
        job = Job(
            recipe=recipe,
            open_feed=open_feed,
            open_task=open_task,
            data=TrainedOn(feed.passport, storage.join(root, name)),
            plan=feed.plan,
            mlflow_run_id=record.mlflow_run_id,
            start=part.start,
            hooks=hooks,
            clock=clock,
        )
        result = _fit_tracked(job, root, name, tracked, part.callbacks)
        if not run_id:  # MLflow was away at the start; it may be back
            run_id = tracked.begin(*about)
        tracked.end("FINISHED")
    return _trained(result, root, name, run_id or record.mlflow_run_id, tracked.uri)


def _claim(recipe: RunRecipe, root: str, task: Task, feed: TrainingFeed) -> None:
    """Connect to Ray, and refuse what the cluster or the disk cannot hold."""
    weights = model_bytes(task)
    claims = claims_of(recipe, weights=weights, sample_bytes=feed.sample_bytes)
    connect(sum(claim.count * claim.cpus for claim in claims))
    preflight.enforce(claims)
    if storage.is_local(root):
        os.makedirs(root, exist_ok=True)
        # Weights, statistics and what the optimiser keeps for each weight.
        preflight.check_disk(root, (1 + STATES[recipe.optim.name]) * weights, recipe.train.keep)


def claims_of(recipe: RunRecipe, *, weights: int, sample_bytes: int) -> list[Claim]:
    """Return what a run of the recipe holds at the same time.

    Args:
        recipe: the recipe.
        weights: size of the network's weights and statistics, bytes.
        sample_bytes: size of the arrays of one sample of the feed.
    """
    compute = recipe.compute
    share = Share(compute.data_cpus / compute.workers, compute.prefetch) if compute.data_cpus else None
    workers = Claim(
        what="training processes",
        count=compute.workers,
        cpus=compute.cpus_per_worker,
        gpus=float(compute.gpu),
        resource=compute.worker_resource,
        # Weights, gradients, the copy that a checkpoint makes, momentum; activations are not known beforehand.
        memory=0 if compute.gpu else (3 + STATES[recipe.optim.name]) * weights,
        store=_store_samples(recipe, share) * sample_bytes if share else 0,
    )
    if share is None:
        return [workers]
    return [workers, Claim(what="feed tasks", count=compute.workers * share.tasks, cpus=share.task_cpus)]


def _store_samples(recipe: RunRecipe, share: Share) -> int:
    """Return how many samples a worker's feed keeps in the object store: held ready, and being made by tasks."""
    held = share.prefetch * micro_batch(recipe) + share.tasks * max(TASK_CLIPS, micro_batch(recipe))
    return 2 * held  # the training's and, for a while, the validation's


def model_bytes(task: Task) -> int:
    """Return the size of the network's weights and statistics, bytes; nothing is allocated."""
    with torch.device("meta"):
        return sum(t.numel() * t.element_size() for t in task.build().state_dict().values())


def _check_data(recipe: RunRecipe, feed: TrainingFeed, same_data_as: TrainedOn | None) -> None:
    if same_data_as and (changed := same_data_as.differences(feed.passport, feed.rows)):
        fix = "give the data set of the first run with --data, or train the recipe by its name"
        allowed = "the data set that the repeated run was trained on"
        raise UserError(problem("The data is not the same", got="; ".join(changed), allowed=allowed, fix=fix))
    feed.plan.check_pieces(recipe.compute.workers, recipe.train.accumulate)


def _tracked(recipe: RunRecipe, root: str, record: RunRecord) -> TrackedRun:
    uri = tracking_uri(recipe, root)
    # A server knows where artifacts go; beside an SQLite file they would go below the driver's working directory.
    artifacts = "" if uri.startswith(("http://", "https://", "databricks")) else storage.join(root, "mlflow-artifacts")
    return TrackedRun(uri, recipe.tracking.experiment, record.name, record.key, artifact_root=artifacts)


def _about(
    recipe: RunRecipe, feed: TrainingFeed, run: str, more: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Return parameters, JSON artifacts and tags of the MLflow run: all that another run needs to repeat this one."""
    code = software()
    data = {
        "run": run,
        "passport": feed.passport.digest,
        "passport_parts": dict(feed.passport.parts),
        "training_videos": feed.plan.samples,
        "validation_videos": feed.validation_videos,
        "classes": list(feed.classes),
        "steps_per_epoch": feed.plan.steps_per_epoch,
        "software": code,
    }
    plain = to_dict(recipe)
    tags = {**more, "star.run": run, "star.passport": feed.passport.digest}
    tags |= {f"star.software.{name}": text for name, text in code.items()}
    return flatten(plain), {"recipe.json": plain, "data.json": data}, tags


def _fit_tracked(job: Job, root: str, name: str, tracked: TrackedRun, more: tuple[UserCallback, ...]) -> Any:
    """Fit, and let the MLflow run say how an attempt ended that did not finish."""
    try:
        return _fit(job, root, name, (Tracking(tracked, storage.join(root, name)), *more))
    except KeyboardInterrupt:
        tracked.end("KILLED")
        raise
    except BaseException:
        tracked.end("FAILED")
        raise


def _fit(job: Job, root: str, name: str, callbacks: tuple[UserCallback, ...]) -> Any:
    compute, train_config = job.recipe.compute, job.recipe.train
    filesystem, path = storage.resolve(root)
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=compute.workers,
            use_gpu=compute.gpu,
            resources_per_worker={"CPU": compute.cpus_per_worker}
            | ({"GPU": 1.0} if compute.gpu else {})
            | ({compute.worker_resource: 1.0} if compute.worker_resource else {}),
        ),
        torch_config=TorchConfig(backend="nccl" if compute.gpu else "gloo", timeout_s=COLLECTIVE_TIMEOUT_S),
        run_config=RunConfig(
            name=name,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(
                max_failures=compute.max_failures, controller_failure_limit=CONTROLLER_FAILURES
            ),
            checkpoint_config=CheckpointConfig(
                num_to_keep=train_config.keep, checkpoint_score_attribute="score", checkpoint_score_order="max"
            ),
            callbacks=list(callbacks),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        raise _explained(error, name) from error
    outcome: dict[str, Any] = result.return_value or {}
    if outcome.get("refused"):
        raise UserError(outcome["refused"])
    if outcome.get("failure"):
        raise UserError(
            problem(
                "Training stopped",
                got=outcome["failure"],
                allowed=f"at most {train_config.nonfinite_limit} non-finite steps",
                fix=f"lower optim.lr, set train.precision=fp32, or look at the named videos; --run {name} resumes",
            )
        )
    return result


def _explained(error: TrainingFailedError, name: str) -> UserError:
    """Turn Ray Train's report of a failed run into the message of what failed first."""
    if isinstance(refused := getattr(error, "controller_failure", None), UserError):
        return refused
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    error_text = str(error).strip()
    if failures:
        rank, failure = min(failures.items())
        error_text = f"worker {rank}: {type(cause_of(failure)).__name__}: {str(cause_of(failure)).strip()}"
    return UserError(
        problem(
            "The workers failed more often than compute.max_failures allows",
            got=error_text,
            allowed="workers that finish",
            fix=f"mend the cause; --run {name} then resumes from the last checkpoint",
        )
    )


def _trained(result: Any, root: str, name: str, run_id: str, uri: str) -> Trained:
    outcome, run = result.return_value, storage.join(root, name)
    kept = result.best_checkpoints or []
    best = max(kept, key=lambda pair: (pair[1]["score"], pair[1]["step"]), default=None)
    return Trained(
        name=name,
        steps=outcome["steps"],
        skipped=outcome["skipped"],
        best_score=outcome["best_score"],
        best_top1=outcome["best_top1"],
        best_checkpoint=_folder(run, best[0]) if best else "",
        last_checkpoint=_folder(run, result.checkpoint) if result.checkpoint else "",
        mlflow_run_id=run_id,
        tracking_uri=uri,
    )


def _folder(run: str, kept: Checkpoint) -> str:
    """Return a checkpoint's path or URI; Ray Train names it by the path inside the file system, without the scheme."""
    return storage.join(run, os.path.basename(kept.path))
