"""Tables through decoding tasks and actors that hold a network, in order, as one Ray Data job."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, TaskPoolStrategy

from pipeline.core.errors import UserError
from pipeline.train.device import Precision
from pipeline.train.preflight import Claim, enforce


@dataclass(frozen=True, kw_only=True)
class Machines:
    """What batch inference runs on."""

    actors: int = 1
    """Processes that hold the network."""
    gpu: bool = False
    """One GPU for each actor."""
    cpus_per_actor: float = 1.0
    data_cpus: float = 1.0
    """Logical CPUs for the decoding tasks in all."""
    threads: int = 1
    """torch threads of an actor."""
    precision: Precision | None = None

    def claims(self) -> list[Claim]:
        """What the job holds at the same time; the preflight refuses what would wait for ever."""
        tasks = max(1, int(self.data_cpus))
        return [
            Claim(what="predictors", count=self.actors, cpus=self.cpus_per_actor, gpus=float(self.gpu)),
            Claim(what="decoding tasks", count=tasks, cpus=self.data_cpus / tasks),
        ]

    def cpus(self) -> float:
        """Logical CPUs of all claims together."""
        return sum(claim.count * claim.cpus for claim in self.claims())

    def check_room(self) -> None:
        """Refuse what the cluster can never hold at once: Ray Data would wait for it without a word.

        Raises:
            UserError: a job larger than the cluster, with the sum.
        """
        try:
            enforce(self.claims())
        except UserError as error:
            options = "--actors, --cpus-per-actor, --data-cpus, --gpu"
            raise UserError(f"{error} In an evaluation or a test these are {options}.") from error


def through(
    blocks: Sequence[pa.Table],
    machines: Machines,
    load: Callable[..., pa.Table | Iterator[pa.Table]],
    actor: Callable[..., Callable[[pa.Table], pa.Table]],
    *,
    loaded_with: Mapping[str, Any],
    made_with: tuple[Any, ...],
) -> Iterator[pa.Table]:
    """Yield what the actors make of the blocks, in the order of the blocks; Ray must be connected.

    Stages that ask for the same resources are fused by Ray: without GPUs an actor may then decode its own clips. A
    stage with a GPU never is.

    Args:
        blocks: small tables that say what to load, one a task.
        machines: CPUs and GPUs of both stages.
        load: from a block to what a network looks at; runs in CPU tasks.
        actor: class whose objects hold the network, and answer when called.
        loaded_with: keyword arguments of `load`.
        made_with: arguments of the class.
    """
    predictors, tasks = machines.claims()
    dataset = ray.data.from_arrow(list(blocks))
    dataset.context.execution_options.preserve_order = True
    loaded = dataset.map_batches(
        load,
        batch_size=None,
        batch_format="pyarrow",
        fn_kwargs=dict(loaded_with),
        num_cpus=tasks.cpus,
        compute=TaskPoolStrategy(size=tasks.count),
    )
    answered = loaded.map_batches(
        actor,
        batch_size=None,
        batch_format="pyarrow",
        fn_constructor_args=made_with,
        compute=ActorPoolStrategy(size=predictors.count),
        num_cpus=predictors.cpus,
        num_gpus=predictors.gpus,
    )
    yield from answered.iter_batches(batch_size=None, batch_format="pyarrow")
