"""A test of a system: predictions written as they come, counted once, and what attention added on the same videos."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.records import HIDDEN_LABEL
from pipeline.data.store.catalog import READABLE, compare_passports
from pipeline.eval.compare import Paired, paired
from pipeline.eval.evaluate import GROUP
from pipeline.eval.metrics import Counts, count, empty_counts
from pipeline.eval.place import Pointing
from pipeline.two_stream.answer import Variant
from pipeline.two_stream.pairs import PairedData
from pipeline.two_stream.predict import columns_of, row_schema
from pipeline.two_stream.samples import Stream
from pipeline.two_stream.system import System

PARTS = ("spatial", "temporal", "fused")
"""What is counted of every variant."""


@dataclass(frozen=True)
class NotScored:
    """A listed video of the split that no prediction was made for."""

    id: str
    stage: str
    """prepare or flow: where it was quarantined."""
    reason: str


@dataclass(frozen=True)
class Tested:
    """What a test counted."""

    variants: tuple[Variant, ...]
    counts: Mapping[str, Counts]
    """By column: with_spatial, without_fused."""
    right: Mapping[str, npt.NDArray[np.bool_]]
    """By column: which videos it got right, in the order of `ids`."""
    ids: tuple[str, ...]
    """Videos counted."""
    predicted: int
    """Videos predicted, hidden labels included."""
    not_scored: tuple[NotScored, ...]
    pointing: Mapping[Stream, Pointing] = field(default_factory=dict)
    """How the maps of either stream lie on the object; empty where nobody knows its place."""

    @property
    def hidden(self) -> int:
        """Videos without a published label: predicted, not counted."""
        return self.predicted - len(self.ids)

    @property
    def best_variant(self) -> Variant:
        """The one that the system was trained for."""
        return "with" if "with" in self.variants else self.variants[0]

    def added(self, part: str, before: Variant = "without", after: Variant = "with") -> Paired:
        """Compare two variants of a part on the same videos."""
        return paired(self.right[f"{before}_{part}"], self.right[f"{after}_{part}"])

    def hits(self, name: str) -> dict[str, bool]:
        """Return whether each video was right, by id."""
        return dict(zip(self.ids, self.right[name].tolist(), strict=True))


def evaluate(
    rows: Iterable[dict[str, Any]],
    variants: Sequence[Variant],
    classes: int,
    uri: str,
    about: Mapping[str, str],
    not_scored: Sequence[NotScored] = (),
) -> Tested:
    """Write predictions to a Parquet file and count them on the way.

    Args:
        rows: what `predict` yields.
        variants: those predicted.
        classes: K.
        uri: the file to publish; it appears whole or not at all.
        about: written into the file's metadata.
        not_scored: videos that `rows` does not have.
    """
    names = columns_of(variants)
    counts = {name: empty_counts(classes) for name in names}
    right: dict[str, list[npt.NDArray[np.bool_]]] = {name: [] for name in names}
    ids: list[str] = []
    predicted = 0
    schema = row_schema(variants).with_metadata({f"star.{key}": value for key, value in about.items()})
    with storage.publish(uri) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(rows):
            writer.write_table(pa.Table.from_pylist(group, schema))
            predicted += len(group)
            known = [row for row in group if row["label"] != HIDDEN_LABEL]
            ids += [row["id"] for row in known]
            label_B = np.array([row["label"] for row in known], np.int64)
            for name in names if known else ():
                scores_BK = np.stack([row[name] for row in known])
                counts[name] += count(scores_BK, label_B)
                right[name].append(scores_BK.argmax(axis=1) == label_B)
    joined = {name: np.concatenate(parts) if parts else np.zeros(0, np.bool_) for name, parts in right.items()}
    return Tested(tuple(variants), counts, joined, tuple(ids), predicted, tuple(not_scored))


def _groups(rows: Iterable[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == GROUP:
            yield group
            group = []
    if group:
        yield group


def not_scored(data: PairedData, split: str, fold: int) -> tuple[NotScored, ...]:
    """Return the listed videos of a split that have no frames or no flow, and why."""
    listed = [row for row in data.prepared.rows if row.split[fold - 1] == split]
    found = [NotScored(row.id, "prepare", row.reason) for row in listed if row.status != READABLE]
    reasons = {row.id: row.reason for row in data.flow.rows}
    found += [NotScored(video, "flow", reasons.get(video, "")) for video in data.left_out(split, fold)]
    return tuple(found)


def check_data(system: System, data: PairedData, *, allow_other: bool) -> tuple[str, ...]:
    """Compare frames and flow at hand with those that a system was trained on.

    Args:
        system: trained.
        data: to test on.
        allow_other: accept other videos, as long as the classes are the same.

    Returns:
        The differences, one line each; empty when the data are the same.

    Raises:
        UserError: other classes; or other data without `allow_other`.
    """
    if system.classes != data.prepared.classes:
        raise UserError(
            problem(
                "The data set's classes are not the system's",
                got=f"{len(data.prepared.classes)} classes: {', '.join(data.prepared.classes[:3])}, ...",
                allowed=f"the {len(system.classes)} of the training: {', '.join(system.classes[:3])}, ...",
                fix="test on the data set that the system was trained for",
            )
        )
    differences = compare_passports(system.passport, data.identity())
    if differences and not allow_other:
        raise UserError(
            problem(
                "Frames or flow are not those that the system was trained on",
                got="; ".join(differences),
                allowed=f"the passport {system.passport.digest}",
                fix="give the data of the training, or add --allow-other-data to go on and have it recorded",
            )
        )
    return differences
