"""Refuse, before anything starts, a run that the cluster cannot hold: Ray would wait for it without a word.

Everything that must run at the same time is a claim. Three ways to wait for ever, all seen on two CPUs: two training
processes of one CPU leave none for the feed's tasks; two actors of a data stage leave none for the tasks that feed
them; two trials of a sweep hold the CPUs that the training inside them needs. All are one sum.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.core.errors import UserError, problem

GIB = 1 << 30
MODE_VARIABLE = "STAR_PREFLIGHT"
"""Environment variable: "warn" prints what the preflight would refuse, for clusters that grow on demand."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Processes that a job holds at the same time as all its other claims."""

    what: str
    count: int
    cpus: float = 0.0
    """Logical CPUs of each."""
    gpus: float = 0.0
    memory: int = 0
    """Bytes of main memory of each."""
    store: int = 0
    """Bytes of the object store of the node of each."""
    resource: str = ""
    """Custom Ray resource of which each takes 1."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """What one machine offers."""

    name: str
    cpus: float
    gpus: float = 0.0
    memory: int = 1 << 62
    store: int = 1 << 62
    custom: Mapping[str, float] = field(default_factory=dict)
    """Custom Ray resources by name."""


RAYS_OWN = ("CPU", "GPU", "memory", "object_store_memory")
UNITS = {
    "cpus": ("CPUs", 1),
    "gpus": ("GPUs", 1),
    "memory": ("GiB of memory", GIB),
    "store": ("GiB of object store", GIB),
}


def check_cluster(claims: Sequence[Claim], nodes: Sequence[Node]) -> None:
    """Refuse claims that the nodes cannot hold at the same time, with the arithmetic.

    Raises:
        UserError: some resource is short in all, or enough in all but too scattered over the nodes.
    """
    for resource, (unit, size) in UNITS.items():
        parts = [(c.count, getattr(c, resource) / size, c.what) for c in claims if c.count and getattr(c, resource)]
        wanted = sum(count * each for count, each, _ in parts)
        offered = sum(getattr(node, resource) for node in nodes) / size
        if wanted > offered + 1e-9:
            terms = " + ".join(f"{count} x {each:g} ({what})" for count, each, what in parts)
            raise UserError(
                problem(
                    f"The cluster has too few {unit}; the run would wait for ever",
                    got=f"{terms} = {wanted:g} {unit} needed at the same time",
                    allowed=f"at most {offered:g} {unit}, on {len(nodes)} node{'s' * (len(nodes) != 1)}",
                    fix=f"lower {_setting(resource)}, or add nodes (on a cluster that grows on demand: "
                    f"export {MODE_VARIABLE}=warn)",
                )
            )
    _check_custom(claims, nodes)
    homeless = _first_without_place(claims, nodes)
    if homeless:
        shown = ", ".join(f"{node.name}: {node.cpus:g} CPUs, {node.gpus:g} GPUs" for node in nodes)
        raise UserError(
            problem(
                "The cluster is large enough in all, but one process fits on no node beside the others",
                got=f"{homeless.what} with {homeless.cpus:g} CPUs and {homeless.gpus:g} GPUs each",
                allowed=f"a process that fits into what the others leave of a node ({shown})",
                fix=f"lower {_setting('cpus')}, or use larger nodes (on a cluster that grows on demand: "
                f"export {MODE_VARIABLE}=warn)",
            )
        )


def _check_custom(claims: Sequence[Claim], nodes: Sequence[Node]) -> None:
    for name in sorted({claim.resource for claim in claims} - {""}):
        wanted = sum(claim.count for claim in claims if claim.resource == name)
        offered = sum(node.custom.get(name, 0.0) for node in nodes)
        if wanted > offered:
            fix = f"start the training nodes with --resources '{{\"{name}\": N}}', or set compute.worker_resource"
            what = f"The cluster has too little of the custom resource {name}; the run would wait for ever"
            raise UserError(problem(what, got=f"{wanted} needed", allowed=f"at most {offered:g}", fix=fix))


def _setting(resource: str) -> str:
    return {
        "cpus": "compute.workers, compute.cpus_per_worker or compute.data_cpus",
        "gpus": "compute.workers, or set compute.gpu=false",
        "memory": "compute.workers or train.global_batch",
        "store": "compute.prefetch or train.global_batch",
    }[resource]


def _first_without_place(claims: Sequence[Claim], nodes: Sequence[Node]) -> Claim | None:
    """Place the largest processes first, each on the first node with room; return the first that finds none."""
    free = [{resource: float(getattr(node, resource)) for resource in UNITS} | dict(node.custom) for node in nodes]
    singles = [claim for claim in claims for _ in range(claim.count)]
    for claim in sorted(singles, key=lambda c: (c.gpus, c.resource, c.cpus, c.memory), reverse=True):
        needs = {resource: float(getattr(claim, resource)) for resource in UNITS}
        needs |= {claim.resource: 1.0} if claim.resource else {}
        for node in free:
            if all(need <= node.get(resource, 0.0) + 1e-9 for resource, need in needs.items()):
                for resource, need in needs.items():
                    node[resource] = node.get(resource, 0.0) - need
                break
        else:
            return claim
    return None


def check_disk(folder: str, checkpoint_bytes: int, keep: int) -> None:
    """Refuse a local run storage that cannot hold the checkpoints.

    Args:
        folder: an existing local folder.
        checkpoint_bytes: size of one.
        keep: checkpoints kept; the latest and the one being written come on top.

    Raises:
        UserError: the file system has too little room.
    """
    free = shutil.disk_usage(folder).free
    needed = checkpoint_bytes * (keep + 2)
    if needed > free:
        raise UserError(
            problem(
                "The run storage is too small for the checkpoints",
                got=f"({keep} kept + latest + new) x {checkpoint_bytes / GIB:.2f} GiB = {needed / GIB:.2f} GiB",
                allowed=f"{free / GIB:.2f} GiB free at {folder}",
                fix="free some space, choose another --storage, or lower train.keep",
            )
        )


def enforce(claims: Sequence[Claim]) -> None:
    """Check the claims against the connected Ray cluster; also says when they fit but others hold the resources now.

    Raises:
        UserError: the cluster can never hold them.
    """
    import ray  # here, so that the arithmetic above needs no cluster software

    try:
        check_cluster(claims, _ray_nodes())
    except UserError as error:
        if os.environ.get(MODE_VARIABLE) != "warn":
            raise
        print(f"WARNING {error}", flush=True)
    free = ray.available_resources().get("CPU", 0.0)
    wanted = sum(claim.count * claim.cpus for claim in claims)
    if wanted > free:
        print(f"waiting: {wanted:g} CPUs needed, {free:g} free now; other work holds the rest", flush=True)


def _ray_nodes() -> list[Node]:
    import ray

    return [
        Node(
            name=node["NodeManagerAddress"],
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            memory=int(node["Resources"].get("memory", 0)),
            store=int(node["Resources"].get("object_store_memory", 0)),
            custom={k: v for k, v in node["Resources"].items() if k not in RAYS_OWN},
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
