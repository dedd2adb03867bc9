"""The extraction on Ray Data: a task a shard, CPU tasks and GPU actors pulling from one queue.

Ray Data gives a task its row before anybody knows who will be free. So rows are tickets: a task or an actor that runs
one claims the next shard from the queue, and a ticket that finds it empty ends at once. A lost node's tickets are run
again by Ray and get the shards that they had claimed.
"""

import os
import pickle
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import ray
import ray.data
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.core.errors import UserError, problem
from pipeline.data.prepare.shard_task import Tally
from pipeline.flow.extract import Engine, Tell
from pipeline.flow.shard_task import FlowTask, make_shard
from pipeline.flow.solver import Solver

_POLL_S = 2.0
_JOIN_S = 300.0
"""How long nodes of a running cluster may take to join before their GPUs are missed."""
GPU_BATCH = 256
"""Pairs that a GPU gets at once."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Who extracts."""

    cpu: Solver | None = None
    """Of the CPU tasks; None for a run on GPUs alone, and for an import."""
    cpus: float = 1.0
    """Logical CPUs of a CPU task; 0 for no CPU tasks."""
    gpu: Solver | None = None
    """Of the GPU actors."""
    gpus: int = 0
    """GPU actors, a GPU each."""
    gpu_cpus: float = 1.0
    """Logical CPUs of a GPU actor, which decodes and encodes on them."""


class Queue(Tally):
    """Hands out shards to tickets, and adds up what was done with them."""

    def __init__(self, tasks: Sequence[bytes]) -> None:
        super().__init__()
        self._waiting = list(reversed(tasks))
        self._claimed: dict[str, bytes] = {}
        self._actors = 0

    def arrive(self) -> None:
        """Note that a GPU actor is up."""
        self._actors += 1

    def actors(self) -> int:
        """Return how many GPU actors have come up."""
        return self._actors

    def claim(self, ticket: str) -> bytes | None:
        """Return the shard of a ticket: the next one, or the one that it claimed before; None when all are taken."""
        if ticket not in self._claimed and self._waiting:
            self._claimed[ticket] = self._waiting.pop()
        return self._claimed.get(ticket)

    def close(self) -> None:
        """Hand out nothing more."""
        self._waiting.clear()


def on_ray(workers: Workers) -> Engine:
    """Return the engine that runs on the Ray cluster this process is connected to.

    Raises:
        UserError: no node has the CPUs of a task, or the cluster lacks the GPUs; also what a task found wrong.
    """

    def run(tasks: Sequence[FlowTask], tell: Tell) -> None:
        _check(workers)
        # On the driver's node: without the queue the run is over, and without the driver too.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        queue = ray.remote(num_cpus=0)(Queue).options(scheduling_strategy=here)
        queue = queue.remote([pickle.dumps(task) for task in tasks])
        with _reporting(queue, tell), ThreadPoolExecutor(2) as pool:
            running = []
            if workers.gpus:
                running.append(pool.submit(_consume, _gpu_stage(workers, len(tasks), queue), queue))
                _wait_for_actors(queue, min(workers.gpus, len(tasks)), running[0])
            if workers.cpus:
                running.append(pool.submit(_consume, _cpu_stage(workers, len(tasks), queue), queue))
            rows = [row for stage in running for row in stage.result()]
        if wrong := [row["error"] for row in rows if row["error"]]:
            raise UserError(wrong[0])
        assert sum(row["shards"] for row in rows) == len(tasks), "every shard was somebody's"
        tell(sum(row["pairs"] for row in rows), sum(row["quarantined"] for row in rows))

    return run


def _tickets(kind: str, number: int) -> Any:
    # One block a ticket, so that one task does one shard and a lost node costs the shards it was at.
    items = [{"ticket": f"{kind}{n}"} for n in range(number)]
    dataset = ray.data.from_items(items, override_num_blocks=number)
    # Ray Data would reserve half of a small cluster for a consumer that has no work here.
    dataset.context.op_resource_reservation_enabled = False
    return dataset


def _cpu_stage(workers: Workers, tickets: int, queue: Any) -> Any:
    shared = {"queue": queue, "solver": workers.cpu}
    return _tickets("cpu", tickets).map(_work, num_cpus=workers.cpus, fn_kwargs=shared)


def _gpu_stage(workers: Workers, tickets: int, queue: Any) -> Any:
    # No more actors than shards: an actor that never gets a ticket would hold a GPU for nothing.
    size = min(workers.gpus, tickets)
    return _tickets("gpu", tickets).map(
        _GpuWorker,
        num_cpus=workers.gpu_cpus,
        num_gpus=1,
        compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
        fn_constructor_kwargs={"queue": queue, "solver": workers.gpu},
    )


def _wait_for_actors(queue: Any, number: int, stage: "Future[list[dict[str, Any]]]") -> None:
    """Let GPU actors come up before CPU tasks take every CPU that becomes free, one at a time; an actor needs several.

    After `_JOIN_S` the CPU tasks begin without those that are still missing.
    """
    deadline = time.monotonic() + _JOIN_S
    while not stage.done() and time.monotonic() < deadline and ray.get(queue.actors.remote()) < number:
        time.sleep(0.1)


def _consume(stage: Any, queue: Any) -> list[dict[str, Any]]:
    """Run one stage; when it fails, or finds a person's mistake, the other one gets no further shards."""
    rows = []
    try:
        for row in stage.iter_rows():
            rows.append(row)
            if row["error"]:
                ray.get(queue.close.remote())
    except BaseException:
        with suppress(ray.exceptions.RayActorError):
            ray.get(queue.close.remote())
        raise
    return rows


class _GpuWorker:
    """One GPU's process: compiled kernels and buffers stay between shards."""

    def __init__(self, queue: Any, solver: Solver) -> None:
        self._queue, self._solver = queue, solver
        queue.arrive.remote()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return _work(row, self._queue, self._solver)


def _work(row: dict[str, Any], queue: Any, solver: Solver | None) -> dict[str, Any]:
    packed = ray.get(queue.claim.remote(row["ticket"]))
    result = {"error": "", "shards": 0, "pairs": 0, "quarantined": 0}
    if packed is None:
        return result
    task: FlowTask = pickle.loads(packed)  # noqa: S301 - packed by the driver a moment ago
    own = Tally()

    def tick(shard: int, done: int, quarantined: int) -> None:
        own.add(shard, done, quarantined)
        queue.add.remote(shard, done, quarantined)

    try:
        make_shard(task, solver, tick)
    except UserError as error:  # Ray would wrap it in a traceback
        return {**result, "error": str(error)}
    pairs, quarantined = own.totals()
    return {"error": "", "shards": 1, "pairs": pairs, "quarantined": quarantined}


def _check(workers: Workers) -> None:
    largest = _largest("CPU")
    wanted = max(workers.cpus, workers.gpu_cpus if workers.gpus else 0.0)
    if workers.cpus < 0 or 0 < largest < wanted:
        fix = "set --cpus to what one node can give"
        raise UserError(problem("A task would never start", got=wanted, allowed=f"up to {largest:g} CPUs", fix=fix))
    # Nodes of a submitted job's cluster may still be joining; a cluster on this machine is complete.
    deadline = time.monotonic() + (_JOIN_S if os.environ.get("RAY_ADDRESS") else 0.0)
    while (there := sum(node["Resources"].get("GPU", 0.0) for node in _nodes())) < workers.gpus:
        if time.monotonic() >= deadline:
            fix = "lower --gpus, or add GPU nodes to the cluster"
            what = "The cluster has too few GPUs"
            raise UserError(problem(what, got=f"--gpus {workers.gpus}", allowed=f"up to {there:g}", fix=fix))
        time.sleep(_POLL_S)


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _largest(resource: str) -> float:
    """Return what the node with the most of a resource has; 0 on a cluster without nodes yet, for which Ray waits."""
    return max((node["Resources"].get(resource, 0.0) for node in _nodes()), default=0.0)


@contextmanager
def _reporting(queue: Any, tell: Tell) -> Iterator[None]:
    """Pass the totals on every few seconds while the stages run."""
    over = threading.Event()

    def poll() -> None:
        with suppress(ray.exceptions.RayActorError):
            while not over.wait(_POLL_S):
                tell(*ray.get(queue.totals.remote()))

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
