"""Which listed videos share a shard: those that do already stay together, the rest is packed in listed order.

A shard is kept while each of its videos is listed as it was and its source did not change, wherever the list has it
now; so new videos cost little more than themselves, at whatever place they appear. A first preparation cuts the list
into consecutive runs of `shard_videos`.

Killed and run again, a preparation ends with the bytes of an undisturbed one. Runs of the pool are whole multiples, so
a finished one leaves the others where they were; and places are given in order, to the free numbers in order.
"""

import itertools
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.core import storage
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.shard_task import ABSENT, ShardTask
from pipeline.data.records import Listing
from pipeline.data.store.sidecars import Sidecars, is_current

Signatures = Mapping[str, tuple[int, int]]
"""Id to (size, mtime in ns) of its source, or ABSENT."""


def signatures_of(listing: Listing) -> dict[str, tuple[int, int]]:
    """Return size and date of every source; a folder's date is that of its last entry added or removed, where kept.

    Whole folders are listed, since on an object store that is far cheaper than one request a video.
    """
    root = storage.absolute(listing.root)
    known: dict[str, tuple[int, int]] = {}
    for folder in sorted({posixpath.dirname(record.path) for record in listing.records}):
        for entry in storage.entries(storage.join(root, folder) if folder else root):
            known[posixpath.join(folder, entry.base_name)] = (entry.size or 0, entry.mtime_ns or 0)
    return {record.id: known.get(record.path, ABSENT) for record in listing.records}


class Packing:
    """Cuts a listing into shards.

    Args:
        listing: what is to be in them.
        root: the prepared data set, absolute.
        signatures: of every listed video.
        shard_videos: videos of a shard, at most.
        ingest: how a video is stored.
        limit_s: seconds that a video may take.
    """

    def __init__(
        self,
        listing: Listing,
        root: str,
        signatures: Signatures,
        *,
        shard_videos: int,
        ingest: IngestConfig,
        limit_s: float,
    ) -> None:
        self._position = {record.id: n for n, record in enumerate(listing.records)}
        self._listing, self._signatures, self._shard_videos = listing, signatures, shard_videos
        source_root = storage.absolute(listing.root)
        self._empty = ShardTask(-1, root, source_root, (), (), ingest, limit_s, shard_videos)

    def tasks(
        self, sidecars: Sidecars, sizes: Mapping[str, int], retry: Sequence[str] = ()
    ) -> tuple[tuple[ShardTask, ...], tuple[ShardTask, ...]]:
        """Return the shards that are right as they are, and those that have to be made.

        Args:
            sidecars: of the shards that are there.
            sizes: bytes of every file in the shards' folder.
            retry: reasons for which a quarantined video is tried again.
        """
        kept: dict[int, ShardTask] = {}
        held: set[str] = set()
        for index, sidecar in sidecars.items():
            task = self._current(index, sidecar, sizes, retry)
            # A kill may leave a video's old and its new shard side by side.
            if task and held.isdisjoint(record.id for record in task.records):
                kept[index] = task
                held.update(record.id for record in task.records)
        if len(held) == len(self._position):
            return tuple(kept.values()), ()
        # Together with what is to be done, so that a data set which grows often has one short shard and not many.
        short = {index: task for index, task in kept.items() if len(task.records) < self._shard_videos}
        held -= {record.id for task in short.values() for record in task.records}
        pool = [record.id for record in self._listing.records if record.id not in held]
        runs = [pool[start : start + self._shard_videos] for start in range(0, len(pool), self._shard_videos)]
        for index, task in short.items():
            same = [record.id for record in task.records]
            if same in runs:
                runs.remove(same)
            else:
                del kept[index]
        free = (index for index in itertools.count() if index not in kept)
        return tuple(kept.values()), tuple(self._task(index, run) for index, run in zip(free, runs, strict=False))

    def _task(self, index: int, ids: Sequence[str]) -> ShardTask:
        records = tuple(self._listing.records[self._position[video_id]] for video_id in ids)
        signatures = tuple(self._signatures[video_id] for video_id in ids)
        return replace(self._empty, index=index, records=records, signatures=signatures)

    def _current(
        self, index: int, sidecar: dict[str, Any], sizes: Mapping[str, int], retry: Sequence[str]
    ) -> ShardTask | None:
        """Return the task whose result a sidecar is, or None if no task would have that result now."""
        ids = [row["id"] for row in sidecar["rows"]]
        if not all(video_id in self._position for video_id in ids):
            return None
        task = self._task(index, ids)
        current = (
            is_current(sidecar, task.key, sizes)
            and sidecar["signatures"] == [list(signature) for signature in task.signatures]
            and not any(row["reason"] in retry for row in sidecar["rows"] if row["reason"])
        )
        return task if current else None
