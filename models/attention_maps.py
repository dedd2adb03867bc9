"""From a map at feature resolution to the channel beside a crop of the image.

Maps are kept as small as they are computed (8 x 8). A crop's channel is sampled from the map directly, at the places
where the crop's pixels lie, so no map of the frame's size ever exists and a map needs nothing but the crop's box to
follow the image through crop, resize and flip. Letters: N images, H and W of the crop, h and w of the map.
"""

import torch
from torch import Tensor

START_ATTENTION = 0.1
"""Attention where there is no map yet: everywhere, in the first round of training and of a test. The thesis (S3) chose
0.1 because most values of a map are near 0; training with 0.5 and 1.0 was less stable."""

WHOLE = (0.0, 0.0, 1.0, 1.0)
"""The box of the whole frame."""


def crop_maps(map_Nhw: Tensor, box_N4: Tensor, size: int) -> Tensor:
    """Sample maps bilinearly at the centres of a crop's pixels.

    The map covers the frame: value (i, j) lies at the centre of its cell, and beyond the outermost centres the
    outermost values go on (torch's `interpolate` with align_corners=False). So for a crop without resize this equals
    upsampling the map to the frame and cropping.

    Args:
        map_Nhw: maps in [0, 1], any floating-point type.
        box_N4: x0, y0, x1, y1 of each crop as shares of the frame's width and height. x0 > x1: mirrored.
        size: height and width of the crop after its resize, pixels.

    Returns:
        attention_N1HW: float32 on the map's device.

    Raises:
        ValueError: maps or boxes of another shape, or integer maps.
    """
    if map_Nhw.dim() != 3 or not map_Nhw.is_floating_point():
        raise ValueError(
            f"Attention maps are values in [0, 1]. Received: {map_Nhw.dtype} of shape {tuple(map_Nhw.shape)}. Allowed: "
            "floating point, N,h,w. Fix: divide integer maps by their scale first."
        )
    if tuple(box_N4.shape) != (len(map_Nhw), 4):
        raise ValueError(
            f"Every map needs the box of its crop. Received: shape {tuple(box_N4.shape)} for {len(map_Nhw)} maps. "
            f"Allowed: ({len(map_Nhw)}, 4), x0, y0, x1, y1 as shares of the frame. Fix: repeat a clip's box for "
            "each of its maps."
        )
    map_Nhw = map_Nhw.float()
    x0_N1, y0_N1, x1_N1, y1_N1 = box_N4.to(map_Nhw.device, torch.float32).unsqueeze(-1).unbind(1)
    map_NhW = _sample_columns(map_Nhw, x0_N1, x1_N1, size)
    map_NWH = _sample_columns(map_NhW.transpose(1, 2), y0_N1, y1_N1, size)
    return map_NWH.transpose(1, 2).unsqueeze(1).contiguous()


def resize_maps(map_Nhw: Tensor, size: int) -> Tensor:
    """Return attention_N1HW for images that show exactly what their maps cover."""
    return crop_maps(map_Nhw, torch.tensor(WHOLE).expand(len(map_Nhw), 4), size)


def _sample_columns(map_Nyx: Tensor, start_N1: Tensor, end_N1: Tensor, size: int) -> Tensor:
    """Sample along the last axis at the centres of `size` pixels between two shares of it: N,y,size."""
    rows, columns = map_Nyx.shape[1:]
    centre_X = (torch.arange(size, device=map_Nyx.device, dtype=torch.float32) + 0.5) / size
    place_NX = (start_N1 + (end_N1 - start_N1) * centre_X) * columns - 0.5
    place_NX = place_NX.clamp(0, columns - 1)
    left_NX = place_NX.floor()
    share_NX = place_NX - left_NX
    left_NyX = left_NX.long().unsqueeze(1).expand(-1, rows, -1)
    right_NyX = (left_NyX + 1).clamp(max=columns - 1)
    # lerp and not a weighted sum: between two equal values it returns that value exactly.
    return torch.lerp(map_Nyx.gather(2, left_NyX), map_Nyx.gather(2, right_NyX), share_NX.unsqueeze(1))
