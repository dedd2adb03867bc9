"""From one video to one clip, as a pure function: the only place where sampling, decoding and augmentation meet.

The result depends on the video's bytes, the configs and (seed, epoch, video id) or the test view, and on nothing else:
not on the worker, its neighbours in the batch, or the number of machines.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError, problem
from pipeline.data.config import AugmentConfig, ClipConfig, ViewConfig
from pipeline.data.feed.augment import Frames, apply, draw, view_crop
from pipeline.data.feed.flip import NEVER, FlipMap
from pipeline.data.feed.sampling import draw_indices, view_indices
from pipeline.data.prepare.ingest import shrink
from pipeline.data.records import HIDDEN_LABEL, Clip, EncodedVideo
from pipeline.data.store.shards import decode_frames
from pipeline.data.video.decode import DECODE_ERROR, MISSING, DecodeError, fetch, probe, read_frames

Decode = Callable[[npt.NDArray[np.int32]], Frames]
"""From distinct frame numbers, ascending, to frames (T, H, W, 3)."""


@dataclass(frozen=True)
class View:
    """One test view of a video: clip `clip` of `clips` in time, crop `crop` of `crops` in space."""

    clip: int = 0
    clips: int = 1
    crop: int = 0
    crops: Literal[1, 3, 10] = 1


def views_of(config: ViewConfig) -> tuple[View, ...]:
    """Return every view of a video, the crops of a clip next to each other (they share its decoded frames)."""
    return tuple(
        View(clip, config.clips, crop, config.crops) for clip in range(config.clips) for crop in range(config.crops)
    )


def load_clip(
    video: EncodedVideo,
    clip: ClipConfig,
    *,
    seed: int = 0,
    epoch: int = 0,
    augment: AugmentConfig | None = None,
    flip_map: FlipMap = (),
    view: View | None = None,
) -> Clip:
    """Return the training clip of a video in an epoch, or one test view.

    Args:
        video: the video as it lies in its shard.
        clip: sampling and size.
        seed: the run's seed; training only.
        epoch: epoch from 0; training only.
        augment: ranges of the augmentation; None asks for a test view.
        flip_map: class after a horizontal flip by class index, as `flip.flip_map` returns it; training only.
        view: the test view; None is the centre crop of the centred clip.

    Raises:
        UserError: a frame that cannot be decoded.
    """
    if augment is None:
        return load_views(video, clip, [view or View()])[0]
    assert video.label != HIDDEN_LABEL, f"video {video.id} has no published label to train on"
    rng = clip_generator(seed, epoch, video.id)
    idx_T, valid_T = draw_indices(len(video.jpeg_V), clip, rng)
    swapped = flip_map[video.label]
    decision = draw(rng, augment, video.height, video.width, may_flip=swapped != NEVER)
    distinct, position_T = np.unique(idx_T, return_inverse=True)
    x_THWC = apply(decode_frames(video, distinct.tolist()), decision, clip)
    return Clip(
        id=video.id,
        label=swapped if decision.flip else video.label,
        x_THWC=_repeated(x_THWC, position_T),
        idx_T=idx_T,
        valid_T=valid_T,
    )


def load_views(video: EncodedVideo, clip: ClipConfig, views: Sequence[View]) -> list[Clip]:
    """Return test views of a video; neighbours in `views` that show the same clip share its decoding."""
    return _views(
        video.id,
        video.label,
        len(video.jpeg_V),
        lambda distinct: decode_frames(video, distinct.tolist()),
        clip,
        views,
    )


def load_original(
    uri: str, clip: ClipConfig, views: Sequence[View] = (View(),), *, label: int = HIDDEN_LABEL
) -> list[Clip]:
    """Return test views of an original video file, decoded whole; the clips' id is `uri`.

    Frames are reduced to `clip.short_side` as preparation reduces them, so that apart from the shards' compression the
    clips are those of a data set prepared at that size.

    Raises:
        UserError: the video cannot be decoded.
    """
    try:
        frames_VHWC, _ = read_original(uri, clip.short_side)
    except DecodeError as error:
        raise UserError(
            problem(
                f"A video cannot be decoded ({error})",
                got=uri,
                allowed="a complete video file with at least one frame",
                fix="play the file to check it, or encode it anew",
            )
        ) from error
    return _views(uri, label, len(frames_VHWC), lambda distinct: frames_VHWC[distinct], clip, views)


def read_original(source: str | bytes, short_side: int) -> tuple[Frames, float]:
    """Return every frame of an original video, reduced as preparation reduces them, and its frames a second.

    Frames are reduced as they come, so that the whole of a large video never lies in memory.

    Args:
        source: a path or URI of a file, or its content.
        short_side: pixels; smaller videos keep their size.

    Raises:
        DecodeError: the file is missing or faulty.
    """
    try:
        media = fetch(source) if isinstance(source, str) else source
        facts = probe(media)
    except FileNotFoundError as error:
        raise DecodeError(MISSING, "there is no such file") from error
    frames_V = read_frames(media, facts, lambda frames: [shrink(frame_HWC, short_side) for frame_HWC in frames]).value
    if not frames_V:
        raise DecodeError(DECODE_ERROR, "no frame came out of it")
    return np.stack(frames_V), facts.fps


def clip_generator(seed: int, epoch: int, video_id: str) -> np.random.Generator:
    """Return the generator behind a training clip. Only its `random` is used: 53 bits of PCG64 each."""
    digest = hashlib.blake2b(video_id.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch, int.from_bytes(digest, "big")))))


def _views(
    video_id: str, label: int, video_frames: int, decode: Decode, clip: ClipConfig, views: Sequence[View]
) -> list[Clip]:
    clips = []
    for (k, n), same in groupby(views, key=lambda view: (view.clip, view.clips)):
        idx_T, valid_T = view_indices(video_frames, clip, k, n)
        distinct, position_T = np.unique(idx_T, return_inverse=True)
        frames_THWC = decode(distinct)
        for view in same:
            x_THWC = view_crop(frames_THWC, clip, crop=view.crop, crops=view.crops)
            clips.append(Clip(video_id, label, _repeated(x_THWC, position_T), idx_T, valid_T))
    return clips


def _repeated(x_THWC: Frames, position_T: npt.NDArray[np.intp]) -> Frames:
    """Put each distinct frame where the clip shows it; most clips show every frame once."""
    return x_THWC if len(x_THWC) == len(position_T) else x_THWC[position_T]
