"""The preparation on Ray Data: one task a shard, on as many nodes as the cluster has.

Order needs no care here: a shard's place, name and bytes follow from the plan, and the manifest is joined from the
sidecars in listed order, so it does not matter which task ends first.
"""

import functools
import pickle
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import ray
import ray.data
import ray.exceptions

from pipeline.core.errors import UserError, problem
from pipeline.data.prepare.run import Engine, Tell
from pipeline.data.prepare.shard_task import ShardTask, Tally, prepare_shard
from pipeline.data.video.guard import Guard

_POLL_S = 2.0


def on_ray(cpus: float = 1.0) -> Engine:
    """Return the engine that runs on the Ray cluster this process is connected to.

    Args:
        cpus: logical CPUs of a task; a task keeps about one core busy. Fractions let small clusters run more at a time.

    Raises:
        UserError: no node has that many CPUs. (A cluster without any may still be growing; then Ray waits.)
    """

    def run(tasks: Sequence[ShardTask], tell: Tell) -> None:
        largest = max((node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
        if cpus <= 0 or 0 < largest < cpus:
            fix = "set --cpus to what one node can give"
            raise UserError(problem("A task would never start", got=cpus, allowed=f"up to {largest:g} CPUs", fix=fix))
        tally = ray.remote(num_cpus=0)(Tally).remote()
        rows = [{"task": pickle.dumps(task)} for task in tasks]
        # One block a task, so that one task does one shard and a lost node costs the shards it was at.
        blocks = ray.data.from_items(rows, override_num_blocks=len(rows))
        dataset = blocks.map(_work, num_cpus=cpus, fn_kwargs={"tally": tally})
        # Ray Data would reserve half of a small cluster for a consumer that has no work here.
        dataset.context.op_resource_reservation_enabled = False
        with _reporting(tally, tell):
            done = list(dataset.iter_rows())
        assert len(done) == len(tasks), "every task gives one row"
        # From the rows, since the last ticks may still be on their way to the tally.
        tell(sum(row["videos"] for row in done), sum(row["quarantined"] for row in done))

    return run


def _work(row: dict[str, Any], tally: Any) -> dict[str, Any]:
    task: ShardTask = pickle.loads(row["task"])  # noqa: S301 - packed by the driver a moment ago
    own = Tally()

    def tick(shard: int, done: int, quarantined: int) -> None:
        own.add(shard, done, quarantined)
        tally.add.remote(shard, done, quarantined)

    prepare_shard(task, _guard(task.limit_s), tick)
    videos, quarantined = own.totals()
    return {"videos": videos, "quarantined": quarantined}


@functools.cache
def _guard(limit_s: float) -> Guard:
    """The one decoding child of this Ray worker process; it ends by itself when the worker does."""
    return Guard(limit_s)


@contextmanager
def _reporting(tally: Any, tell: Tell) -> Iterator[None]:
    """Pass the tally's totals on every few seconds while the tasks run."""
    over = threading.Event()

    def poll() -> None:
        # Without the tally (its node was lost) the work goes on unseen.
        with suppress(ray.exceptions.RayActorError):
            while not over.wait(_POLL_S):
                tell(*ray.get(tally.totals.remote()))

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
