"""Answers from and for other tools: the authors' `saved_attention` arrays, and Label Studio's video timelines.

Both become, or come from, the rows of a batch, so imported answers train like any other.

The authors' editor saves `saved_attention/<class>/<video>.npy`, one float32 for every frame of the video, where levels
that a person has set and values that the network left stand side by side; those within 0.001 of a level count as the
person's.
Label Studio counts frames from 1 and names both ends of a range; here frames count from 0.
"""

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.annotate.batches import BatchRow
from pipeline.annotate.rules import SOURCES, drawn
from pipeline.annotate.schema import LEVELS
from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.store.catalog import READABLE, CatalogRow
from pipeline.data.store.prepared import PreparedDataset

TOLERANCE = 1e-3
HUMAN, MODEL = SOURCES.index("human"), SOURCES.index("model")
IMPORTED = "imported"


def read_saved_attention(
    folder: str, dataset: PreparedDataset, model: str, heldout_share: float = 0.0
) -> list[BatchRow]:
    """Read the arrays that the authors' editor saved.

    Args:
        folder: path or URI of `saved_attention`.
        dataset: the same videos, prepared; class folders are its class indices.
        model: name of the network whose curve people saw.
        heldout_share: of the videos, kept out of training; drawn as campaigns draw them.

    Raises:
        UserError: nothing there, or files that fit no video of the data set; names them.
    """
    known = {row.id: row for row in dataset.rows if row.status == READABLE}
    rows, faults = [], []
    for label in storage.entries(folder):
        for entry in storage.list_files(storage.join(folder, label.base_name)):
            name = f"{label.base_name}/{entry.base_name}"
            uri = storage.join(folder, label.base_name, entry.base_name)
            fault, curve_V = _read_curve(uri, label.base_name, known.get(entry.base_name.removesuffix(".npy")))
            if curve_V is None:
                faults.append(f"{name} ({fault})")
                continue
            video = known[entry.base_name.removesuffix(".npy")]
            held_out = drawn("heldout", video.id) < heldout_share
            rows.append(_imported(dataset.name, video, *_snap(curve_V), model, held_out, entry.mtime_ns / 1e9))
    if faults or not rows:
        what = f"{len(faults)} files of {folder} fit no video" if faults else f"{folder} holds no saved attention"
        allowed = "<class index>/<video id>.npy, float32, one value from 0 to 1 for every frame"
        fix = "prepare the data set that was annotated, or take these files away"
        raise UserError(problem(what, got=", ".join(faults[:3]) or "no .npy file", allowed=allowed, fix=fix))
    return rows


def _read_curve(uri: str, label: str, video: CatalogRow | None) -> tuple[str, npt.NDArray[np.float32] | None]:
    """Return what is wrong with a file, and its curve when nothing is."""
    if video is None:
        return "no such video in the data set", None
    if label != str(video.label):
        return f"the data set says class {video.label}", None
    try:
        values = np.load(io.BytesIO(storage.read_bytes(uri)), allow_pickle=False)
    except (ValueError, EOFError) as error:
        return str(error), None
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.shape != (video.frames,):
        return f"its shape is {np.shape(values)}, the video has {video.frames} frames", None
    if not (np.isfinite(values) & (values >= 0) & (values <= 1)).all():
        return "values outside 0 to 1", None
    return "", values.astype(np.float32)


def _snap(curve_V: npt.NDArray[np.float32]) -> tuple[list[float], list[int]]:
    """Return scores and sources: a level and human where the curve is at one, otherwise its own value and model."""
    distance_VL = np.abs(curve_V[:, None].astype(np.float64) - np.asarray(LEVELS))
    nearest_V = distance_VL.argmin(axis=1)
    at_level_V = distance_VL.min(axis=1) < TOLERANCE
    pairs = list(zip(curve_V.tolist(), nearest_V.tolist(), at_level_V.tolist(), strict=True))
    scores = [LEVELS[near] if at_level else value for value, near, at_level in pairs]
    return scores, [HUMAN if at_level else MODEL for _, _, at_level in pairs]


def _imported(
    dataset: str,
    video: CatalogRow,
    scores: Sequence[float | None],
    source: Sequence[int | None],
    model: str,
    held_out: bool,
    at: float,
) -> BatchRow:
    return BatchRow(
        video_id=video.id,
        dataset=dataset,
        label=video.label,
        num_frames=video.frames,
        fps=video.fps,
        scores=tuple(scores),
        source=tuple(source),
        init=IMPORTED,
        annotators=(),
        n_annotators=1,
        kappa=None,
        decision=IMPORTED,
        model_version_shown=model,
        editor_version="",
        submitted_at=at,
        seconds_spent=0.0,
        split="heldout_edit" if held_out else "train",
    )


LABELS = {level: f"{level:.1f}" for level in LEVELS}


def label_studio_config() -> str:
    """Return the labelling configuration of a Label Studio project for these tasks."""
    labels = "".join(f'<Label value="{label}"/>' for label in LABELS.values())
    return (
        '<View><Video name="video" value="$video"/>'
        f'<TimelineLabels name="scores" toName="video">{labels}</TimelineLabels></View>'
    )


def to_label_studio(rows: Sequence[BatchRow], address: str) -> list[dict[str, Any]]:
    """Return rows as Label Studio tasks with one annotation each; frames that have no level stay unlabelled.

    Args:
        rows: of a batch.
        address: of a video, with `{video_id}` in it.
    """
    return [
        {
            "data": {"video": address.format(video_id=row.video_id), "video_id": row.video_id, "label": row.label},
            "annotations": [{"result": _regions(row)}],
        }
        for row in rows
    ]


def _regions(row: BatchRow) -> list[dict[str, Any]]:
    regions, start = [], 1
    for score, run in itertools.groupby(row.scores):
        stop = start + len(list(run))
        if score in LABELS:
            value = {"ranges": [{"start": start, "end": stop - 1}], "timelinelabels": [LABELS[score]]}
            name = f"{row.video_id}-{start}"
            regions.append(
                {"id": name, "type": "timelinelabels", "from_name": "scores", "to_name": "video", "value": value}
            )
        start = stop
    return regions


def from_label_studio(
    tasks: Sequence[Mapping[str, Any]], dataset: PreparedDataset, model: str, at: float
) -> list[BatchRow]:
    """Return rows from a JSON export of Label Studio; of several annotations of a task the last one counts.

    Args:
        tasks: of the export; `data.video_id` names the video.
        dataset: the same videos, prepared.
        model: name of the network whose curve people saw; empty when they saw none.
        at: seconds since 1970, for annotations without a time.

    Raises:
        UserError: a task that fits no video of the data set, or a range outside its video; names it.
    """
    known = {row.id: row for row in dataset.rows if row.status == READABLE}
    rows = []
    for number, task in enumerate(tasks):
        try:
            video = known[task["data"]["video_id"]]
            result = task["annotations"][-1]["result"]
            scores = _scores(result, video.frames)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            what = f"Task {number} of the export cannot be read ({type(error).__name__}: {error})"
            got = str(task.get("data") if isinstance(task, Mapping) else task)[:200]
            allowed = f"data.video_id of {dataset.name}, an annotation, ranges inside the video, labels 0.0, 0.5, 1.0"
            fix = "export from the project that label_studio_config configured"
            raise UserError(problem(what, got=got, allowed=allowed, fix=fix)) from error
        source = [None if score is None else HUMAN for score in scores]
        rows.append(_imported(dataset.name, video, scores, source, model, False, at))
    return rows


def _scores(result: Sequence[Mapping[str, Any]], frames: int) -> list[float | None]:
    scores: list[float | None] = [None] * frames
    for region in result:
        if region["type"] != "timelinelabels":
            continue
        (label,) = region["value"]["timelinelabels"]
        level = float(label)
        for span in region["value"]["ranges"]:
            start, end = int(span["start"]), int(span["end"])
            if level not in LEVELS or not 1 <= start <= end <= frames:
                raise ValueError(f"{label} from {start} to {end} of {frames} frames")
            scores[start - 1 : end] = [level] * (end - start + 1)
    return scores
