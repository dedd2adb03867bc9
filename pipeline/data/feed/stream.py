"""Micro-batches through Ray Data: plans in, arrays out, in the order of the plans.

A row is a micro-batch. A task takes some consecutive rows and sends each off as a block of its own as soon as it is
done, so that what a task costs to start is paid once for some dozens of clips while memory is counted in single
micro-batches. A run has too many micro-batches for one Ray Data execution, which would make all input blocks up front:
they go in segments, and the next segment's execution is started by a thread while the last rows of the present one
are consumed. Why not `streaming_split`, and what all this was measured to cost: docs/decisions/0004-the-feed.md.
"""

import contextlib
import logging
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import ray.data
from ray.data import ExecutionResources

from pipeline.core.errors import UserError, problem
from pipeline.data.feed.microbatch import Loader, MicroBatch, MicroPlan

TASK_CLIPS = 64
"""Clips that a task loads, in as many whole micro-batches as it takes; a task's start costs about one clip."""

SEGMENT_TASKS = 256
"""Tasks of a segment at most: input blocks that exist at a time; making them takes about a fifth of a second."""

SEGMENT_BYTES = 1 << 30
"""Pixels of a segment at most; less where the object store is small. A segment must fit in memory whole: an execution
whose output nobody takes yet polls without a pause, in a thread of the training process, and halves its speed."""

ROW_BYTES = 1 << 14
"""What a row takes beside its arrays, with room: names, ids, the table's schema. An execution whose limit is below what
its rows take waits for ever."""

_COUNTERS = ("step", "epoch", "micro", "samples_in_step")
_CELL = "array "
"""Begins the name of a column that holds an array; the loader names the rest."""
_FORMS = pa.list_(pa.struct([("name", pa.string()), ("dtype", pa.string()), ("shape", pa.list_(pa.int64()))]))
_PLAN_SCHEMA = pa.schema(
    [
        *((name, pa.int64()) for name in _COUNTERS),
        ("ids", pa.list_(pa.string())),
        ("shards", pa.list_(pa.string())),
        ("rows", pa.list_(pa.int64())),
        ("views", pa.list_(pa.int64())),
        ("extra", pa.string()),
    ]
)


@dataclass(frozen=True)
class Share:
    """What one consumer may use of the cluster."""

    cpus: float
    """Logical CPUs for its tasks."""
    prefetch: int
    """Micro-batches held ready."""
    consumers: int = 1
    """Consumers that share the cluster's object store."""

    def __post_init__(self) -> None:
        if self.task_cpus <= 0 or self.prefetch < 0:
            raise UserError(
                problem(
                    "The feed has no CPU to work with",
                    got=f"{self.cpus} CPUs a worker, {self.prefetch} micro-batches held ready",
                    allowed="at least a ten-thousandth of a CPU a worker, and 0 or more micro-batches",
                    fix="raise compute.data_cpus; set compute.prefetch to 0 or more",
                )
            )

    @property
    def tasks(self) -> int:
        """Tasks at a time."""
        return max(int(self.cpus), 1)

    @property
    def task_cpus(self) -> float:
        """Logical CPUs of a task: one, or the whole share where it is less (Ray counts in ten-thousandths)."""
        return min(1.0, int(self.cpus * 1e4) / 1e4)

    def segment_bytes(self) -> int:
        """Bytes of a segment: two exist at a time, and half of the object store stays free for others."""
        return min(SEGMENT_BYTES, int(ray.cluster_resources().get("object_store_memory", 0)) // (4 * self.consumers))


def stream(plans: Iterator[MicroPlan], loader: Loader, share: Share) -> Generator[MicroBatch, None, None]:
    """Yield the micro-batch of every plan, in order. Closing the generator stops all tasks.

    The arrays lie in the object store and are read-only: copy what is to be kept or changed.

    Raises:
        UserError: a video could not be fed; the message names it.
    """
    assert ray.is_initialized(), "Ray Data would start a cluster of its own"
    # It logs three lines an execution, and a long run has thousands of executions.
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # A row with an error in it has no arrays, and so another schema, about which it would warn.
    logging.getLogger("ray.data._internal.execution.streaming_executor_state").setLevel(logging.ERROR)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="feed") as opener:
        opening = opener.submit(_open_next, plans, loader, share)
        try:
            while segment := opening.result():
                with contextlib.closing(segment):
                    for left, micro in segment:
                        if left == segment.lead:
                            opening = opener.submit(_open_next, plans, loader, share)
                        yield micro
        finally:
            _abandon(opening)


def owned(micros: Generator[MicroBatch, None, None]) -> Generator[MicroBatch, None, None]:
    """Yield micro-batches whose arrays are copies in this process's own memory, and close `micros` when closed.

    A tensor on the store's memory could change a block under another reader's eyes, and would keep the block there
    for as long as it lives. The copy takes about a hundredth of the time that the clip's decoding takes.
    """
    with contextlib.closing(micros):
        for micro in micros:
            yield replace(micro, arrays={name: array.copy() for name, array in micro.arrays.items()})


def _abandon(opening: "Future[_Segment | None]") -> None:
    """Close what was opened ahead; an error there concerns data that nobody asked for, or is being raised already."""
    if opening.exception() is None and (segment := opening.result()):
        segment.close()


def _open_next(plans: Iterator[MicroPlan], loader: Loader, share: Share) -> "_Segment | None":
    """Take the next segment off `plans` and start its execution; None when there are no more."""
    tasks: list[list[MicroPlan]] = []
    limit, size = share.segment_bytes(), 0
    # Whole tasks, at least one, as long as they fit.
    while len(tasks) < SEGMENT_TASKS and (not tasks or size + size // len(tasks) <= limit):
        task = _next_task(plans)
        if not task:
            break
        tasks.append(task)
        size += sum(loader.bytes_of(plan) for plan in task)
    return _Segment(tasks, loader, share) if tasks else None


def _next_task(plans: Iterator[MicroPlan]) -> list[MicroPlan]:
    """Take consecutive plans until they have TASK_CLIPS clips; empty at the end."""
    task: list[MicroPlan] = []
    clips = 0
    while clips < TASK_CLIPS and (plan := next(plans, None)):
        task.append(plan)
        clips += len(plan.ids)
    return task


class _Segment:
    """A running Ray Data execution over some tasks. Making one waits for its first micro-batch."""

    def __init__(self, tasks: Sequence[Sequence[MicroPlan]], loader: Loader, share: Share) -> None:
        sizes = [loader.bytes_of(plan) for task in tasks for plan in task]
        self.rows = len(sizes)
        in_flight = share.prefetch + share.tasks * max(map(len, tasks))
        self.lead = min(in_flight, self.rows - 1)
        """Rows left when the next segment may start: by then every task of this one has begun or is about to."""
        dataset = ray.data.from_blocks([_plan_table(task) for task in tasks])
        _configure(dataset.context, share, sizes)
        loaded = dataset.map_batches(
            _load_row,
            fn_kwargs={"loader": loader},
            batch_size=1,
            batch_format="pyarrow",
            zero_copy_batch=True,
            num_cpus=share.task_cpus,
        )
        batches = loaded.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=share.prefetch)
        self._tables = iter(batches)
        self._first = next(self._tables)

    def __iter__(self) -> Iterator[tuple[int, MicroBatch]]:
        """Yield (rows left after this one, micro-batch)."""
        left, table = self.rows, self._first
        while table is not None:
            for row in range(table.num_rows):
                left -= 1
                yield left, _micro_batch(table, row)
            table = next(self._tables, None)
        assert left == 0, f"{left} of {self.rows} micro-batches did not arrive"

    def close(self) -> None:
        """Stop the execution and its tasks."""
        self._tables.close()


def _configure(context: Any, share: Share, sizes: Sequence[int]) -> None:
    """Set an execution's own copy of the DataContext, for micro-batches of `sizes` bytes."""
    options = context.execution_options
    options.preserve_order = True
    # Enforced by the operator reservation alone: with `op_resource_reservation_enabled` off, Ray Data takes every CPU
    # of the cluster. The reservation halves the memory, and the whole segment has to fit into each half.
    context.op_resource_reservation_enabled = True
    memory = 4 * (sum(sizes) + ROW_BYTES * len(sizes))
    options.resource_limits = ExecutionResources(cpu=share.tasks * share.task_cpus, object_store_memory=memory)
    # A row larger than this leaves its task at once as a block of its own.
    context.target_max_block_size = min(sizes) - 1
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def _load_row(table: pa.Table, loader: Loader) -> pa.Table:
    """Load one micro-batch, in a task: a table of one planned row to a table of one loaded row."""
    # The task was given its CPUs; OpenCV would start a thread for each core of the machine.
    cv2.setNumThreads(1)
    (row,) = table.to_pylist()
    values: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in row.items()}
    plan = MicroPlan(**values)
    try:
        return _batch_table(loader.load(plan))
    except UserError as error:
        # As a value: it keeps its place in the order, and its words apart from the layers that Ray puts around errors.
        return _batch_table(MicroBatch.of(plan, {}), str(error))


def _plan_table(task: Sequence[MicroPlan]) -> pa.Table:
    return pa.Table.from_pylist([asdict(plan) for plan in task], schema=_PLAN_SCHEMA)


def _batch_table(batch: MicroBatch, error: str = "") -> pa.Table:
    """Return one row: every array as one binary cell around the array's own memory, with its name, type and shape."""
    columns: dict[str, Any] = {name: [getattr(batch, name)] for name in _COUNTERS}
    columns |= {"ids": pa.array([batch.ids], pa.list_(pa.string())), "error": [error]}
    forms = [{"name": name, "dtype": a.dtype.str, "shape": a.shape} for name, a in batch.arrays.items()]
    columns["forms"] = pa.array([forms], _FORMS)
    return pa.table(columns | {_CELL + name: _cell(array) for name, array in batch.arrays.items()})


def _cell(array: npt.NDArray[Any]) -> pa.Array:
    """Wrap an array as a column of one binary value, without a copy where it is contiguous."""
    array = np.ascontiguousarray(array)
    offsets = pa.py_buffer(np.array([0, array.nbytes], np.int64))
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(array)])


def _micro_batch(table: pa.Table, row: int) -> MicroBatch:
    """Return a row of a table as arrays on the table's own memory, or raise the error that it carries."""
    if error := table["error"][row].as_py():
        raise UserError(error)
    arrays = {
        form["name"]: np.ndarray(form["shape"], form["dtype"], table[_CELL + form["name"]][row].as_buffer())
        for form in table["forms"][row].as_py()
    }
    counters = {name: table[name][row].as_py() for name in _COUNTERS}
    return MicroBatch(**counters, ids=tuple(table["ids"][row].as_py()), arrays=arrays)
