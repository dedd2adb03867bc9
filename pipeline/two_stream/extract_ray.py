"""The extraction of maps on Ray: actors hold the network, one a GPU, and Ray Data tasks decode for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray

from pipeline.core.errors import UserError
from pipeline.data.feed.stream import TASK_CLIPS, Share
from pipeline.train import preflight
from pipeline.train.preflight import Claim
from pipeline.two_stream.extract import Explainer, MapTask, Tell, make_shard

_RESTARTS = 3
"""Of an actor whose node was lost. Its shard begins anew; a shard done twice is the same file."""


class _Actor:
    """Holds a network between shards."""

    def __init__(self) -> None:
        self._explainer: Explainer | None = None

    def do(self, task: MapTask) -> tuple[int, str]:
        """Do a task; returns its maps and, as a value since Ray would wrap it, what a person did wrong."""
        try:
            if self._explainer is None:
                self._explainer = Explainer(task)
            make_shard(task, self._explainer)
        except UserError as error:
            return 0, str(error)
        return task.maps, ""


def claims_of(task: MapTask, shards: int) -> list[Claim]:
    """Return what an extraction holds at the same time."""
    compute = task.compute
    count = min(compute.workers, shards)
    actors = Claim(
        what="networks that make maps",
        count=count,
        cpus=compute.cpus_per_worker,
        gpus=float(compute.gpu),
        resource=compute.worker_resource,
    )
    if not compute.data_cpus:
        return [actors]
    share = Share(compute.data_cpus / count, compute.prefetch, count)
    held = share.prefetch * task.batch + share.tasks * max(TASK_CLIPS, task.batch)
    feed = Claim(what="feed tasks", count=count * share.tasks, cpus=share.task_cpus)
    store = Claim(what="decoded images", count=count, store=held * task.loader.sample_bytes)
    return [actors, feed, store]


def on_ray(tasks: Sequence[MapTask], tell: Tell) -> None:
    """The engine on the Ray cluster that this process is connected to.

    Raises:
        UserError: the cluster cannot hold the actors and their feeds, or what a task found wrong.
    """
    preflight.enforce(claims_of(tasks[0], len(tasks)))
    compute = tasks[0].compute
    options: dict[str, Any] = {
        "num_cpus": compute.cpus_per_worker,
        "num_gpus": float(compute.gpu),
        "max_restarts": _RESTARTS,
        "max_task_retries": _RESTARTS,
    }
    if compute.worker_resource:
        options["resources"] = {compute.worker_resource: 1.0}
    idle = [ray.remote(_Actor).options(**options).remote() for _ in range(min(compute.workers, len(tasks)))]
    waiting = list(reversed(tasks))
    running: dict[Any, Any] = {}
    done, total = 0, sum(task.maps for task in tasks)
    while waiting or running:
        while waiting and idle:
            actor = idle.pop()
            running[actor.do.remote(waiting.pop())] = actor
        (ready,), _ = ray.wait(list(running))
        maps, error = ray.get(ready)
        if error:
            raise UserError(error)
        idle.append(running.pop(ready))
        done += maps
        tell(done, total)
    # Actors end with their last handle, here.
