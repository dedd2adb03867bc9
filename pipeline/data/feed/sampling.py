"""Which frames of a video form a clip: dense or uniform, at random for training, at fixed places for tests.

Every function returns the video frame behind each clip frame (`idx_T`) and a mask (`valid_T`) that is False where a
video too short for the clip was padded by holding its last frame. Neither holding the first frame nor repeating one
frame for the whole clip, as the published code bases do, leaves the motion of a short video in the clip; 15 % of
Something-Something's videos are that short.
"""

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError, problem
from pipeline.data.config import ClipConfig

Indices = tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]
"""idx_T, valid_T"""


def draw_indices(video_frames: int, clip: ClipConfig, rng: np.random.Generator) -> Indices:
    """Draw the frames of a training clip.

    dense: `frames` frames `stride` apart from a start drawn from every start that fits. uniform: the video is cut
    into `frames` equal segments and one frame is drawn from each (TSN, Wang et al. 2016, section 3.1).

    Args:
        video_frames: number of frames V of the video, at least 1.
        clip: T, stride and kind of sampling.
        rng: source of the random draw; dense sampling takes one number, uniform T.
    """
    _check_length(video_frames)
    if clip.sampling == "dense":
        return _dense(video_frames, clip, int(rng.random() * _starts(video_frames, clip)))
    position_T = (np.arange(clip.frames) + rng.random(clip.frames)) * (video_frames / clip.frames)
    # A product just below V can round up to V.
    idx_T = np.minimum(position_T.astype(np.int32), video_frames - 1)
    return _controlled(idx_T, np.ones(clip.frames, np.bool_), clip)


def view_indices(video_frames: int, clip: ClipConfig, k: int, n: int) -> Indices:
    """Return the frames of test clip `k` of `n`; clip 0 of 1 is the centred one.

    dense: the starts that fit are cut into n equal ranges and the middle of each is taken. uniform: clip k takes the
    point at (1/2 + k/n) mod 1 of every segment: the middles, then, for n = 2, the beginnings ("twice sample" of TSM).

    Args:
        video_frames: number of frames V of the video, at least 1.
        clip: T, stride and kind of sampling.
        k: number of the clip, from 0.
        n: clips a video.
    """
    _check_length(video_frames)
    if not 0 <= k < n:
        raise ValueError(f"test clip {k} of {n} does not exist")
    if clip.sampling == "dense":
        return _dense(video_frames, clip, (2 * k + 1) * _starts(video_frames, clip) // (2 * n))
    # In integers, since a float product can fall below the exact multiple: ((i + 1/2 + k/n) mod 1) * V / T.
    numerator_T = 2 * n * np.arange(clip.frames, dtype=np.int64) + (n + 2 * k) % (2 * n)
    idx_T = (numerator_T * video_frames // (2 * n * clip.frames)).astype(np.int32)
    return _controlled(idx_T, np.ones(clip.frames, np.bool_), clip)


def _check_length(video_frames: int) -> None:
    if video_frames < 1:
        raise UserError(
            problem(
                "A video has no frames to sample",
                got=f"{video_frames} frames",
                allowed="at least 1",
                fix="prepare the data set again; preparation quarantines such videos",
            )
        )


def _starts(video_frames: int, clip: ClipConfig) -> int:
    """Return how many dense starts fit; one for a video that is too short."""
    span = (clip.frames - 1) * clip.stride + 1
    return max(video_frames - span + 1, 1)


def _dense(video_frames: int, clip: ClipConfig, start: int) -> Indices:
    wanted_T = start + np.arange(clip.frames, dtype=np.int32) * np.int32(clip.stride)
    return _controlled(np.minimum(wanted_T, np.int32(video_frames - 1)), wanted_T < video_frames, clip)


def _controlled(idx_T: npt.NDArray[np.int32], valid_T: npt.NDArray[np.bool_], clip: ClipConfig) -> Indices:
    """Apply the control experiment `repeat_one_frame`: the middle one of the real frames stands for all."""
    if not clip.repeat_one_frame:
        return idx_T, valid_T
    middle = idx_T[int(valid_T.sum()) // 2]
    return np.full_like(idx_T, middle), np.ones_like(valid_T)
