"""Temporal attention for every frame of whole videos: a network sees T frames at a time, so several clips cover one.

Clips lie end to end; the last is moved back so that it ends with the video, and where clips overlap their values are
averaged. With a stride the frames between belong to clips that start one frame later, with uniform sampling to clips
that take another point of each segment. A video shorter than a clip is padded, and what the network says of padding is
dropped. Values are the network's own, never stretched.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.errors import UserError, problem
from pipeline.data.config import ClipConfig
from pipeline.data.feed.augment import view_crop
from pipeline.data.feed.sampling import Indices, view_indices
from pipeline.data.records import PreparedVideo
from pipeline.data.store.shards import decode_frames, read_video
from pipeline.eval.load import load
from pipeline.eval.pool import through
from pipeline.eval.predict import PredictJob, blocks_of

SEEN_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "temporal": pa.list_(pa.float32()),
        "spatial": pa.list_(pa.float32()),
        "spatial_shape": pa.list_(pa.int32()),
        "idx": pa.list_(pa.int32()),
        "valid": pa.list_(pa.bool_()),
    }
)
"""What an actor returns for one clip; the spatial columns are null unless they are asked for."""


@dataclass(frozen=True)
class VideoAttention:
    """What a network attends to in a whole video."""

    video: str
    attention_V: npt.NDArray[np.float32]
    windows: tuple[tuple[int, int, int], ...]
    """start, stop, stride of the clips, as a campaign names them."""
    spatial_Vhw: npt.NDArray[np.float32] | None = None
    """The map of every frame, of what a test clip shows of it; None unless it was asked for."""


def whole_windows(video_frames: int, clip: ClipConfig) -> list[Indices]:
    """Return (idx_T, valid_T) of clips that together show every frame of a video.

    Raises:
        UserError: a network that is shown one frame again and again.
    """
    if clip.repeat_one_frame:
        fix = "mine with a network that was trained on moving clips"
        what = "A control that sees one repeated frame says nothing of the others"
        raise UserError(problem(what, got="clip.repeat_one_frame=True", allowed="False", fix=fix))
    if clip.sampling == "uniform":
        count = -(-video_frames // clip.frames)
        return [view_indices(video_frames, clip, k, count) for k in range(count)]
    windows = []
    for phase in range(min(clip.stride, video_frames)):
        frames = np.arange(phase, video_frames, clip.stride, dtype=np.int32)
        last = max(len(frames) - clip.frames, 0)
        for start in sorted({*range(0, last, clip.frames), last}):
            place_T = start + np.arange(clip.frames)
            windows.append((frames[np.minimum(place_T, len(frames) - 1)], place_T < len(frames)))
    return windows


def named(indices: Indices, clip: ClipConfig, video_frames: int) -> tuple[int, int, int]:
    """Return start, stop, stride of a clip as people see it; of uniform sampling roughly."""
    idx_T = indices[0][indices[1]]
    stride = clip.stride if clip.sampling == "dense" else max(1, video_frames // clip.frames)
    return int(idx_T[0]), int(idx_T[-1]) + 1, stride


def fold(
    values_NT: npt.NDArray[np.float32],
    idx_NT: npt.NDArray[np.int32],
    valid_NT: npt.NDArray[np.bool_],
    video_frames: int,
) -> npt.NDArray[np.float32]:
    """Return the mean over all clip frames that show a video frame, padding left out, for every video frame.

    Args:
        values_NT: attention in each of N clips; further axes, such as places, stay.
        idx_NT: video frame behind each clip frame.
        valid_NT: False where padded.
        video_frames: V.
    """
    places = values_NT.shape[2:]
    sum_V, count_V = np.zeros((video_frames, *places), np.float64), np.zeros(video_frames, np.int64)
    np.add.at(sum_V, idx_NT[valid_NT], values_NT[valid_NT])
    np.add.at(count_V, idx_NT[valid_NT], 1)
    if not count_V.all():
        raise RuntimeError(f"{int((count_V == 0).sum())} of {video_frames} frames are in no clip")
    mean_V: npt.NDArray[np.float32] = (sum_V / count_V.reshape(-1, *[1] * len(places))).astype(np.float32)
    return mean_V


def attend(root: str, videos: Sequence[PreparedVideo], job: PredictJob) -> Iterator[VideoAttention]:
    """Yield the temporal attention of whole videos, in order, as one Ray Data job; Ray must be connected.

    Args:
        root: of the prepared data set.
        videos: any of its videos, each once.
        job: network, clips and machines, and with maps="all" the spatial maps too; split and protocol's views do not
            matter.

    Raises:
        UserError: a job larger than the cluster, or a network that sees one repeated frame.
        RuntimeError: what comes back does not reconcile with the videos.
    """
    clip = job.protocol.clip
    for video in videos[:1]:
        whole_windows(video.frames, clip)
    job.check_room()
    left = list(reversed(videos))
    for video_id, rows in groupby(_seen(root, videos, job), key=lambda row: str(row["id"])):
        if not left or left[-1].id != video_id:
            raise RuntimeError(f"attention does not reconcile: video {video_id} is not expected")
        video, seen = left.pop(), list(rows)
        windows = whole_windows(video.frames, clip)
        if len(seen) != len(windows):
            raise RuntimeError(f"attention does not reconcile: {len(seen)} of {len(windows)} clips of {video_id}")
        temporal_NT, idx_NT, valid_NT = (np.array([row[name] for row in seen]) for name in ("temporal", "idx", "valid"))
        attention_V, spatial_Vhw = fold(temporal_NT, idx_NT, valid_NT, video.frames), None
        if job.maps == "all":
            spatial_NThw = np.array([row["spatial"] for row in seen]).reshape(len(seen), *seen[0]["spatial_shape"])
            spatial_Vhw = fold(spatial_NThw, idx_NT, valid_NT, video.frames)
        named_windows = tuple(named(w, clip, video.frames) for w in windows)
        yield VideoAttention(video_id, attention_V, named_windows, spatial_Vhw)
    if left:
        raise RuntimeError(f"attention does not reconcile: {len(left)} of {len(videos)} videos are missing")


def _seen(root: str, videos: Sequence[PreparedVideo], job: PredictJob) -> Iterator[dict[str, Any]]:
    """Run the job; yields rows of SEEN_SCHEMA, the clips of a video together."""
    if not videos:
        return
    blocks = blocks_of(videos, max(1, job.batch // 2))
    answered = through(
        blocks, job, _load_block, _Watcher, loaded_with={"root": root, "clip": job.protocol.clip}, made_with=(job,)
    )
    for table in answered:
        yield from table.to_pylist()


def _load_block(block: pa.Table, root: str, clip: ClipConfig) -> pa.Table:
    """Cut a block's videos into clips, the centre crop of each; every frame is decoded once."""
    rows = []
    for shard, row in zip(block["shard"].to_pylist(), block["row"].to_pylist(), strict=True):
        video = read_video(root, shard, row)
        frames_VHWC = view_crop(decode_frames(video, range(len(video.jpeg_V))), clip, crop=0, crops=1)
        for idx_T, valid_T in whole_windows(len(video.jpeg_V), clip):
            x = frames_VHWC[idx_T].tobytes()
            rows.append({"id": video.id, "x": x, "idx": idx_T.tolist(), "valid": valid_T.tolist()})
    fields = [SEEN_SCHEMA.field(name) for name in ("id", "idx", "valid")]
    return pa.Table.from_pylist(rows, pa.schema([*fields, pa.field("x", pa.large_binary())]))


class _Watcher:
    """An actor that holds the network."""

    def __init__(self, job: PredictJob) -> None:
        self._job, self._clip = job, job.protocol.clip
        self._network = load(job.checkpoint, gpu=job.gpu, precision=job.precision, threads=job.threads)

    def __call__(self, clips: pa.Table) -> pa.Table:
        """Answer the clips of a block, at most `batch` at a time."""
        shape = (self._clip.frames, self._clip.size, self._clip.size, 3)
        found: dict[str, list[Any]] = {"temporal": [], "spatial": [], "spatial_shape": []}
        for start in range(0, len(clips), self._job.batch):
            part = clips["x"].slice(start, self._job.batch)
            clips_N = [np.frombuffer(x.as_buffer(), np.uint8).reshape(shape) for x in part]
            answer = self._network.answer(np.stack(clips_N))
            assert answer.temporal_BT is not None, "networks without attention are refused before"
            assert answer.spatial_BTHW is not None, "likewise"
            found["temporal"] += list(answer.temporal_BT)
            kept = self._job.maps == "all"
            found["spatial"] += [one.ravel() if kept else None for one in answer.spatial_BTHW]
            found["spatial_shape"] += [one.shape if kept else None for one in answer.spatial_BTHW]
        columns = {name: pa.array(values, SEEN_SCHEMA.field(name).type) for name, values in found.items()}
        columns |= {name: clips[name] for name in ("id", "idx", "valid")}
        return pa.table({name: columns[name] for name in SEEN_SCHEMA.names}, schema=SEEN_SCHEMA)
