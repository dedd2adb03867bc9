"""The catalog: one row for every listed video, readable or not; its digest is the data passport.

Two prepared data sets with the same passport hold the same videos, frame counts, sizes, contents, labels and splits,
decoded by the same decoder and stored by the same codec. Paths, row order and shard layout do not matter.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core import storage
from pipeline.data.store import table

READABLE, QUARANTINED = "readable", "quarantined"


@dataclass(frozen=True, kw_only=True)
class CatalogRow:
    """What is known about one listed video."""

    id: str
    path: str
    """Below the source's root."""
    label: int
    split: tuple[str, ...]
    status: str
    """readable or quarantined."""
    reason: str = ""
    """Why it is quarantined: one of `decode.REASONS`."""
    detail: str = ""
    note: str = ""
    """Remarkable but harmless."""
    frames: int = 0
    fps: float = 0.0
    width: int = 0
    """Of the stored frames, pixels."""
    height: int = 0
    source_width: int = 0
    source_height: int = 0
    bytes: int = 0
    """Of the source."""
    sha256: str = ""
    """Of the source's content."""
    decoder: str = ""
    shard: str = ""
    """Below the prepared root; empty when quarantined."""
    row: int = -1
    """Record batch of the shard; -1 when quarantined."""


SCHEMA = table.schema_of(CatalogRow)

PASSPORT_COLUMNS = ("label", "split", "status", "reason", "frames", "width", "height", "bytes", "sha256", "decoder")
"""Compared video by video, beside the id. Where a file lies and how shards are cut is nobody's business but ours."""


def to_parquet(rows: Sequence[CatalogRow]) -> bytes:
    """Return the rows as a Parquet file; the same rows are the same bytes."""
    return table.to_parquet(rows, SCHEMA)


def from_parquet(data: bytes) -> tuple[CatalogRow, ...]:
    """Return the rows of a Parquet file that `to_parquet` wrote.

    Raises:
        ValueError: the bytes are something else.
    """
    return tuple(CatalogRow(**values) for values in table.from_parquet(data, SCHEMA))


def identity_of(row: CatalogRow) -> CatalogRow:
    """Return a row with its id and what passports compare, and nothing else: what `compare_passports` needs of it."""
    return CatalogRow(id=row.id, path="", **{name: getattr(row, name) for name in PASSPORT_COLUMNS})


def row_from(values: Mapping[str, Any]) -> CatalogRow:
    """Build a row from the JSON values of a sidecar."""
    return CatalogRow(**{**values, "split": tuple(values["split"])})


@dataclass(frozen=True)
class Passport:
    """Identity of a prepared data set: one digest, and the digest of each part it is made of."""

    digest: str
    parts: Mapping[str, str]
    """codec, short_side, classes, ids, and each of PASSPORT_COLUMNS."""


def passport_of(
    rows: Sequence[CatalogRow], *, classes: Sequence[str], codec: Mapping[str, Any], short_side: int
) -> Passport:
    """Digest what two runs must share to be comparable."""
    ordered = sorted(rows, key=lambda row: row.id)  # values line up with ids, so a column's digest needs no ids
    parts = {
        "classes": storage.sha256_json(list(classes)),
        "codec": storage.sha256_json(dict(codec)),
        "short_side": storage.sha256_json(short_side),
        "ids": storage.sha256_json([row.id for row in ordered]),
    }
    for column in PASSPORT_COLUMNS:
        parts[column] = storage.sha256_json([getattr(row, column) for row in ordered])
    return Passport(storage.sha256_json(parts), parts)


def compare_passports(
    expected: Passport,
    actual: Passport,
    expected_rows: Sequence[CatalogRow] | None = None,
    actual_rows: Sequence[CatalogRow] | None = None,
    *,
    examples: int = 3,
) -> tuple[str, ...]:
    """Say how two data sets differ, one line a difference; empty when they are the same.

    Args:
        expected: what a model was trained on, say.
        actual: what is at hand.
        expected_rows: the catalog behind `expected`; without both catalogs the lines name columns, not videos.
        actual_rows: the catalog behind `actual`.
        examples: videos that a line names.
    """
    if expected.digest == actual.digest:
        return ()
    names = [n for n in {**expected.parts, **actual.parts} if expected.parts.get(n) != actual.parts.get(n)]
    if expected_rows is None or actual_rows is None:
        return tuple(f"{name} differs" for name in names)
    lines = [f"{name} differs" for name in names if name not in ("ids", *PASSPORT_COLUMNS)]
    ours, theirs = ({row.id: row for row in rows} for rows in (expected_rows, actual_rows))
    for word, left, right in (("missing", ours, theirs), ("extra", theirs, ours)):
        lone = [key for key in left if key not in right]
        if lone:
            lines.append(f"{len(lone)} videos are {word}: {_some(lone, examples)}")
    shared = [(ours[key], theirs[key]) for key in ours if key in theirs]
    for column in PASSPORT_COLUMNS:
        pairs = [(a.id, getattr(a, column), getattr(b, column)) for a, b in shared]
        changed = [f"{key} ({_short(a)} -> {_short(b)})" for key, a, b in pairs if a != b]
        if changed:
            lines.append(f"{column} differs in {len(changed)} of {len(shared)} videos: {_some(changed, examples)}")
    return tuple(lines)


def _some(names: Sequence[str], examples: int) -> str:
    more = f" and {len(names) - examples} more" if len(names) > examples else ""
    return ", ".join(names[:examples]) + more


def _short(value: object) -> str:
    text = "/".join(value) if isinstance(value, tuple) else str(value)
    return (text[:12] + "...") if len(text) > 15 else (text or "none")


@dataclass(frozen=True)
class Counts:
    """How many videos there are, and that none was lost."""

    listed: int
    readable: int
    quarantined: int
    by_reason: Mapping[str, int]
    by_split: Mapping[str, int]
    """Readable videos of each split; keys are "split" or, with several folds, "split/fold"."""


def count(rows: Sequence[CatalogRow]) -> Counts:
    """Count the rows; every one is readable with a place in a shard, or quarantined with a reason."""
    readable = [row for row in rows if row.status == READABLE and row.shard and row.row >= 0 and not row.reason]
    quarantined = [row for row in rows if row.status == QUARANTINED and not row.shard and row.reason]
    assert len(readable) + len(quarantined) == len(rows), "every listed video is readable or quarantined"
    splits = Counter(
        name if len(row.split) == 1 else f"{name}/{fold}"
        for row in readable
        for fold, name in enumerate(row.split, start=1)
    )
    reasons = Counter(row.reason for row in quarantined)
    by_reason, by_split = (dict(sorted(counter.items())) for counter in (reasons, splits))
    return Counts(len(rows), len(readable), len(quarantined), by_reason, by_split)
