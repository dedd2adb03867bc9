"""Where people pointed, as a clip shows it: maps of whole pictures cut, mirrored and resized like the clip's frames.

And the way back, for showing people where a network looks: its map of a clip, laid on the whole picture.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from pipeline.annotate.schema import SPATIAL
from pipeline.data.feed.place import Place, overlap
from pipeline.finetune.edits import Edit


def cut(maps_NHW: Tensor, place: Place, height: int, width: int) -> Tensor:
    """Return maps of whole pictures as the clip shows them, N x height x width.

    People paint cells, so a map is taken as constant within each of its own; a cell of the result has the mean over the
    part of the picture that it covers, exactly. Nothing that was marked falls between two cells of a coarse network.
    """
    down_hH = _shares(place.top, place.height, height, maps_NHW.shape[1])
    across_wW = _shares(place.left, place.width, width, maps_NHW.shape[2])
    if place.flip:
        across_wW = across_wW.flip(0)
    return torch.einsum("hH,NHW,wW->Nhw", down_hH, maps_NHW, across_wW)


def _shares(start: float, size: float, parts: int, cells: int) -> Tensor:
    """Return how much of each of `parts` equal parts of a stretch of 0 to 1 lies in each of `cells` of the whole.

    float32, parts x cells; every row adds up to 1.
    """
    edges = start + size * np.arange(parts + 1) / parts
    shares = overlap(edges[:-1], edges[1:], cells)
    return torch.from_numpy((shares / shares.sum(axis=1, keepdims=True)).astype(np.float32))


def laid_out(maps_Nhw: Tensor, place: Place, height: int, width: int) -> Tensor:
    """Return maps of clips on the whole picture, N x height x width, bilinear; 0 where the clip shows nothing."""
    rows_H = (_centres(height) - place.top) / place.height
    columns_W = (_centres(width) - place.left) / place.width
    if place.flip:
        columns_W = 1 - columns_W
    shown_HW = ((rows_H >= 0) & (rows_H <= 1))[:, None] & ((columns_W >= 0) & (columns_W <= 1))
    return _sampled(maps_Nhw, rows_H, columns_W)[:, 0] * shown_HW


def _centres(cells: int) -> Tensor:
    """Return the middles of `cells` equal parts of 0 to 1."""
    return (torch.arange(cells) + 0.5) / cells


def _sampled(maps_NHW: Tensor, rows_h: Tensor, columns_w: Tensor) -> Tensor:
    """Sample maps at shares of their height and width, N,1,h,w; beyond the outermost centres their values go on."""
    grid_hw2 = torch.stack(torch.meshgrid(2 * columns_w - 1, 2 * rows_h - 1, indexing="xy"), dim=-1)
    grid_Nhw2 = grid_hw2.expand(len(maps_NHW), -1, -1, -1)
    return grid_sample(maps_NHW[:, None], grid_Nhw2, padding_mode="border", align_corners=False)


def seen_maps(edit: Edit, frames: Sequence[int], place: Place, size: tuple[int, int]) -> Tensor:
    """Return where people pointed in some frames of a video that have a map, as a clip shows them: N x size."""
    whole_NHW = torch.from_numpy(np.stack([edit.maps[frame] for frame in frames])).reshape(-1, SPATIAL, SPATIAL)
    return cut(whole_NHW, place, *size)


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
            target_BTHW[b, shown] = seen_maps(edits[video], [int(idx_BT[b, t]) for t in shown], places[video], size)
            mask_BT[b, shown] = True
    return target_BTHW, mask_BT
