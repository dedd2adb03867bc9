"""Where people pointed, as a clip shows it: maps of whole pictures cut, mirrored and resized like the clip's frames.

A training clip is a pure function of seed, epoch and video, so its crop and its flip are drawn again here instead of
travelling with the batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from pipeline.annotate.schema import SPATIAL
from pipeline.data.config import AugmentConfig, ClipConfig
from pipeline.data.feed.augment import draw
from pipeline.data.feed.clips import clip_generator
from pipeline.data.feed.flip import NEVER, FlipMap
from pipeline.data.feed.sampling import draw_indices
from pipeline.data.store.catalog import CatalogRow
from pipeline.finetune.edits import Edit


@dataclass(frozen=True)
class Place:
    """What a clip shows of a picture, as shares of the picture's height and width."""

    top: float
    left: float
    height: float
    width: float
    flip: bool


def place_of(
    video: CatalogRow, clip: ClipConfig, augment: AugmentConfig, flip_map: FlipMap, *, seed: int, epoch: int
) -> Place:
    """Return what the training clip of a video in an epoch shows, as `data.feed.clips.load_clip` draws it."""
    rng = clip_generator(seed, epoch, video.id)
    draw_indices(video.frames, clip, rng)
    decision = draw(rng, augment, video.height, video.width, may_flip=flip_map[video.label] != NEVER)
    if (box := decision.box) is not None:
        shares = (box.top / video.height, box.left / video.width, box.height / video.height, box.width / video.width)
        return Place(*shares, decision.flip)
    scale = clip.short_side / min(video.height, video.width)
    height, width = round(video.height * scale), round(video.width * scale)
    top, left = (height - clip.size) // 2, (width - clip.size) // 2
    return Place(top / height, left / width, clip.size / height, clip.size / width, decision.flip)


def cut(maps_NHW: Tensor, place: Place, height: int, width: int) -> Tensor:
    """Return maps of whole pictures as the clip shows them, N x height x width, bilinear."""
    rows_h = place.top + (torch.arange(height) + 0.5) / height * place.height
    columns_w = place.left + (torch.arange(width) + 0.5) / width * place.width
    if place.flip:
        columns_w = columns_w.flip(0)
    grid_hw2 = torch.stack(torch.meshgrid(2 * columns_w - 1, 2 * rows_h - 1, indexing="xy"), dim=-1)
    grid_Nhw2 = grid_hw2.expand(len(maps_NHW), -1, -1, -1)
    cut_N1hw = grid_sample(maps_NHW[:, None], grid_Nhw2, padding_mode="border", align_corners=False)
    return cut_N1hw[:, 0]


def spatial_targets(
    edits: Mapping[str, Edit],
    places: Mapping[str, Place],
    ids: Sequence[str],
    idx_BT: npt.NDArray[np.int32],
    valid_BT: npt.NDArray[np.bool_],
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Gather where people pointed in the frames that clips show.

    Args:
        edits: by video.
        places: what each edited video's clip shows.
        ids: video of each clip.
        idx_BT: video frame behind each clip frame.
        valid_BT: False where a clip is padded.
        size: height and width of the network's spatial attention.

    Returns:
        target_BTHW float32 and mask_BT, True for frames with a map.
    """
    target_BTHW, mask_BT = torch.zeros(*idx_BT.shape, *size), torch.zeros(idx_BT.shape, dtype=torch.bool)
    for b, video in enumerate(ids):
        maps = edits[video].maps if video in edits else {}
        shown = [t for t, frame in enumerate(idx_BT[b]) if valid_BT[b, t] and int(frame) in maps]
        if shown:
            whole_NHW = torch.from_numpy(np.stack([maps[int(idx_BT[b, t])] for t in shown]))
            target_BTHW[b, shown] = cut(whole_NHW.reshape(-1, SPATIAL, SPATIAL), places[video], *size)
            mask_BT[b, shown] = True
    return target_BTHW, mask_BT
