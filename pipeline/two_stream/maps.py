"""The maps of a stream's training videos: Arrow shards, a record batch a video, and the manifest that vouches for them.

A map covers the whole frame at a place of its video and is as small as the features that it was made from (8 x 8 for
299 x 299 images), in float16: 128 bytes. Below the root lie `manifest.json` (published last), `catalog.parquet` and
`shards/*.arrow`, each shard with the videos of one shard of frames or flow. Legend: P place, h and w of the features.
"""

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.store import table
from pipeline.data.store.published import CATALOG, MANIFEST
from pipeline.data.store.shards import read_batch
from pipeline.two_stream.samples import Stream

JOB = "jobs/train_two_stream.py"
FORMAT = 1
"""Of the manifest and what it refers to; a reader refuses any other."""

Maps = npt.NDArray[np.float16]

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("places", pa.list_(pa.field("item", pa.int32(), nullable=False)), nullable=False),
        pa.field("maps", pa.large_binary(), nullable=False),
    ]
)


@dataclass(frozen=True)
class VideoMaps:
    """The maps of one video."""

    id: str
    places: tuple[int, ...]
    """In ascending order."""
    map_Phw: Maps
    """In [0, 1]."""


@dataclass(frozen=True)
class MapRow:
    """What is known about the maps of one video."""

    id: str
    maps: int
    sha256: str
    """Of places and maps."""
    shard: str
    """Below the root."""
    row: int


_ROWS = table.schema_of(MapRow)


def write_shard(file: IO[bytes], videos: Iterable[VideoMaps]) -> tuple[MapRow, ...]:
    """Write videos to an open binary file, one record batch each; returns their rows, the shard's path still empty."""
    rows: list[MapRow] = []
    with pa.ipc.new_file(file, SCHEMA) as writer:
        for video in videos:
            data = np.ascontiguousarray(video.map_Phw, "<f2").tobytes()
            columns = [[video.id], [list(video.places)], [data]]
            arrays = [pa.array(c, type=f.type) for c, f in zip(columns, SCHEMA, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
            digest = hashlib.sha256(np.asarray(video.places, "<i4").tobytes() + data).hexdigest()
            rows.append(MapRow(video.id, len(video.places), digest, "", len(rows)))
    return tuple(rows)


def publish(root: str, rows: Sequence[MapRow], facts: Mapping[str, Any]) -> str:
    """Publish catalog and manifest; returns the passport, a digest of the facts and of every map.

    Args:
        root: of the maps.
        rows: of all videos.
        facts: how the maps were made; values of JSON.
    """
    data = table.to_parquet(rows, _ROWS)
    content = [[row.id, row.maps, row.sha256] for row in sorted(rows, key=lambda row: row.id)]
    passport = storage.sha256_json([dict(facts), content])
    manifest = {
        "format": FORMAT,
        **facts,
        "catalog_sha256": hashlib.sha256(data).hexdigest(),
        "counts": {"videos": len(rows), "maps": sum(row.maps for row in rows)},
        "passport": passport,
    }
    storage.publish_bytes(storage.join(root, CATALOG), data)
    storage.write_json(storage.join(root, MANIFEST), manifest)
    return passport


@dataclass(frozen=True)
class MapDataset:
    """Opened maps of one stream; opening checks that the catalog is the one that the manifest describes."""

    root: str
    stream: Stream
    """Whose maps: "spatial" gives S, "temporal" T."""
    shape: tuple[int, int]
    """h, w."""
    passport: str
    manifest: Mapping[str, Any]
    rows: Mapping[str, MapRow]
    """By the id of the video."""

    @classmethod
    def open(cls, root: str) -> "MapDataset":
        """Read manifest and catalog.

        Raises:
            UserError: there are no maps, or not all of them yet.
        """
        root = storage.absolute(root)
        fix = f"run {JOB} again; it extracts what is missing"
        try:
            manifest: dict[str, Any] = storage.read_json(storage.join(root, MANIFEST))
            data = storage.read_bytes(storage.join(root, CATALOG))
        except (FileNotFoundError, ValueError) as error:
            allowed = f"a folder or URI with {MANIFEST} and {CATALOG}"
            raise UserError(problem("There are no maps", got=root, allowed=allowed, fix=fix)) from error
        if manifest.get("format") != FORMAT or hashlib.sha256(data).hexdigest() != manifest["catalog_sha256"]:
            got = f"format {manifest.get('format')}, catalog of SHA-256 {hashlib.sha256(data).hexdigest()[:12]}"
            allowed = f"format {FORMAT}, the catalog that the manifest describes"
            raise UserError(problem(f"The maps in {root} are not whole", got=got, allowed=allowed, fix=fix))
        rows = [MapRow(**values) for values in table.from_parquet(data, _ROWS)]
        shape = (int(manifest["shape"][0]), int(manifest["shape"][1]))
        by_id = {row.id: row for row in rows}
        return cls(root, manifest["stream"], shape, manifest["passport"], manifest, by_id)

    def of(self, video_id: str) -> VideoMaps:
        """Return the maps of a video.

        Raises:
            UserError: it has none.
        """
        if video_id not in self.rows:
            allowed, fix = f"one of {len(self.rows)} videos of the training split", "extract the maps of this split"
            raise UserError(problem("A video has no maps", got=video_id, allowed=allowed, fix=fix))
        row = self.rows[video_id]
        batch = read_batch(self.root, row.shard, row.row, JOB)
        places = tuple(batch.column("places")[0].as_py())
        data = batch.column("maps")[0].as_buffer()
        return VideoMaps(video_id, places, np.frombuffer(data, "<f2").reshape(len(places), *self.shape))


@functools.lru_cache(maxsize=4)
def opened(root: str, passport: str) -> MapDataset:
    """Open maps once a process.

    Args:
        root: of the maps.
        passport: of the maps that are meant; others may have taken their place since.

    Raises:
        UserError: there are none, or others.
    """
    found = MapDataset.open(root)
    if found.passport != passport:
        fix = "let no other training write there, and start again"
        got, allowed = f"maps with passport {found.passport[:12]}", f"those with {passport[:12]}"
        raise UserError(problem(f"The maps in {root} have changed", got=got, allowed=allowed, fix=fix))
    return found


def row_values(rows: Sequence[MapRow], shard: str) -> list[dict[str, Any]]:
    """Return rows as a sidecar keeps them, with the shard's path."""
    return [{**asdict(row), "shard": shard} for row in rows]
