"""From a video file to explanations: the windows a network sees of it, its scores and its attention in each.

The whole video is cut into windows as long as the network's clip, one after the other; the last one is moved back so
that it ends with the video, and a video shorter than a clip is one window whose end is padding. A network that samples
uniformly sees the whole video in one window. The video is decoded once, and its frames go the way of training and
evaluation: the same decoder, reduction and centre crop.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError, problem
from pipeline.data.config import ClipConfig
from pipeline.data.feed.augment import view_crop
from pipeline.data.feed.clips import read_original
from pipeline.data.feed.sampling import Indices, view_indices
from pipeline.data.video.decode import DecodeError, fetch, probe
from pipeline.eval.load import Recogniser
from pipeline.explain.explanation import Explanation

MOST_WINDOWS = 40
"""Windows of one video; more make a page that no browser opens."""


def window_indices(video_frames: int, clip: ClipConfig) -> list[Indices]:
    """Return (idx_T, valid_T) of every window of a video of `video_frames` frames, in time order.

    Each window is the centred test clip of the stretch of video that it covers.
    """
    span = (clip.frames - 1) * clip.stride + 1
    if clip.sampling == "uniform" or video_frames <= span:
        return [view_indices(video_frames, clip, 0, 1)]
    starts = [*range(0, video_frames - span, span), video_frames - span]
    idx_T, valid_T = view_indices(span, clip, 0, 1)
    return [((idx_T + start).astype(np.int32), valid_T) for start in starts]


def explain_video(
    network: Recogniser,
    uri: str,
    name: str,
    *,
    whole: bool = True,
    label: int | None = None,
    active_V: npt.NDArray[np.bool_] | None = None,
) -> tuple[Explanation, ...]:
    """Explain a network's decision about one video file.

    Args:
        network: a trained network with attention.
        uri: the video, a path or URI.
        name: how pictures and pages call it.
        whole: every window of the video; otherwise the one clip in its middle that an evaluation sees.
        label: its true class, if known.
        active_V: true frames of action, if known.

    Returns:
        One explanation a window.

    Raises:
        UserError: a network without attention, a video that cannot be decoded, or one with too many windows.
    """
    if not network.has_attention:
        fix = "give the checkpoint of an st_abn network"
        got = f"a {network.recipe.model.arch}"
        raise UserError(problem("The network has no attention to show", got=got, allowed="st_abn", fix=fix))
    clip = network.recipe.clip
    try:
        media = fetch(uri)
        _check_length(uri, len(_windows(probe(media).packets, clip, whole)))  # before a long video fills the memory
        frames_VHWC, fps = read_original(media, clip.short_side)
    except (DecodeError, FileNotFoundError) as error:
        allowed, fix = "a complete video file", "play the file to check it, or encode it anew"
        raise UserError(problem(f"A video cannot be decoded ({error})", got=uri, allowed=allowed, fix=fix)) from error
    return tuple(
        _explain_window(network, name, frames_VHWC, fps, idx_T, valid_T, label, active_V)
        for idx_T, valid_T in _windows(len(frames_VHWC), clip, whole)
    )


def _windows(video_frames: int, clip: ClipConfig, whole: bool) -> list[Indices]:
    return window_indices(video_frames, clip) if whole else [view_indices(video_frames, clip, 0, 1)]


def _explain_window(
    network: Recogniser,
    name: str,
    frames_VHWC: npt.NDArray[np.uint8],
    fps: float,
    idx_T: npt.NDArray[np.int32],
    valid_T: npt.NDArray[np.bool_],
    label: int | None,
    active_V: npt.NDArray[np.bool_] | None,
) -> Explanation:
    x_THWC = view_crop(frames_VHWC[idx_T], network.recipe.clip, crop=0, crops=1)
    answer = network.answer(x_THWC[None])
    assert answer.att_logits_BK is not None
    assert answer.spatial_BTHW is not None
    assert answer.temporal_BT is not None
    return Explanation(
        source=name,
        fps=fps,
        x_THWC=x_THWC,
        idx_T=idx_T,
        valid_T=valid_T,
        logits_K=answer.logits_BK[0],
        att_logits_K=answer.att_logits_BK[0],
        spatial_THW=answer.spatial_BTHW[0],
        temporal_T=answer.temporal_BT[0],
        classes=network.classes,
        label=label,
        active_T=None if active_V is None else active_V[idx_T],
    )


def with_stride(network: Recogniser, stride: int) -> Recogniser:
    """Return the network with another distance between the frames of its clips, for longer windows."""
    recipe = replace(network.recipe, clip=replace(network.recipe.clip, stride=stride))
    return replace(network, recipe=recipe)


def _check_length(uri: str, windows: int) -> None:
    if windows > MOST_WINDOWS:
        raise UserError(
            problem(
                "The video is too long to show whole",
                got=f"{uri}: {windows} windows",
                allowed=f"at most {MOST_WINDOWS} windows",
                fix="cut the video, add --centre for the clip in its middle, or raise --stride",
            )
        )
