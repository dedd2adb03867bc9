"""Bring a flow set up to date with its frames: plan the shards, do the new ones, reconcile, publish the manifest last.

A flow shard follows one frame shard. It stays while that is what it was, so new videos cost the shards that they came
into. The sidecar makes a shard count: whatever is killed, the next run finds whole shards or none.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.core.errors import UserError, problem
from pipeline.data.prepare.shard_task import Tally
from pipeline.data.records import PreparedVideo
from pipeline.data.store.catalog import READABLE
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.published import CATALOG, MANIFEST
from pipeline.data.store.sidecars import (
    Sidecars,
    finished_sidecars,
    is_current,
    number_of,
    numbers_of,
    prune,
    read_sidecars,
    sizes_of,
    sweep,
    versions_in,
)
from pipeline.flow import catalog
from pipeline.flow.catalog import QUARANTINED, FlowCounts, FlowRow
from pipeline.flow.config import FlowConfig
from pipeline.flow.dataset import FORMAT, SETTINGS, changes
from pipeline.flow.shard_task import FlowTask, make_shard
from pipeline.flow.solver import Solver
from pipeline.flow.tree import Tree

Tell = Callable[[int, int], None]
"""Called now and then with (pairs done, videos quarantined) in all."""
Engine = Callable[[Sequence[FlowTask], Tell], None]
"""Does all tasks by `make_shard`, anywhere, in any order."""


@dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """What is done about shards that are there."""

    backends: tuple[str, ...] = ("numba",)
    """Those that this run uses."""
    mix: bool = False
    """Shards of other backends may stand beside those of this run."""
    verify: bool = False
    """Hash every flow shard and every frame shard again, and redo what differs."""
    retry: bool = False
    """Do shards with quarantined videos again."""


@dataclass(frozen=True)
class Report:
    """What an extraction did."""

    counts: FlowCounts
    quarantined: tuple[FlowRow, ...]
    noted: tuple[FlowRow, ...]
    """Videos whose frame shard is damaged, even if their frames could be read."""
    backends: tuple[str, ...]
    passport: str
    shards_done: int
    shards_kept: int
    published: bool
    """False when even the manifest was already right: nothing was touched."""


def extract(
    prepared: PreparedDataset,
    root: str,
    config: FlowConfig,
    engine: Engine,
    options: ExtractOptions,
    *,
    tree: Tree | None = None,
    tell_of: Callable[[int], Tell] | None = None,
) -> Report:
    """Compute (or import from `tree`) the flow of every readable video; does nothing where nothing changed.

    Args:
        prepared: the frames.
        root: path or URI of the flow set; one extraction at a time writes there.
        config: how flow is made and stored.
        engine: `on_ray.on_ray(...)`, or `in_process(...)`.
        options: what to do about what is there.
        tree: where flow is imported from.
        tell_of: makes the receiver of progress from the number of pairs that there are to do.

    Raises:
        UserError: flow of other settings at `root`, frame shards that are not there, shards by a backend that this
            run does not use (without `mix`).
    """
    root = storage.absolute(root)
    tasks = _plan(prepared, root, config, tree)
    _refuse_missing(prepared, tasks, tree)
    _claim(root, prepared, config, tree)
    sweep(root)
    sizes = sizes_of(root)
    before = read_sidecars(root, sizes)
    kept = {task.number for task in tasks if _current(task, before.get(task.number), sizes, options.retry)}
    _refuse_mixture({number: before[number] for number in kept}, options, root)
    work = [replace(task, verify=task.number in kept) for task in tasks if options.verify or task.number not in kept]
    if work:
        engine(work, tell_of(sum(task.pairs for task in work)) if tell_of else lambda *_: None)
    return _publish(prepared, root, config, {task.number for task in tasks}, before)


def _plan(prepared: PreparedDataset, root: str, config: FlowConfig, tree: Tree | None) -> list[FlowTask]:
    """Return a task for every frame shard that holds a video, by number."""
    videos: dict[str, list[PreparedVideo]] = {}
    for row in prepared.rows:
        if row.status == READABLE:
            place = PreparedVideo(row.id, row.label, row.frames, row.shard, row.row)
            videos.setdefault(row.shard, []).append(place)
    sha256 = {shard["path"]: shard["sha256"] for shard in prepared.manifest["shards"]}
    tasks = []
    for path, members in videos.items():
        members.sort(key=lambda video: video.row)
        tasks.append(FlowTask(number_of(path), root, prepared.root, path, sha256[path], tuple(members), config, tree))
    return sorted(tasks, key=lambda task: task.number)


def _refuse_missing(prepared: PreparedDataset, tasks: Sequence[FlowTask], tree: Tree | None) -> None:
    """A source that is gone as a whole is no fault of a video; nothing begins without it."""
    if tree:
        if not storage.exists(tree.root):
            fix = "correct --import-tree"
            allowed = "a folder with a folder for every video"
            raise UserError(problem("There is no tree to import", got=tree.root, allowed=allowed, fix=fix))
        return
    found = storage.infos([storage.join(prepared.root, task.frames_shard) for task in tasks])
    absent = [task.frames_shard for task, entry in zip(tasks, found, strict=True) if not entry.is_file]
    if absent:
        raise UserError(
            problem(
                f"{len(absent)} of {len(tasks)} frame shards are not in {prepared.root}",
                got=", ".join(absent[:5]),
                allowed="every shard of the manifest",
                fix="run jobs/prepare_data.py again; it makes absent shards",
            )
        )


def _claim(root: str, prepared: PreparedDataset, config: FlowConfig, tree: Tree | None) -> None:
    """Say at `root`, before the first shard, what it is to hold; keep flow of other settings from being replaced."""
    source = {"tree": asdict(tree)} if tree else {}
    settings = {"format": FORMAT, "frames": prepared.name, **to_dict(config), **source}
    place = storage.join(root, SETTINGS)
    held = storage.read_json(place) if storage.exists(place) else {}
    changed = [f"{key} {old} -> {new}" for key, old, new in changes(held, settings)]
    if changed and numbers_of(sizes_of(root)):
        raise UserError(
            problem(
                f"{root} holds other flow",
                got="; ".join(changed),
                allowed="the settings that it was begun with",
                fix="choose another --out, or remove that folder",
            )
        )
    storage.write_json(place, settings)


def _current(task: FlowTask, sidecar: dict[str, Any] | None, sizes: Mapping[str, int], retry: bool) -> bool:
    """True when a sidecar and its shard are what the task would make."""
    if not sidecar or not is_current(sidecar, task.key, sizes):
        return False
    return not (retry and any(row["status"] == QUARANTINED or row["note"] for row in sidecar["rows"]))


def _refuse_mixture(kept: Sidecars, options: ExtractOptions, root: str) -> None:
    """Backends agree to a few hundredths of a pixel and not to the bit; a set of both is a decision."""
    found = {sidecar["backend"] for sidecar in kept.values()}
    everything = sorted({*found, *options.backends})
    if len(everything) > 1 and not options.mix:
        raise UserError(
            problem(
                "Flow of several backends would stand in one set",
                got=f"this run: {', '.join(options.backends)}; in {root}: {', '.join(sorted(found)) or 'nothing'}",
                allowed="one backend, unless mixing is asked for",
                fix="pass --mix-backends (each shard says which backend made it), or choose another --out or --backend",
            )
        )


def _publish(prepared: PreparedDataset, root: str, config: FlowConfig, numbers: set[int], before: Sidecars) -> Report:
    """Join the sidecars to catalog and manifest, reconcile, publish, delete what nothing refers to."""
    names = list(sizes_of(root))
    sidecars = finished_sidecars(root, names, numbers)
    row_of = {values["id"]: FlowRow(**values) for sidecar in sidecars.values() for values in sidecar["rows"]}
    readable = [row.id for row in prepared.rows if row.status == READABLE]
    rows = tuple(row_of[video_id] for video_id in readable)
    assert len(row_of) == len(rows), "every readable video has one row"
    counts, table = catalog.count(rows), catalog.to_parquet(rows)
    made_with = versions_in(sidecars)
    identity = catalog.passport_of(rows, config, frames=prepared.passport, made_with=made_with)
    backends = tuple(sorted({sidecar["backend"] for sidecar in sidecars.values()}))
    manifest = {
        "format": FORMAT,
        "frames": {
            "name": prepared.name,
            "passport": prepared.passport,
            "parts": dict(prepared.manifest["passport_parts"]),
        },
        "settings": to_dict(config),
        "backends": backends,
        "catalog_sha256": hashlib.sha256(table).hexdigest(),
        "counts": asdict(counts),
        "passport": identity.digest,
        "passport_parts": identity.parts,
        "shards": [{**sidecar["shard"], "backend": sidecar["backend"]} for sidecar in sidecars.values()],
        "made_with": made_with,
    }
    written = [
        storage.publish_bytes(storage.join(root, CATALOG), table),
        storage.write_json(storage.join(root, MANIFEST), manifest),
    ]
    prune(root, names, sidecars)
    done = sum(sidecar != before.get(number) for number, sidecar in sidecars.items())
    quarantined = tuple(row for row in rows if row.status == QUARANTINED)
    noted = tuple(row for row in rows if row.note)
    kept = len(numbers) - done
    return Report(counts, quarantined, noted, backends, identity.digest, done, kept, done > 0 or any(written))


def in_process(solver: Solver | None) -> Engine:
    """Return the engine without Ray: one task after the other."""

    def run(tasks: Sequence[FlowTask], tell: Tell) -> None:
        tally = Tally()

        def tick(shard: int, done: int, quarantined: int) -> None:
            tally.add(shard, done, quarantined)
            tell(*tally.totals())

        for task in tasks:
            make_shard(task, solver, tick)

    return run
