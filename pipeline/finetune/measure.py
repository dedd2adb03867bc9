"""What fine-tuning changed: answers, inversions, and how near attention is to what people and truth say."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.data.records import HIDDEN_LABEL, PreparedVideo
from pipeline.data.store.prepared import PreparedDataset
from pipeline.eval import truth
from pipeline.eval.evaluate import evaluate
from pipeline.eval.load import INVERSIONS
from pipeline.eval.metrics import Interval, bootstrap_mean
from pipeline.eval.place import Known, centre_places, point
from pipeline.eval.predict import PredictJob, predict
from pipeline.finetune.edits import Edit
from pipeline.finetune.table import Answers
from pipeline.finetune.where import Where, compare_maps
from pipeline.finetune.windows import VideoAttention, attend


@dataclass(frozen=True)
class Nearness:
    """Temporal attention against what people set, over some videos."""

    videos: int
    mse: Interval
    """Mean over videos of the mean squared difference over the frames that people set."""
    correlated: int
    """Videos where both vary, so that a correlation exists."""
    correlation: Interval
    """Mean over those of Pearson's."""

    def sentence(self) -> str:
        """Say what was measured."""
        if not self.videos:
            return "no edited video was held out"
        m, r = self.mse, self.correlation
        return (
            f"mean squared difference {m.value:.4f} (95 % {m.low:.4f} to {m.high:.4f}) over {self.videos} videos, "
            f"correlation {r.value:+.3f} ({r.low:+.3f} to {r.high:+.3f}) over {self.correlated}"
        )


@dataclass(frozen=True)
class Measured:
    """One network."""

    checkpoint: str
    answers: Answers
    heldout: Nearness
    """Against edits that no network was trained on."""
    truth: truth.Agreement | None
    """Against known active frames of the test split, where they are known."""
    where: Where | None = None
    """Of its spatial attention, where people pointed."""

    def facts(self) -> dict[str, Any]:
        """Return what is not in the table, as JSON values; numbers that do not exist are absent."""
        facts: dict[str, Any] = {"checkpoint": self.checkpoint, "heldout_videos": self.heldout.videos}
        if self.heldout.videos:
            facts["heldout_mse"] = asdict(self.heldout.mse)
        if self.heldout.correlated:
            facts["heldout_correlation"] = asdict(self.heldout.correlation)
        if self.truth is not None:
            facts["truth"] = asdict(self.truth) if self.truth.clips else {"clips": 0}
        return facts | ({"where": self.where.facts()} if self.where is not None else {})


def measure(
    dataset: PreparedDataset,
    job: PredictJob,
    heldout: Mapping[str, Edit],
    videos: Sequence[PreparedVideo],
    predictions: str,
    active: Mapping[str, truth.BoolArray] | None = None,
    known: Mapping[str, Known] | None = None,
) -> Measured:
    """Ask a network about a split, with all inversions, and about the videos held out; Ray must be connected.

    Args:
        dataset: the prepared data set.
        job: network, split, clips and machines.
        heldout: edits that no network was trained on, by video.
        videos: those videos.
        predictions: file that gets the answers.
        active: known active frames by video.
        known: where the object is as well; asked for where people pointed.
    """
    asked = replace(job, inversions=INVERSIONS, maps="temporal" if known is None else "all")
    hits: dict[str, tuple[int, bool]] = {}
    rows = _noted(predict(dataset, asked), hits)
    found = evaluate(rows, len(dataset.classes), INVERSIONS, predictions, _about(dataset, job))
    pointed = any(edit.maps for edit in heldout.values())
    seen = list(attend(dataset.root, videos, replace(job, maps="all" if pointed else "temporal")))
    agreement = (
        truth.compare(plain(predictions, ("id", "temporal", "idx", "valid")), active) if active is not None else None
    )
    where = None
    if pointed or known is not None:
        places = centre_places(dataset, job.protocol.clip)
        on_object = None
        if known is not None:
            maps = plain(predictions, ("id", "spatial", "spatial_shape", "idx", "valid"))
            on_object = point(maps, known, places)
        where = Where(*compare_maps(seen, heldout, places), on_object)
    return Measured(job.checkpoint, Answers(found.perception, hits), nearness(seen, heldout), agreement, where)


def _about(dataset: PreparedDataset, job: PredictJob) -> dict[str, str]:
    """What a reader of the answers needs to know whether others compare with them."""
    return {
        "checkpoint": job.checkpoint,
        "passport": dataset.passport,
        "split": f"{job.split}, fold {job.fold}",
        "protocol": job.protocol.describe(),
        "precision": str(job.precision),
    }


def nearness(seen: Iterable[VideoAttention], edits: Mapping[str, Edit]) -> Nearness:
    """Compare temporal attention with the frames that people set; a video without any is left out."""
    errors, correlations = [], []
    for one in seen:
        edit = edits[one.video]
        if not edit.set_V.any():
            continue
        ours_V = one.attention_V[edit.set_V].astype(np.float64)
        theirs_V = edit.scores_V[edit.set_V].astype(np.float64)
        errors.append(float(((ours_V - theirs_V) ** 2).mean()))
        if np.ptp(ours_V) > 0 and np.ptp(theirs_V) > 0:
            correlations.append(float(np.corrcoef(ours_V, theirs_V)[0, 1]))
    means = bootstrap_mean(np.array(errors)), bootstrap_mean(np.array(correlations))
    return Nearness(len(errors), means[0], len(correlations), means[1])


def _noted(rows: Iterable[dict[str, Any]], hits: dict[str, tuple[int, bool]]) -> Iterator[dict[str, Any]]:
    """Pass rows on, and note who was right without inversion; ties go to the lowest class, as in `metrics.count`."""
    for row in rows:
        if row["inversion"] == "none" and row["label"] != HIDDEN_LABEL:
            hits[row["id"]] = (row["label"], int(np.argmax(row["scores"])) == row["label"])
        yield row


def plain(predictions: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return columns of the answers without inversion, in a file of `eval.evaluate`."""
    filesystem, path = storage.resolve(predictions)
    table = pq.read_table(path, filesystem=filesystem, columns=list(columns), filters=[("inversion", "=", "none")])
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
