"""One row for every readable video of the prepared data set, with flow or without; and the flow passport."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.data.store import table
from pipeline.data.store.catalog import Passport
from pipeline.flow.config import FlowConfig

OK, QUARANTINED = "ok", "quarantined"

UNDECODABLE = "frames_undecodable"
TOO_SMALL = "too_small"
NOT_A_NUMBER = "not_a_number"
MISSING = "missing"
WRONG_COUNT = "wrong_count"
BAD_PICTURE = "bad_picture"
REASONS = {
    UNDECODABLE: "a stored frame is damaged",
    TOO_SMALL: "TV-L1 needs 16 pixels a side",
    NOT_A_NUMBER: "the algorithm, as configured, diverged",
    MISSING: "the imported tree has no such folder",
    WRONG_COUNT: "n frames need n - 1 pairs of files, numbered without a gap",
    BAD_PICTURE: "an imported file is no grey picture, or not of the size of the others",
}
"""Why a video has no flow."""


class FlowError(Exception):
    """A video that gets no flow: one of REASONS, and the particulars."""

    def __init__(self, reason: str, detail: str) -> None:
        assert reason in REASONS, reason
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, kw_only=True)
class FlowRow:
    """What is known about the flow of one video."""

    id: str
    status: str
    """ok or quarantined."""
    reason: str = ""
    """Why it is quarantined: a key of REASONS."""
    detail: str = ""
    note: str = ""
    """Remarkable: the frames were not those that the prepared data set's manifest describes."""
    pairs: int = 0
    height: int = 0
    """Of the flow, pixels."""
    width: int = 0
    backend: str = ""
    """numba, opencv, triton or imported."""
    sha256: str = ""
    """Of the stored planes."""
    shard: str = ""
    """Below the flow set's root; empty when quarantined."""
    row: int = -1
    """Record batch of the shard; -1 when quarantined."""


SCHEMA = table.schema_of(FlowRow)

BY_VIDEO = {"videos": ("id", "status", "reason", "pairs", "height", "width"), "content": ("sha256",)}
"""Parts of the passport that hold these columns of every row."""


def to_parquet(rows: Sequence[FlowRow]) -> bytes:
    """Return the rows as a Parquet file; the same rows are the same bytes."""
    return table.to_parquet(rows, SCHEMA)


def from_parquet(data: bytes) -> tuple[FlowRow, ...]:
    """Return the rows of a Parquet file that `to_parquet` wrote.

    Raises:
        ValueError: the bytes are something else.
    """
    return tuple(FlowRow(**values) for values in table.from_parquet(data, SCHEMA))


@dataclass(frozen=True)
class FlowCounts:
    """How many videos have flow, and that none was lost."""

    videos: int
    """Readable ones of the prepared data set."""
    ok: int
    quarantined: int
    pairs: int
    by_reason: Mapping[str, int]


def count(rows: Sequence[FlowRow]) -> FlowCounts:
    """Count the rows; every one is ok with a place in a shard, or quarantined with a reason."""
    good = [row for row in rows if row.status == OK and row.shard and row.row >= 0 and not row.reason]
    reasons = Counter(row.reason for row in rows if row.status == QUARANTINED and not row.shard and row.reason)
    quarantined = sum(reasons.values())
    assert len(good) + quarantined == len(rows), "every video has flow or a reason why not"
    return FlowCounts(len(rows), len(good), quarantined, sum(r.pairs for r in good), dict(sorted(reasons.items())))


def passport_of(
    rows: Sequence[FlowRow], config: FlowConfig, *, frames: str, made_with: Sequence[Mapping[str, str]]
) -> Passport:
    """Digest what two flow sets must share to be comparable.

    Computed flow follows from the frames, the settings, the backends and their versions, as frames follow from their
    sources; its bytes stand in the catalog. Of imported flow only the bytes are known, so they are part of it.

    Args:
        rows: of all videos.
        config: how the flow was made.
        frames: passport of the prepared data set.
        made_with: distinct versions of what made the shards.
    """
    ordered = sorted(rows, key=lambda row: row.id)
    values: dict[str, Any] = to_dict(config)
    values["frames"] = frames
    values["backends"] = sorted({row.backend for row in ordered if row.status == OK})
    # Arrow's version may move bytes of a shard about, but not those of a plane.
    values["versions"] = [{k: v for k, v in entry.items() if k != "pyarrow"} for entry in made_with]
    for part, columns in BY_VIDEO.items():
        values[part] = [[getattr(row, column) for column in columns] for row in ordered]
    if config.tvl1 is not None:
        del values["content"]
    parts = {name: storage.sha256_json(value) for name, value in values.items()}
    return Passport(storage.sha256_json(parts), parts)
