"""One task of a preparation: some listed videos through the guard into one shard, and the shard's sidecar.

A shard is a file named by its content; its sidecar (`shards/00042.json`) holds its catalog rows, is published second,
and makes the shard count.
"""

import functools
import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.data.prepare.ingest import IngestConfig, Ingested, fingerprint, ingest
from pipeline.data.records import EncodedVideo, VideoRecord
from pipeline.data.store.catalog import QUARANTINED, READABLE, CatalogRow
from pipeline.data.store.prepared import FORMAT
from pipeline.data.store.shards import write_shard
from pipeline.data.store.sidecars import is_intact, publish_shard, sidecar_of, spool
from pipeline.data.video import decode
from pipeline.data.video.guard import Guard

ABSENT = (-1, -1)
"""Signature of a source that is not there."""
_FACTS = ("reason", "detail", "note", "fps", "width", "height", "source_width", "source_height", "sha256", "decoder")
"""What a catalog row takes over from `Ingested` by name."""


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
    shard_videos: int
    """Videos of a shard, at most; another number is another cut."""
    verify: bool = False
    """There is a shard already; redo it only if it or a source is not what it was."""

    @property
    def key(self) -> str:
        """Digest of what determines the shard apart from the sources' content."""
        return storage.sha256_json([FORMAT, self.shard_videos, to_dict(self.ingest), [asdict(r) for r in self.records]])

    @property
    def sidecar(self) -> str:
        """URI of the shard's sidecar."""
        return sidecar_of(self.root, self.index)


Tick = Callable[[int, int, int], None]
"""Called after every video with (shard, videos done in it, quarantined in it)."""


class Tally:
    """Adds up ticks; a task that is started again (its node was lost) counts once."""

    def __init__(self) -> None:
        self._shards: dict[int, tuple[int, int]] = {}

    def add(self, shard: int, done: int, quarantined: int) -> None:
        """Take a tick."""
        self._shards[shard] = (done, quarantined)

    def totals(self) -> tuple[int, int]:
        """Return videos done and quarantined over all shards."""
        values = self._shards.values()
        return sum(done for done, _ in values), sum(quarantined for _, quarantined in values)


def prepare_shard(task: ShardTask, guard: Guard, tick: Tick) -> None:
    """Do one task: every video through the guard, the shard, then its sidecar."""
    if task.verify and _verified(task, guard):
        tick(task.index, len(task.records), 0)
        return
    rows: list[CatalogRow] = []
    with spool() as file:
        write_shard(file, _encoded(task, guard, tick, rows))
        shard = publish_shard(task.root, task.index, file)
    rows = [replace(row, shard=shard["path"]) if row.status == READABLE else row for row in rows]
    value = {
        "key": task.key,
        "signatures": task.signatures,
        "shard": shard | {"videos": sum(r.status == READABLE for r in rows)},
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


def _guarded(uri: str, config: IngestConfig, guard: Guard, chances: int = 2) -> Ingested:
    """Read one source in the guard's child.

    A video whose child died gets a second chance in a fresh one: an earlier video may have damaged the memory, or the
    machine may have run out of it. A timeout is final, since it is slow to repeat.
    """
    try:
        return guard.call(ingest, uri, config)
    except decode.DecodeError as error:
        if error.reason == decode.TIMEOUT or chances == 1:
            return Ingested(reason=error.reason, detail=error.detail)
        return _guarded(uri, config, guard, chances - 1)


def _verified(task: ShardTask, guard: Guard) -> bool:
    """True when the shard and every source still have the content that the sidecar recorded."""
    sidecar = storage.read_json(task.sidecar)
    if not is_intact(task.root, sidecar):
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
