"""Micro-batches: what each will hold, as a small plan, and the loader that turns one into arrays.

A loader is the same in this process and in a Ray task. Nothing here imports torch, so that a task's worker starts in a
fraction of a second and stays small.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError, problem
from pipeline.data.config import AugmentConfig, ClipConfig
from pipeline.data.feed.clips import View, load_clip, load_views
from pipeline.data.feed.flip import FlipMap
from pipeline.data.feed.plan import Plan
from pipeline.data.records import Clip, PreparedVideo
from pipeline.data.store.shards import read_video


@dataclass(frozen=True)
class MicroPlan:
    """The content of one micro-batch before a byte is read, B entries a tuple."""

    step: int
    epoch: int
    micro: int
    samples_in_step: int
    ids: tuple[str, ...]
    shards: tuple[str, ...]
    rows: tuple[int, ...]
    views: tuple[int, ...]
    """Number of each entry's test view; all 0 in training."""
    extra: str = ""
    """What else a loader has to know, in its own words (JSON, say); the loader of clips needs nothing."""


@dataclass(frozen=True)
class MicroBatch:
    """One micro-batch as named arrays; which they are is between a loader and who reads its batches."""

    step: int
    epoch: int
    micro: int
    samples_in_step: int
    ids: tuple[str, ...]
    arrays: Mapping[str, npt.NDArray[Any]]

    @classmethod
    def of(cls, plan: MicroPlan, arrays: Mapping[str, npt.NDArray[Any]]) -> "MicroBatch":
        """Return what was loaded for a plan."""
        return cls(plan.step, plan.epoch, plan.micro, plan.samples_in_step, plan.ids, arrays)


class Loader(Protocol):
    """Turns plans into micro-batches, in this process or in a Ray task, to which it travels by pickling."""

    def load(self, plan: MicroPlan) -> MicroBatch:
        """Return the arrays of a plan, a pure function of loader and plan.

        Raises:
            UserError: what is planned cannot be read; the message names the video.
        """

    def bytes_of(self, plan: MicroPlan) -> int:
        """Return the size of a planned micro-batch: nearly, and never more than, what its arrays take."""


@contextlib.contextmanager
def naming(video_id: str, shard: str, row: int, root: str) -> Iterator[None]:
    """Raise whatever goes wrong with a video as a UserError that names it and its place below `root`."""
    what = f"Video {video_id} (row {row} of {shard}) cannot be fed"
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}. {error}") from error
    except Exception as error:  # Whatever went wrong, it is of use only with the video's name.
        raise UserError(
            problem(
                what,
                got=f"{type(error).__name__}: {error}",
                allowed="a shard that reads as the catalog says",
                fix=f"run jobs/prepare_data.py with --verify on {root}, then start again",
            )
        ) from error


@dataclass(frozen=True)
class ClipLoader:
    """Loads clips; holds everything besides the plan that the pixels depend on."""

    root: str
    """The prepared data set, a path or URI."""
    clip: ClipConfig
    seed: int = 0
    augment: AugmentConfig | None = None
    """None: test views."""
    flip_map: FlipMap = ()
    views: tuple[View, ...] = ()
    """Test views by number."""

    def load(self, plan: MicroPlan) -> MicroBatch:
        """Read, decode and augment every entry of `plan`: x_BTHWC, label_B, idx_BT and valid_BT.

        Raises:
            UserError: an entry failed; the message names the video, its shard and the cause.
        """
        size, frames, count = self.clip.size, self.clip.frames, len(plan.ids)
        x_BTHWC = np.empty((count, frames, size, size, 3), np.uint8)
        label_B = np.empty(count, np.int64)
        idx_BT = np.empty((count, frames), np.int32)
        valid_BT = np.empty((count, frames), np.bool_)
        for b, loaded in enumerate(self._clips(plan)):
            x_BTHWC[b], label_B[b], idx_BT[b], valid_BT[b] = loaded.x_THWC, loaded.label, loaded.idx_T, loaded.valid_T
        arrays: dict[str, npt.NDArray[Any]] = {
            "x_BTHWC": x_BTHWC,
            "label_B": label_B,
            "idx_BT": idx_BT,
            "valid_BT": valid_BT,
        }
        return MicroBatch.of(plan, arrays)

    def bytes_of(self, plan: MicroPlan) -> int:
        """Size of the pixels of a planned micro-batch."""
        return len(plan.ids) * clip_bytes(self.clip)

    def _clips(self, plan: MicroPlan) -> Iterator[Clip]:
        entries = zip(plan.ids, plan.shards, plan.rows, plan.views, strict=True)
        for (video_id, shard, row), same in groupby(entries, key=lambda entry: entry[:3]):
            numbers = [entry[3] for entry in same]
            with naming(video_id, shard, row, self.root):
                clips = self._clips_of(video_id, shard, row, plan.epoch, numbers)
            yield from clips

    def _clips_of(self, video_id: str, shard: str, row: int, epoch: int, numbers: list[int]) -> list[Clip]:
        video = read_video(self.root, shard, row)
        if video.id != video_id:
            raise ValueError(f"the shard holds video {video.id} there")
        if self.augment is None:
            return load_views(video, self.clip, [self.views[n] for n in numbers])
        seed, augment, flips = self.seed, self.augment, self.flip_map
        return [load_clip(video, self.clip, seed=seed, epoch=epoch, augment=augment, flip_map=flips) for _ in numbers]


def clip_bytes(clip: ClipConfig) -> int:
    """Return the size of the pixels of one clip."""
    return clip.frames * clip.size**2 * 3


def plan_training(
    videos: Sequence[PreparedVideo], plan: Plan, *, accumulate: int, start_step: int, rank: int, world: int
) -> Iterator[MicroPlan]:
    """Yield the micro-batches of `rank` from `start_step` to the end of the run, without reading anything.

    The plan's positions count the videos by id. A data set prepared again from a list in another order keeps its
    passport, so that a run may resume on it; positions in listed order would then be other videos in mid-epoch.
    """
    videos = sorted(videos, key=lambda video: video.id)
    for g in range(start_step, plan.total_steps):
        step = plan.step(g)
        for micro, piece in enumerate(step.pieces(rank, world, accumulate)):
            chosen = [videos[i] for i in piece]
            yield _micro_plan(chosen, [0] * len(chosen), step.step, step.epoch, micro, len(step.samples))


def plan_views(
    videos: Sequence[PreparedVideo], views: int, *, batch: int, rank: int, world: int
) -> Iterator[MicroPlan]:
    """Yield test batches of `rank`: its contiguous share of the videos, each with all its views, in listed order."""
    share = np.array_split(np.arange(len(videos)), world)[rank]
    first, rows = int(share[0]) if len(share) else 0, len(share) * views
    for step, start in enumerate(range(0, rows, batch)):
        entries = [divmod(entry, views) for entry in range(start, min(start + batch, rows))]
        chosen = [videos[first + v] for v, _ in entries]
        yield _micro_plan(chosen, [view for _, view in entries], step, 0, 0, len(entries))


def _micro_plan(
    videos: Sequence[PreparedVideo], views: Sequence[int], step: int, epoch: int, micro: int, samples_in_step: int
) -> MicroPlan:
    return MicroPlan(
        step=step,
        epoch=epoch,
        micro=micro,
        samples_in_step=samples_in_step,
        ids=tuple(video.id for video in videos),
        shards=tuple(video.shard for video in videos),
        rows=tuple(video.row for video in videos),
        views=tuple(views),
    )
