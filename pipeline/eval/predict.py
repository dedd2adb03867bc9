"""Batch inference over a split, as one Ray Data job: CPU tasks decode clips, actors run the network.

Blocks are whole videos in listed order; scores of a video's views are averaged here, in the driver, and leave it row
by row. The rows are reconciled with the split: each readable video exactly once for each inversion, or it raises.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.errors import UserError, problem
from pipeline.data.feed.clips import load_views
from pipeline.data.feed.views import check_mirroring, note_enlarging
from pipeline.data.records import PreparedVideo
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import read_video
from pipeline.eval.load import Answer, Inversion, load
from pipeline.eval.metrics import softmax
from pipeline.eval.pool import Machines, through
from pipeline.eval.protocol import Protocol

FLOATS = pa.list_(pa.float32())
VIEW_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "view": pa.int32(),
        "inversion": pa.string(),
        "scores": FLOATS,
        "att_scores": FLOATS,
        "temporal": FLOATS,
        "spatial": FLOATS,
        "spatial_shape": pa.list_(pa.int32()),
        "idx": pa.list_(pa.int32()),
        "valid": pa.list_(pa.bool_()),
    }
)
"""What an actor returns for one view of one video."""

ROW_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("frames", pa.int32(), nullable=False),
        pa.field("inversion", pa.string(), nullable=False),
        pa.field("scores", FLOATS, nullable=False),
        pa.field("att_scores", FLOATS),
        pa.field("temporal", FLOATS),
        pa.field("spatial", FLOATS),
        pa.field("spatial_shape", pa.list_(pa.int32())),
        pa.field("idx", pa.list_(pa.int32()), nullable=False),
        pa.field("valid", pa.list_(pa.bool_()), nullable=False),
    ]
)
"""One video under one inversion: softmax scores, the mean over its views; attention as used, and frames, of its first
view. `spatial` is T x H x W flattened, `spatial_shape` says which. Columns of attention are null for a baseline."""


@dataclass(frozen=True, kw_only=True)
class PredictJob(Machines):
    """What to predict, and with which machines."""

    checkpoint: str
    """Absolute path or URI that every node can read."""
    split: str
    fold: int
    protocol: Protocol
    inversions: tuple[Inversion, ...] = ("none",)
    maps: Literal["none", "temporal", "all"] = "all"
    """Attention kept in the rows; a spatial map of 32 x 14 x 14 takes 25 KB a video."""
    batch: int = 8
    """Clips of one forward pass."""


def predict(dataset: PreparedDataset, job: PredictJob) -> Iterator[dict[str, Any]]:
    """Predict every readable video of a split, in listed order; Ray must be connected. A bad request raises at once.

    Args:
        dataset: the prepared data set.
        job: the rest.

    Returns:
        An iterator: one row of ROW_SCHEMA for each video and inversion, the inversions of a video together.

    Raises:
        UserError: mirrored crops of classes that name directions, an empty split, or a job larger than the cluster.
        RuntimeError: the predictions do not reconcile with the split.
    """
    check_mirroring(job.protocol.view, dataset.classes)
    note_enlarging(dataset, job.protocol.clip)
    videos = dataset.videos(job.split, job.fold)
    if not videos:
        fix = "name another split with --split"
        got = f"{job.split}, fold {job.fold}"
        raise UserError(problem("The split has no readable video", got=got, allowed="a split with videos", fix=fix))
    job.check_room()
    return _rows(dataset.root, videos, job)


def _rows(root: str, videos: Sequence[PreparedVideo], job: PredictJob) -> Iterator[dict[str, Any]]:
    merger = _Merger(videos, len(job.protocol.views), job.inversions)
    for table in _view_tables(root, videos, job):
        for view in table.to_pylist():
            yield from merger.add(view)
    merger.reconcile()


def _view_tables(root: str, videos: Sequence[PreparedVideo], job: PredictJob) -> Iterator[pa.Table]:
    """Run the job; yields tables of VIEW_SCHEMA in listed order."""
    return through(
        blocks_of(videos, max(1, job.batch // len(job.protocol.views))),
        job,
        load_block,
        _Predictor,
        loaded_with={"root": root, "protocol": job.protocol},
        made_with=(job,),
    )


def blocks_of(videos: Sequence[PreparedVideo], together: int) -> list[pa.Table]:
    """Return where consecutive videos lie, `together` of them in a block."""
    parts = [videos[i : i + together] for i in range(0, len(videos), together)]
    return [pa.table({"shard": [v.shard for v in part], "row": [v.row for v in part]}) for part in parts]


def load_block(block: pa.Table, root: str, protocol: Protocol) -> pa.Table:
    """Decode every view of a block's videos; pixels travel as one binary cell a view."""
    rows = []
    for shard, row in zip(block["shard"].to_pylist(), block["row"].to_pylist(), strict=True):
        clips = load_views(read_video(root, shard, row), protocol.clip, protocol.views)
        for view, clip in enumerate(clips):
            rows.append(
                {
                    "id": clip.id,
                    "view": view,
                    "x": clip.x_THWC.tobytes(),
                    "shape": list(clip.x_THWC.shape),
                    "idx": clip.idx_T.tolist(),
                    "valid": clip.valid_T.tolist(),
                }
            )
    fields = {"id": pa.string(), "view": pa.int32(), "x": pa.large_binary(), "shape": pa.list_(pa.int64())}
    return pa.Table.from_pylist(
        rows, pa.schema({**fields, "idx": VIEW_SCHEMA.field("idx").type, "valid": pa.list_(pa.bool_())})
    )


def stacked(views: pa.Table) -> npt.NDArray[np.uint8]:
    """Return the pixels of loaded views as one batch, B,T,H,W,C."""
    return np.stack(
        [
            np.frombuffer(x.as_buffer(), np.uint8).reshape(shape.as_py())
            for x, shape in zip(views["x"], views["shape"], strict=True)
        ]
    )


class _Predictor:
    """An actor that holds the network."""

    def __init__(self, job: PredictJob) -> None:
        self._job = job
        self._network = load(job.checkpoint, gpu=job.gpu, precision=job.precision, threads=job.threads)

    def __call__(self, views: pa.Table) -> pa.Table:
        """Answer the views of a block, at most `batch` at a time."""
        rows: list[dict[str, Any]] = []
        for start in range(0, len(views), self._job.batch):
            part = views.slice(start, self._job.batch)
            x_BTHWC = stacked(part)
            frames = part.select(["id", "view", "idx", "valid"]).to_pylist()
            for invert in self._job.inversions:
                answer = self._network.answer(x_BTHWC, invert)
                rows += [self._row(view, answer, b, invert) for b, view in enumerate(frames)]
        return pa.Table.from_pylist(rows, VIEW_SCHEMA)

    def _row(self, view: dict[str, Any], answer: Answer, b: int, invert: Inversion) -> dict[str, Any]:
        """One row of VIEW_SCHEMA; attention is kept of the first view alone."""
        row = {**view, "inversion": invert, "scores": softmax(answer.logits_BK[b])}
        if answer.att_logits_BK is not None:
            row["att_scores"] = softmax(answer.att_logits_BK[b])
        first, maps = view["view"] == 0, self._job.maps
        if first and maps != "none" and answer.temporal_BT is not None:
            row["temporal"] = answer.temporal_BT[b]
        if first and maps == "all" and answer.spatial_BTHW is not None:
            row["spatial"] = answer.spatial_BTHW[b].ravel()
            row["spatial_shape"] = list(answer.spatial_BTHW[b].shape)
        return row


class _Merger:
    """Joins the views of each video and checks that nothing is missing, double or strange."""

    def __init__(self, videos: Sequence[PreparedVideo], views: int, inversions: Sequence[Inversion]) -> None:
        self._videos = {video.id: video for video in videos}
        self._views = views
        self._inversions = inversions
        self._open: dict[str, dict[tuple[str, int], dict[str, Any]]] = {}
        self._done: set[str] = set()

    def add(self, view: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Take one view's row; yields the video's rows when it was the last one missing."""
        video_id, key = view["id"], (view["inversion"], view["view"])
        seen = self._open.setdefault(video_id, {})
        if video_id not in self._videos or video_id in self._done or key in seen:
            raise RuntimeError(f"predictions do not reconcile: view {key} of video {video_id} is not expected")
        seen[key] = view
        if len(seen) == self._views * len(self._inversions):
            self._done.add(video_id)
            yield from self._rows(self._open.pop(video_id))

    def _rows(self, seen: dict[tuple[str, int], dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for invert in self._inversions:
            views = [seen[invert, view] for view in range(self._views)]
            video = self._videos[views[0]["id"]]
            row = {name: views[0][name] for name in ("temporal", "spatial", "spatial_shape", "idx", "valid")}
            row |= {"id": video.id, "label": video.label, "frames": video.frames, "inversion": invert}
            for name in ("scores", "att_scores"):
                scores = [view[name] for view in views]
                row[name] = None if scores[0] is None else np.mean(np.array(scores, np.float32), axis=0)
            yield row

    def reconcile(self) -> None:
        """Raise RuntimeError unless every video was predicted."""
        if missing := [v for v in self._videos if v not in self._done]:
            raise RuntimeError(
                f"predictions do not reconcile: {len(self._done)} of {len(self._videos)} videos were predicted; "
                f"missing: {', '.join(missing[:5])}"
            )
