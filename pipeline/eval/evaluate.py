"""An evaluation: predictions written as they come, counted once, and summarised for each inversion and branch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.records import HIDDEN_LABEL
from pipeline.data.store.catalog import compare_passports
from pipeline.data.store.prepared import PreparedDataset
from pipeline.eval.compare import Paired, paired
from pipeline.eval.load import Inversion, Recogniser
from pipeline.eval.metrics import Counts, count, empty_counts
from pipeline.eval.predict import ROW_SCHEMA
from pipeline.train.trained_on import TrainedOn

GROUP = 256
"""Rows written and counted together."""


@dataclass(frozen=True)
class Evaluation:
    """The counts of an evaluation."""

    videos: int
    """Videos predicted."""
    hidden: int
    """Of these, videos without a published label: predicted, not counted."""
    perception: Mapping[Inversion, Counts]
    """The prediction, by inversion."""
    attention: Mapping[Inversion, Counts]
    """The attention branch, by inversion; empty for a baseline."""
    right: Mapping[Inversion, npt.NDArray[np.bool_]]
    """Which of the counted videos the prediction is right about, by inversion, in the order of the rows."""

    def inversion_drops(self) -> dict[Inversion, Paired]:
        """Return what inverting attention costs: as trained against each inversion, on the same videos.

        "gained" are videos that only the attention as trained gets right. Empty unless both were predicted.
        """
        others = [invert for invert in self.right if invert != "none"] if "none" in self.right else []
        found = {invert: paired(self.right[invert], self.right["none"]) for invert in others}
        return {invert: one for invert, one in found.items() if one.videos}


def evaluate(
    rows: Iterable[dict[str, Any]], classes: int, inversions: Sequence[Inversion], uri: str, about: Mapping[str, str]
) -> Evaluation:
    """Write predictions to a Parquet file and count them on the way.

    Args:
        rows: what `predict` yields.
        classes: K.
        inversions: those predicted.
        uri: the file to publish; it appears whole or not at all.
        about: written into the file's metadata.
    """
    perception = {invert: empty_counts(classes) for invert in inversions}
    attention: dict[Inversion, Counts] = {}
    right: dict[Inversion, list[npt.NDArray[np.bool_]]] = {invert: [np.zeros(0, np.bool_)] for invert in inversions}
    hidden = 0
    schema = ROW_SCHEMA.with_metadata({f"star.{k}": v for k, v in about.items()})
    seen = 0
    with storage.publish(uri) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(rows):
            writer.write_table(pa.Table.from_pylist(group, schema))
            seen += len(group)
            hidden += sum(row["label"] == HIDDEN_LABEL for row in group)
            for invert in inversions:
                known = [row for row in group if row["inversion"] == invert and row["label"] != HIDDEN_LABEL]
                if not known:
                    continue
                label_B = np.array([row["label"] for row in known])
                scores_BK = np.stack([row["scores"] for row in known])
                perception[invert] += count(scores_BK, label_B)
                right[invert].append(scores_BK.argmax(axis=1) == label_B)
                if known[0]["att_scores"] is not None:
                    part = count(np.stack([row["att_scores"] for row in known]), label_B)
                    attention[invert] = attention.get(invert, empty_counts(classes)) + part
    joined = {invert: np.concatenate(parts) for invert, parts in right.items()}
    return Evaluation(seen // len(inversions), hidden // len(inversions), perception, attention, joined)


def _groups(rows: Iterable[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == GROUP:
            yield group
            group = []
    if group:
        yield group


def check_data(network: Recogniser, dataset: PreparedDataset, *, allow_other: bool) -> tuple[str, ...]:
    """Compare the data at hand with the data that a network was trained on.

    Args:
        network: the trained network.
        dataset: the data to evaluate on.
        allow_other: accept other videos, as long as the classes are the same.

    Returns:
        The differences, one line each; empty when the data are the same.

    Raises:
        UserError: other classes; or other data without `allow_other`.
    """
    if network.classes != dataset.classes:
        raise UserError(
            problem(
                "The data set's classes are not the network's",
                got=_class_difference(network.classes, dataset.classes),
                allowed="the same class texts in the same order",
                fix="evaluate on the data set that the network was trained for",
            )
        )
    if network.passport.digest == dataset.passport:
        return ()
    differences = _differences(network, dataset)
    if not allow_other:
        raise UserError(
            problem(
                "The data set is not the one that the network was trained on",
                got="; ".join(differences),
                allowed=f"the passport {network.passport.digest}",
                fix="give the data set of the training, or add --allow-other-data to go on and have it recorded",
            )
        )
    return differences


def _differences(network: Recogniser, dataset: PreparedDataset) -> tuple[str, ...]:
    """Name videos where the run's folder or the recipe's root still knows them, otherwise the parts that differ."""
    trained_on = TrainedOn(network.passport, storage.parent(network.checkpoint))
    if trained_on.rows():
        return trained_on.differences(dataset.identity, dataset.rows)
    try:
        trained = PreparedDataset.open(network.recipe.data.root)
    except (UserError, OSError):
        trained = None
    if trained is not None and trained.passport == network.passport.digest:
        return compare_passports(network.passport, dataset.identity, trained.rows, dataset.rows)
    return compare_passports(network.passport, dataset.identity)


def _class_difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    if len(ours) != len(theirs):
        return f"{len(theirs)} classes, the network has {len(ours)}"
    where = next(k for k, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    return f"class {where} is '{theirs[where]}', the network's is '{ours[where]}'"
