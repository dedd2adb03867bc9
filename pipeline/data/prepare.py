"""Turn a listing into a prepared data set: plan shards, do the stale ones, reconcile, publish the manifest last.

Shard k holds the k-th run of `shard_videos` listed videos, so the work, its order and its bytes depend on the listing
and the sources alone. A shard is a file named by its content and a sidecar (`shards/00042.json`) with its catalog rows;
the sidecar comes second and makes the shard count. Whatever is killed, the next run finds whole shards or none.
"""

import functools
import importlib.metadata
import json
import posixpath
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.core.errors import UserError, problem
from pipeline.data import catalog, decode
from pipeline.data.catalog import QUARANTINED, READABLE, CatalogRow, Counts
from pipeline.data.guard import Guard
from pipeline.data.ingest import IngestConfig, Ingested, fingerprint, ingest
from pipeline.data.prepared import CATALOG, FORMAT, MANIFEST, QUARANTINE, SHARDS
from pipeline.data.records import EncodedVideo, Listing, VideoRecord
from pipeline.data.shards import write_shard

ABSENT = (-1, -1)
"""Signature of a source that is not there."""
_ABANDONED_S = 3600.0
"""Age at which a temporary file has no writer any more."""
_PARALLEL_READS = 16
_SPOOL = 64 << 20


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


@dataclass(frozen=True)
class ShardTask:
    """One unit of work: some listed videos into one shard."""

    index: int
    root: str
    """Of the prepared data set."""
    source_root: str
    records: tuple[VideoRecord, ...]
    signatures: tuple[tuple[int, int], ...]
    """(size, mtime in ns) of each source before the work began, or ABSENT."""
    ingest: IngestConfig
    limit_s: float
    verify: bool = False
    """There is a shard already; redo it only if it or a source is not what it was."""

    @property
    def key(self) -> str:
        """Digest of what determines the shard apart from the sources' content."""
        return storage.sha256_json([FORMAT, to_dict(self.ingest), [asdict(record) for record in self.records]])

    @property
    def sidecar(self) -> str:
        """URI of the shard's sidecar."""
        return storage.join(self.root, SHARDS, f"{self.index:05d}.json")


Tick = Callable[[int, int, int], None]
"""Called after every video with (shard, videos done in it, quarantined in it)."""
Engine = Callable[[Sequence[ShardTask], Tick], None]
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


def prepare(listing: Listing, root: str, config: PrepareConfig, engine: Engine, tick: Tick) -> Report:
    """Bring the prepared data set at `root` up to date with `listing`; does nothing where nothing changed.

    Raises:
        UserError: no videos, ids that occur twice, or files that are not there (without `quarantine_missing`).
    """
    root = storage.absolute(root)
    tasks = plan(listing, root, config)
    if not config.quarantine_missing:
        _refuse_missing(tasks)
    storage.sweep(storage.join(root, SHARDS), older_than_s=_ABANDONED_S)
    stale = _stale(tasks, root, config)
    if stale:
        engine(stale, tick)
    return _publish(listing, tasks, stale, root, config)


def plan(listing: Listing, root: str, config: PrepareConfig) -> tuple[ShardTask, ...]:
    """Cut the listing into shards and look at every source's size and date."""
    if not listing.records:
        fix = "check --source and --metadata"
        raise UserError(problem(f"{listing.name} lists no video", got=listing.root, allowed="at least one", fix=fix))
    ids = [record.id for record in listing.records]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
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


def _stale(tasks: Sequence[ShardTask], root: str, config: PrepareConfig) -> tuple[ShardTask, ...]:
    """Return the tasks that have work to do; with `verify` all of them, marked as such where a shard is there."""
    sizes = {entry.base_name: entry.size for entry in storage.list_files(storage.join(root, SHARDS))}
    stale = []
    for task, sidecar in zip(tasks, _sidecars(tasks, sizes), strict=True):
        current = sidecar is not None and _is_current(task, sidecar, sizes, config.retry)
        if not current:
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
        sidecar["key"] == task.key
        and sidecar["signatures"] == [list(signature) for signature in task.signatures]
        and sizes.get(shard["path"].rpartition("/")[2]) == shard["bytes"]
        and not any(row["reason"] in retry for row in sidecar["rows"] if row["reason"])
    )


def prepare_shard(task: ShardTask, guard: Guard, tick: Tick) -> None:
    """Do one task: every video through the guard, the shard, then its sidecar."""
    if task.verify and _verified(task, guard):
        tick(task.index, len(task.records), 0)
        return
    rows: list[CatalogRow] = []
    with tempfile.SpooledTemporaryFile(_SPOOL) as file:
        write_shard(file, _encoded(task, guard, tick, rows))
        size = file.tell()
        file.seek(0)
        sha256 = storage.sha256_of(file)
        path = f"{SHARDS}/{task.index:05d}-{sha256[:12]}.arrow"
        file.seek(0)
        with storage.publish(storage.join(task.root, path)) as target:
            shutil.copyfileobj(file, target)
    rows = [replace(row, shard=path) if row.status == READABLE else row for row in rows]
    value = {
        "key": task.key,
        "signatures": task.signatures,
        "shard": {"path": path, "sha256": sha256, "bytes": size, "videos": sum(r.status == READABLE for r in rows)},
        "rows": [asdict(row) for row in rows],
        "made_with": versions(),
    }
    storage.write_json(task.sidecar, value)


def _encoded(task: ShardTask, guard: Guard, tick: Tick, rows: list[CatalogRow]) -> Iterator[EncodedVideo]:
    """Yield the readable videos of a task and append a catalog row for every one of its videos."""
    place = 0
    for record in task.records:
        done = _guarded(storage.join(task.source_root, record.path), task.ingest, guard)
        facts = {k: getattr(done, k) for k in _FACTS}
        status = QUARANTINED if done.reason else READABLE
        row = CatalogRow(
            **asdict(record),
            status=status,
            **facts,
            frames=len(done.jpeg_V),
            bytes=done.source_bytes,
            row=-1 if done.reason else place,
        )
        rows.append(row)
        if not done.reason:
            place += 1
            jpeg_V = tuple(memoryview(jpeg) for jpeg in done.jpeg_V)
            yield EncodedVideo(record.id, record.label, done.fps, done.height, done.width, jpeg_V)
        tick(task.index, len(rows), len(rows) - place)


_FACTS = ("reason", "detail", "note", "fps", "width", "height", "source_width", "source_height", "sha256", "decoder")


def _guarded(uri: str, config: IngestConfig, guard: Guard) -> Ingested:
    try:
        return guard.call(ingest, uri, config)
    except decode.DecodeError as error:
        return Ingested(reason=error.reason, detail=error.detail)


def _verified(task: ShardTask, guard: Guard) -> bool:
    """True when the shard and every source still have the content that the sidecar recorded."""
    sidecar = storage.read_json(task.sidecar)
    shard = storage.join(task.root, sidecar["shard"]["path"])
    if not storage.exists(shard) or storage.sha256_file(shard) != sidecar["shard"]["sha256"]:
        return False
    try:
        found = [guard.call(fingerprint, storage.join(task.source_root, record.path)) for record in task.records]
    except decode.DecodeError:
        return False
    return found == [row["sha256"] for row in sidecar["rows"]]


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of what determines pixels and bytes."""
    names = ("av", "decord", "numpy", "opencv-contrib-python-headless", "pyarrow")
    return {name: importlib.metadata.version(name) for name in names}


def _publish(
    listing: Listing, tasks: Sequence[ShardTask], done: Sequence[ShardTask], root: str, config: PrepareConfig
) -> Report:
    """Join the sidecars to catalog, quarantine and manifest, reconcile, publish, delete what nothing refers to."""
    names = [entry.base_name for entry in storage.list_files(storage.join(root, SHARDS))]
    sidecars = [sidecar for sidecar in _sidecars(tasks, names) if sidecar is not None]
    assert len(sidecars) == len(tasks), "every task has published its sidecar"
    rows = tuple(catalog.row_from(values) for sidecar in sidecars for values in sidecar["rows"])
    assert [row.id for row in rows] == [record.id for record in listing.records], "every listed video has its row"
    counts = catalog.count(rows)
    codec = config.ingest.codec.to_dict()
    identity = catalog.passport_of(rows, classes=listing.classes, codec=codec, short_side=config.ingest.short_side)
    manifest = {
        "format": FORMAT,
        "name": listing.name,
        "classes": listing.classes,
        "codec": codec,
        "short_side": config.ingest.short_side,
        "counts": asdict(counts),
        "passport": identity.digest,
        "passport_parts": identity.parts,
        "shards": [sidecar["shard"] for sidecar in sidecars],
        "made_with": _distinct([sidecar["made_with"] for sidecar in sidecars]),
    }
    quarantined = tuple(row for row in rows if row.status == QUARANTINED)
    written = [
        storage.publish_bytes(storage.join(root, CATALOG), catalog.to_parquet(rows)),
        storage.publish_bytes(storage.join(root, QUARANTINE), catalog.to_parquet(quarantined)),
        storage.write_json(storage.join(root, MANIFEST), manifest),
    ]
    _prune(root, names, tasks, sidecars)
    noted = tuple(row for row in rows if row.note)
    kept = len(tasks) - len(done)
    return Report(counts, quarantined, noted, identity.digest, len(done), kept, bool(done) or any(written))


def _distinct(values: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return [json.loads(text) for text in sorted({json.dumps(value, sort_keys=True) for value in values})]


def _prune(root: str, names: Iterable[str], tasks: Sequence[ShardTask], sidecars: Sequence[dict[str, Any]]) -> None:
    """Delete shards and sidecars of earlier states, after the manifest has stopped referring to them."""
    needed = {sidecar["shard"]["path"].rpartition("/")[2] for sidecar in sidecars}
    needed |= {f"{task.index:05d}.json" for task in tasks}
    for name in names:
        if name not in needed and not name.startswith(storage.TEMPORARY):
            storage.delete(storage.join(root, SHARDS, name))


def in_process(tasks: Sequence[ShardTask], tick: Tick) -> None:
    """The engine without Ray: one task after the other, each video still in the guard's child."""
    with Guard(tasks[0].limit_s) as guard:
        for task in tasks:
            prepare_shard(task, guard, tick)
