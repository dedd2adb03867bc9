"""Turn a listing into a prepared data set: plan shards, do the stale ones, reconcile, publish the manifest last.

Shard k holds the k-th run of `shard_videos` listed videos, so the work, its order and its bytes depend on the listing
and the sources alone. A sidecar makes a shard count: whatever is killed, the next run finds whole shards or none.
"""

import hashlib
import json
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.shard_task import ABSENT, ShardTask, Tally, prepare_shard
from pipeline.data.records import Listing
from pipeline.data.store import catalog
from pipeline.data.store.catalog import QUARANTINED, CatalogRow, Counts
from pipeline.data.store.prepared import CATALOG, FORMAT, MANIFEST, QUARANTINE, SHARDS
from pipeline.data.video import decode
from pipeline.data.video.guard import Guard

_ABANDONED_S = 3600.0
"""Age at which a temporary file has no writer any more."""
_PARALLEL_READS = 16
_OURS = re.compile(r"\d{5,}(-[0-9a-f]{12}\.arrow|\.json)")
"""Names of shards and sidecars; what a person put beside them is never deleted."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What is prepared, and how strictly."""

    ingest: IngestConfig = field(default_factory=IngestConfig)
    shard_videos: int = 64
    """Listed videos of a shard; also what one task does."""
    limit_s: float = 120.0
    """Longest time that one video may take."""
    quarantine_missing: bool = False
    """Listed files that are not there are quarantined; otherwise they stop the run before it begins."""
    replace: bool = False
    """What lies at the root may be replaced even where it looks like another data set."""
    verify: bool = False
    """Trust no size and no date: hash every source and every shard again, and redo what differs."""
    retry: tuple[str, ...] = ()
    """Reasons whose videos are tried again although their files did not change, such as timeout."""

    def __post_init__(self) -> None:
        unknown = [reason for reason in self.retry if reason not in decode.REASONS]
        if unknown or self.shard_videos < 1 or self.limit_s <= 0 or self.ingest.short_side < 1:
            allowed = f"positive numbers; reasons to retry among {', '.join(decode.REASONS)}"
            fix = "correct the value"
            raise UserError(problem("The preparation is impossible", got=self, allowed=allowed, fix=fix))


Tell = Callable[[int, int], None]
"""Called now and then with (videos done, quarantined) in all."""
Engine = Callable[[Sequence[ShardTask], Tell], None]
"""Does all tasks by `prepare_shard`, anywhere, in any order."""


@dataclass(frozen=True)
class Report:
    """What a preparation did."""

    counts: Counts
    quarantined: tuple[CatalogRow, ...]
    noted: tuple[CatalogRow, ...]
    """Readable videos with a remark."""
    passport: str
    shards_done: int
    shards_kept: int
    published: bool
    """False when even the manifest was already right: nothing was touched."""


def prepare(
    listing: Listing, root: str, config: PrepareConfig, engine: Engine, tell_of: Callable[[int], Tell] | None = None
) -> Report:
    """Bring the prepared data set at `root` up to date with `listing`; does nothing where nothing changed.

    Args:
        listing: what the official files list.
        root: path or URI of the prepared data set; one preparation at a time writes there.
        config: what is prepared.
        engine: `in_process`, or `prepare_ray.on_ray()`.
        tell_of: makes the receiver of progress from the number of videos that there are to do.

    Raises:
        UserError: no videos, ids that occur twice, another data set at `root` (without `replace`), or files that are
            not there (without `quarantine_missing`).
    """
    root = storage.absolute(root)
    tasks = plan(listing, root, config)
    if not config.replace:
        _refuse_another(listing, root)
    if not config.quarantine_missing:
        _refuse_missing(tasks)
    storage.sweep(storage.join(root, SHARDS), older_than_s=_ABANDONED_S)
    shards = {entry.base_name: entry.size for entry in storage.list_files(storage.join(root, SHARDS))}
    before = _sidecars(tasks, shards)
    stale = _stale(tasks, before, shards, config)
    if stale:
        videos = sum(len(task.records) for task in stale)
        engine(stale, tell_of(videos) if tell_of else lambda *_: None)
    return _publish(listing, tasks, before, root, config)


def plan(listing: Listing, root: str, config: PrepareConfig) -> tuple[ShardTask, ...]:
    """Cut the listing into shards and look at every source's size and date."""
    if not listing.records:
        fix = "check --source and --metadata"
        raise UserError(problem(f"{listing.name} lists no video", got=listing.root, allowed="at least one", fix=fix))
    ids = [record.id for record in listing.records]
    (twice, times), *_ = Counter(ids).most_common(1)
    if times > 1:
        fix = "remove the second line from the metadata"
        raise UserError(problem("A video is listed twice", got=twice, allowed="every id once", fix=fix))
    source_root = storage.absolute(listing.root)
    signatures = _signatures(listing, source_root)
    return tuple(
        ShardTask(
            index,
            root,
            source_root,
            listing.records[start : start + config.shard_videos],
            tuple(signatures[start : start + config.shard_videos]),
            config.ingest,
            config.limit_s,
        )
        for index, start in enumerate(range(0, len(ids), config.shard_videos))
    )


def _signatures(listing: Listing, source_root: str) -> list[tuple[int, int]]:
    """Return (size, mtime) of every source; a folder's date is that of its last entry added or removed, where kept.

    Whole folders are listed, since on an object store that is far cheaper than one request a video.
    """
    known: dict[str, tuple[int, int]] = {}
    for folder in sorted({posixpath.dirname(record.path) for record in listing.records}):
        for entry in storage.entries(storage.join(source_root, folder) if folder else source_root):
            known[posixpath.join(folder, entry.base_name)] = (entry.size or 0, entry.mtime_ns or 0)
    return [known.get(record.path, ABSENT) for record in listing.records]


def _refuse_another(listing: Listing, root: str) -> None:
    """Keep a slip in `--out` or `--source` from replacing another data set.

    The name says little: synthetic videos come as ssv2 too, and everybody's own videos are "folder".
    """
    try:
        held = storage.read_json(storage.join(root, MANIFEST))
        ids = {row.id for row in catalog.from_parquet(storage.read_bytes(storage.join(root, CATALOG)))}
    except (FileNotFoundError, ValueError):  # nothing is published there, or nobody can read it any more
        return
    name, classes = held.get("name"), tuple(held.get("classes", ()))
    listed = len(ids & {record.id for record in listing.records})
    if name == listing.name and classes == listing.classes and 2 * listed >= len(ids):
        return
    lone = min(set(classes) ^ set(listing.classes), default="")
    raise UserError(
        problem(
            f"{root} holds another prepared data set",
            got=f"{name}, {len(classes)} classes, {len(ids)} videos, to be replaced by {listing.name}, "
            f"{len(listing.classes)} classes, {len(listing.records)} videos; {listed} of the {len(ids)} are still "
            "listed" + (f", and class {lone!r} is in one of them only" if lone else ""),
            allowed="the same name and classes, and at least half of its videos still listed",
            fix="choose another --out, or pass --replace to replace it",
        )
    )


def _refuse_missing(tasks: Sequence[ShardTask]) -> None:
    pairs = [pair for task in tasks for pair in zip(task.records, task.signatures, strict=True)]
    absent = [record.path for record, signature in pairs if signature == ABSENT]
    if absent:
        first = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        raise UserError(
            problem(
                f"{len(absent)} of {len(pairs)} listed videos are not below {tasks[0].source_root}",
                got=first,
                allowed="every listed file, or an explicit decision to go without",
                fix="correct --source, fetch the files, or pass --quarantine-missing to record them as missing",
            )
        )


def _stale(
    tasks: Sequence[ShardTask],
    sidecars: Sequence[dict[str, Any] | None],
    sizes: dict[str, int],
    config: PrepareConfig,
) -> tuple[ShardTask, ...]:
    """Return the tasks that have work to do; with `verify` all of them, marked as such where a shard is there."""
    stale = []
    for task, sidecar in zip(tasks, sidecars, strict=True):
        if sidecar is None or not _is_current(task, sidecar, sizes, config.retry):
            stale.append(task)
        elif config.verify:
            stale.append(replace(task, verify=True))
    return tuple(stale)


def _sidecars(tasks: Sequence[ShardTask], names: Iterable[str]) -> list[dict[str, Any] | None]:
    """Return the sidecar of every task, None where there is none or it is not JSON any more."""
    known = set(names)

    def read(task: ShardTask) -> dict[str, Any] | None:
        try:
            value: dict[str, Any] | None = storage.read_json(task.sidecar)
        except (FileNotFoundError, ValueError):
            return None
        return value

    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        return list(pool.map(lambda task: read(task) if f"{task.index:05d}.json" in known else None, tasks))


def _is_current(task: ShardTask, sidecar: dict[str, Any], sizes: dict[str, int], retry: Sequence[str]) -> bool:
    shard = sidecar["shard"]
    return (
        sidecar.get("key") == task.key
        and sidecar["signatures"] == [list(signature) for signature in task.signatures]
        and sizes.get(shard["path"].rpartition("/")[2]) == shard["bytes"]
        and not any(row["reason"] in retry for row in sidecar["rows"] if row["reason"])
    )


def _publish(
    listing: Listing,
    tasks: Sequence[ShardTask],
    before: Sequence[dict[str, Any] | None],
    root: str,
    config: PrepareConfig,
) -> Report:
    """Join the sidecars to catalog, quarantine and manifest, reconcile, publish, delete what nothing refers to."""
    names = [entry.base_name for entry in storage.list_files(storage.join(root, SHARDS))]
    sidecars = [sidecar for sidecar in _sidecars(tasks, names) if sidecar is not None]
    assert len(sidecars) == len(tasks), "every task has published its sidecar"
    rows = tuple(catalog.row_from(values) for sidecar in sidecars for values in sidecar["rows"])
    assert [row.id for row in rows] == [record.id for record in listing.records], "every listed video has its row"
    counts, table = catalog.count(rows), catalog.to_parquet(rows)
    codec = config.ingest.codec.to_dict()
    identity = catalog.passport_of(rows, classes=listing.classes, codec=codec, short_side=config.ingest.short_side)
    manifest = {
        "format": FORMAT,
        "name": listing.name,
        "classes": listing.classes,
        "codec": codec,
        "short_side": config.ingest.short_side,
        "catalog_sha256": hashlib.sha256(table).hexdigest(),
        "counts": asdict(counts),
        "passport": identity.digest,
        "passport_parts": identity.parts,
        "shards": [sidecar["shard"] for sidecar in sidecars],
        "made_with": _distinct([sidecar["made_with"] for sidecar in sidecars]),
    }
    quarantined = tuple(row for row in rows if row.status == QUARANTINED)
    written = [
        storage.publish_bytes(storage.join(root, CATALOG), table),
        storage.publish_bytes(storage.join(root, QUARANTINE), catalog.to_parquet(quarantined)),
        storage.write_json(storage.join(root, MANIFEST), manifest),
    ]
    _prune(root, names, tasks, sidecars)
    noted = tuple(row for row in rows if row.note)
    done = sum(sidecar != earlier for sidecar, earlier in zip(sidecars, before, strict=True))
    return Report(counts, quarantined, noted, identity.digest, done, len(tasks) - done, done > 0 or any(written))


def _distinct(values: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return [json.loads(text) for text in sorted({json.dumps(value, sort_keys=True) for value in values})]


def _prune(root: str, names: Iterable[str], tasks: Sequence[ShardTask], sidecars: Sequence[dict[str, Any]]) -> None:
    """Delete shards and sidecars of earlier states, after the manifest has stopped referring to them."""
    needed = {sidecar["shard"]["path"].rpartition("/")[2] for sidecar in sidecars}
    needed |= {f"{task.index:05d}.json" for task in tasks}
    for name in names:
        if name not in needed and _OURS.fullmatch(name):
            storage.delete(storage.join(root, SHARDS, name))


def in_process(tasks: Sequence[ShardTask], tell: Tell) -> None:
    """The engine without Ray: one task after the other, each video still in the guard's child."""
    tally = Tally()

    def tick(shard: int, done: int, quarantined: int) -> None:
        tally.add(shard, done, quarantined)
        tell(*tally.totals())

    with Guard(tasks[0].limit_s) as guard:
        for task in tasks:
            prepare_shard(task, guard, tick)
