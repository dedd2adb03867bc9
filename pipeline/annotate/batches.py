"""Sealed batches: what people have settled, as immutable files that are named by their content.

`<root>/<batch>/part-*.parquet` and, written last, `manifest.json` with the hash of every part: without a manifest there
is no batch. The name is the SHA-256 over the sorted canonical rows, so the same answers are the same batch wherever and
whenever they are written, and no byte of one can change unseen.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import UserError, problem

MANIFEST = "manifest.json"
FORMAT = 1
PART_ROWS = 1000
INDEX_BASE = 0


@dataclass(frozen=True, kw_only=True)
class BatchRow:
    """One video and what people said of it."""

    video_id: str
    dataset: str
    label: int
    num_frames: int
    fps: float
    index_base: int = INDEX_BASE
    """Frames count from here."""
    scores: tuple[float | None, ...]
    """One for every video frame, 0 to 1; None is unset and carries no loss."""
    source: tuple[int | None, ...]
    """Who set it, place in `rules.SOURCES`: 0 human, 1 filled, 2 model."""
    init: str
    """What people started from: blank, model, mixed (two people, one of each), imported."""
    annotators: tuple[str, ...]
    """Pseudonyms."""
    n_annotators: int
    kappa: float | None
    """Of the two opinions; None where one person answered."""
    decision: str
    """single, agreed, adjudicated, imported."""
    model_version_shown: str
    editor_version: str
    submitted_at: float
    """Seconds since 1970."""
    seconds_spent: float
    """Of all annotators together."""
    spatial_frames: tuple[int, ...] = ()
    """Frames with a spatial map."""
    spatial_maps: tuple[tuple[float, ...], ...] = ()
    """14 * 14 values for each of them, row by row."""
    split: str = "train"
    """train, or heldout_edit: never trained on."""


SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("num_frames", pa.int32(), nullable=False),
        pa.field("fps", pa.float64(), nullable=False),
        pa.field("index_base", pa.int32(), nullable=False),
        pa.field("scores", pa.list_(pa.float32()), nullable=False),
        pa.field("source", pa.list_(pa.int8()), nullable=False),
        pa.field("init", pa.string(), nullable=False),
        pa.field("annotators", pa.list_(pa.string()), nullable=False),
        pa.field("n_annotators", pa.int32(), nullable=False),
        pa.field("kappa", pa.float64()),
        pa.field("decision", pa.string(), nullable=False),
        pa.field("model_version_shown", pa.string(), nullable=False),
        pa.field("editor_version", pa.string(), nullable=False),
        pa.field("submitted_at", pa.float64(), nullable=False),
        pa.field("seconds_spent", pa.float64(), nullable=False),
        pa.field("spatial_frames", pa.list_(pa.int32()), nullable=False),
        pa.field("spatial_maps", pa.list_(pa.list_(pa.float32())), nullable=False),
        pa.field("split", pa.string(), nullable=False),
    ]
)
assert SCHEMA.names == [f.name for f in fields(BatchRow)]


@dataclass(frozen=True)
class Batch:
    """A batch that was read and found whole."""

    id: str
    uri: str
    manifest: Mapping[str, Any]
    rows: tuple[BatchRow, ...]


def _stored(rows: Sequence[BatchRow]) -> pa.Table:
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA)


def _rows(table: pa.Table) -> list[BatchRow]:
    lists = ("scores", "source", "annotators", "spatial_frames")
    return [
        BatchRow(
            **{
                **row,
                **{name: tuple(row[name]) for name in lists},
                "spatial_maps": tuple(tuple(cells) for cells in row["spatial_maps"]),
            }
        )
        for row in table.to_pylist()
    ]


def _canonical(rows: Sequence[BatchRow]) -> list[tuple[str, BatchRow]]:
    """Return every row with its canonical text, in order of that text; values as the files can hold them."""
    held = _rows(_stored(rows))
    texts = [json.dumps(asdict(row), sort_keys=True, separators=(",", ":")) for row in held]
    return sorted(zip(texts, held, strict=True), key=lambda pair: pair[0])


def batch_id(rows: Sequence[BatchRow]) -> str:
    """Return the name of a batch of these rows, whatever their order."""
    return hashlib.sha256("\n".join(text for text, _ in _canonical(rows)).encode()).hexdigest()


def write_batch(root: str, rows: Sequence[BatchRow], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write a batch below `root` and return its manifest; one that is there already stays as it is.

    Args:
        root: folder of all batches, a path or URI.
        rows: at least one; a video once.
        facts: JSON values for the manifest, such as campaign, model, passport, sealed.

    Raises:
        UserError: no rows, a video twice, or what lies there already is damaged.
    """
    videos = [row.video_id for row in rows]
    if not rows or len(set(videos)) < len(videos):
        got, fix = f"{len(videos)} rows of {len(set(videos))} videos", "merge the answers to a video first"
        raise UserError(problem("Rows make no batch", got=got, allowed="each video once, at least one", fix=fix))
    ordered = [row for _, row in _canonical(rows)]
    name = batch_id(rows)
    folder = storage.join(root, name)
    if storage.exists(storage.join(folder, MANIFEST)):
        return dict(read_batch(folder).manifest)
    parts: list[dict[str, Any]] = []
    for start in range(0, len(ordered), PART_ROWS):
        piece = ordered[start : start + PART_ROWS]
        file = io.BytesIO()
        pq.write_table(_stored(piece), file, compression="zstd")
        part = {"path": f"part-{len(parts):05d}.parquet", "rows": len(piece), "bytes": len(file.getvalue())}
        storage.publish_bytes(storage.join(folder, str(part["path"])), file.getvalue())
        parts.append({**part, "sha256": hashlib.sha256(file.getvalue()).hexdigest()})
    own = {"format": FORMAT, "batch": name, "items": len(ordered), "index_base": INDEX_BASE, "parts": parts}
    said = {**facts, **own, "splits": _splits(ordered), "columns": SCHEMA.names}
    manifest = {**said, "digest": storage.sha256_json(said)}
    storage.write_json(storage.join(folder, MANIFEST), manifest)
    return manifest


def read_batch(uri: str) -> Batch:
    """Read a batch and check every byte of it.

    Args:
        uri: the batch's folder.

    Raises:
        UserError: there is no batch, it is of another format, or a file is not what was sealed; names the file.
    """
    address = storage.join(uri, MANIFEST)
    fix = "take the batch from a copy, or seal it again from the store"
    try:
        data = storage.read_bytes(address)
    except FileNotFoundError as error:
        allowed = f"a folder with {MANIFEST}; one without is a batch that was not finished"
        raise UserError(problem("There is no sealed batch", got=uri, allowed=allowed, fix=fix)) from error
    try:
        manifest = json.loads(data)
        _check_manifest(data, manifest)
    except ValueError as error:
        what = f"A sealed batch is damaged: {address}"
        raise UserError(problem(what, got=str(error), allowed="the file as it was sealed", fix=fix)) from error
    rows: list[BatchRow] = []
    for part in manifest["parts"]:
        rows += _read_part(storage.join(uri, part["path"]), part, fix)
    found, folder = batch_id(rows), storage.absolute(uri).partition("?")[0].rstrip("/").split("/")[-1]
    if not manifest["batch"] == found == folder:
        what = f"A batch is not the one that its name says: {uri}"
        raise UserError(problem(what, got=f"{manifest['batch']} in the manifest", allowed=found, fix=fix))
    return Batch(found, uri, manifest, tuple(rows))


def _check_manifest(data: bytes, manifest: Any) -> None:
    """Raise ValueError unless a manifest is as it was written.

    The digest covers what it means, the spelling what JSON leaves open.
    """
    if data != (json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode():
        raise ValueError("another spelling")
    said = {key: value for key, value in manifest.items() if key != "digest"}
    if manifest.get("digest") != storage.sha256_json(said):
        raise ValueError("its digest does not fit")
    if manifest.get("format") != FORMAT:
        raise ValueError(f"format {manifest.get('format')}, not {FORMAT}")


def _splits(rows: Sequence[BatchRow]) -> dict[str, int]:
    return {split: sum(row.split == split for row in rows) for split in ("train", "heldout_edit")}


def _read_part(uri: str, part: Mapping[str, Any], fix: str) -> list[BatchRow]:
    try:
        data = storage.read_bytes(uri)
    except FileNotFoundError as error:
        what = f"A sealed batch lacks a file: {uri}"
        raise UserError(problem(what, got="no such file", allowed=f"{part['bytes']} bytes", fix=fix)) from error
    found = hashlib.sha256(data).hexdigest()
    if found != part["sha256"]:
        what = f"A sealed batch is damaged: {uri}"
        got, allowed = f"SHA-256 {found}", f"the manifest's {part['sha256']}"
        raise UserError(problem(what, got=got, allowed=allowed, fix=fix))
    return _rows(pq.read_table(pa.BufferReader(data)))
