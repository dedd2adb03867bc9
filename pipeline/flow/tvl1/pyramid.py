"""Linear resizing of images and flow between the levels of the pyramid."""

import math

import numpy as np

from pipeline.flow.tvl1.simd import LANES, Floats, Ints, compiled, load, splat, store


@compiled
def resize(
    source: Floats,
    start: int,
    pitch: int,
    height: int,
    width: int,
    target: Floats,
    target_start: int,
    target_pitch: int,
    target_height: int,
    target_width: int,
    scale_y: float,
    scale_x: float,
    factor: np.float32,
    centred: bool,
    rows: Floats,
    integers: Ints,
) -> None:
    """Resize an image inside `source` to one inside `target`, and multiply it.

    Args:
        source: holds the image from `start`, rows `pitch` apart, `LANES` numbers to spare behind the last.
        start: index of its first pixel.
        pitch: numbers from row to row.
        height: its rows.
        width: its pixels in a row.
        target: receives the result, as laid out by the next four arguments.
        target_start: index of the first pixel.
        target_pitch: numbers from row to row.
        target_height: rows.
        target_width: pixels in a row.
        scale_y: source pixels for one target pixel, downwards.
        scale_x: the same to the right.
        factor: what every pixel is multiplied with.
        centred: whether pixel centres correspond (OpenCV's CPU code) or top left corners (its CUDA code).
        rows: scratch for a source row and for the weights of a target row.
        integers: scratch for the left neighbours of a target row.
    """
    weights = rows.size // 2
    for x in range(target_width):
        left, weight = _place(x, scale_x, width, centred)
        integers[x] = left
        rows[weights + x] = weight
    for y in range(target_height):
        top, weight = _place(y, scale_y, height, centred)
        upper = start + top * pitch
        lower = start + min(top + 1, height - 1) * pitch
        keep, take = splat(np.float32(1) - weight), splat(weight)
        for x in range(0, width, LANES):
            store(rows, x, keep * load(source, upper + x) + take * load(source, lower + x))
        rows[width] = rows[width - 1]
        out = target_start + y * target_pitch
        for x in range(target_width):
            left = integers[x]
            target[out + x] = factor * (rows[left] + rows[weights + x] * (rows[left + 1] - rows[left]))


@compiled
def _place(at: int, scale: float, size: int, centred: bool) -> tuple[int, np.float32]:
    """Left (upper) source pixel of a target pixel, and the weight of the one after it.

    OpenCV's CPU code computes the weight in double precision, its CUDA code in single.
    """
    position = (at + 0.5) * scale - 0.5 if centred else float(np.float32(at) * np.float32(scale))
    before = math.floor(position)
    if before < 0:
        return 0, np.float32(0)
    if before >= size - 1:
        return size - 1, np.float32(0)
    return before, np.float32(position - before)
