"""What of a picture a clip shows, and how much of each cell of a grid some boxes cover; all as shares of the picture.

A training clip is a pure function of seed, epoch and video, so its crop and its flip can be drawn again by whoever
needs them, instead of travelling with the batch.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.config import AugmentConfig, ClipConfig
from pipeline.data.feed.augment import draw
from pipeline.data.feed.clips import clip_generator
from pipeline.data.feed.flip import NEVER, FlipMap
from pipeline.data.feed.sampling import draw_indices
from pipeline.data.store.catalog import CatalogRow

Boxes = npt.NDArray[np.float32]
"""N,4: left, top, right, bottom, as shares of the picture's width and height."""


@dataclass(frozen=True)
class Place:
    """What a clip shows of a picture, as shares of the picture's height and width."""

    top: float
    left: float
    height: float
    width: float
    flip: bool

    def seen(self, boxes_N4: Boxes) -> Boxes:
        """Return where boxes of the picture lie in the clip, as shares of the clip; beyond 0 and 1 where it cuts."""
        start_2, size_2 = np.array([self.left, self.top]), np.array([self.width, self.height])
        shown_N4: Boxes = ((boxes_N4 - np.tile(start_2, 2)) / np.tile(size_2, 2)).astype(np.float32)
        if self.flip:
            shown_N4[:, [0, 2]] = 1 - shown_N4[:, [2, 0]]
        return shown_N4


def place_of(
    video: CatalogRow, clip: ClipConfig, augment: AugmentConfig, flip_map: FlipMap, *, seed: int, epoch: int
) -> Place:
    """Return what the training clip of a video in an epoch shows, as `data.feed.clips.load_clip` draws it."""
    rng = clip_generator(seed, epoch, video.id)
    draw_indices(video.frames, clip, rng)
    decision = draw(rng, augment, video.height, video.width, may_flip=flip_map[video.label] != NEVER)
    if (box := decision.box) is None:
        return centre_place(video.height, video.width, clip, flip=decision.flip)
    shares = (box.top / video.height, box.left / video.width, box.height / video.height, box.width / video.width)
    return Place(*shares, decision.flip)


def centre_place(height: int, width: int, clip: ClipConfig, *, flip: bool = False) -> Place:
    """Return what a test clip shows of stored frames of `height` x `width`: the middle, as `augment.view_crop` cuts."""
    scale = clip.short_side / min(height, width)
    high, wide = round(height * scale), round(width * scale)
    top, left = (high - clip.size) // 2, (wide - clip.size) // 2
    return Place(top / high, left / wide, clip.size / high, clip.size / wide, flip)


def covered(boxes_N4: Boxes, rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Return which share of each cell of a grid over the picture lies in boxes that do not overlap: rows x columns."""
    across_Nw = overlap(boxes_N4[:, 0], boxes_N4[:, 2], columns)
    down_Nh = overlap(boxes_N4[:, 1], boxes_N4[:, 3], rows)
    share_hw: npt.NDArray[np.float32] = np.einsum("nh,nw->hw", down_Nh, across_Nw).astype(np.float32)
    return share_hw


def overlap(start_N: npt.NDArray[Any], end_N: npt.NDArray[Any], cells: int) -> npt.NDArray[np.float64]:
    """Return which share of each of `cells` equal parts of 0 to 1 lies between start and end: N x cells."""
    edge = np.arange(cells + 1) / cells
    low_NX = np.maximum(start_N[:, None].astype(np.float64), edge[:-1])
    high_NX = np.minimum(end_N[:, None].astype(np.float64), edge[1:])
    share_NX: npt.NDArray[np.float64] = np.clip(high_NX - low_NX, 0, None) * cells
    return share_NX
