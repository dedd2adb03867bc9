"""The buffers of one pair, and where everything lies in them.

The unknowns of a level live in one array. A row of the image is sixteen rows of numbers, the planes, one after the
other; before each lies a guard of zeros, which is what the formulas ask for outside the image, and behind it room for
the last vector's spare lanes. One more row of zeros lies above the image.

There are two copies of what an iteration changes (u and p), six planes each. A block of iterations reads one and
writes the other, so that a block that went too far can be taken back.
"""

from typing import NamedTuple

import numpy as np

from pipeline.flow.tvl1.simd import LANES, Floats, Ints, compiled

GUARD = LANES
"""Zeros before each plane's row; only the last is read, the others keep rows at multiples of 64 bytes."""

PLANES = 16
WARPED_X, WARPED_Y, INVERSE_GRADIENT, RESIDUAL = range(4)
"""Constant planes of a warp: the warped gradient, 1 / its square, warped frame - first frame - gradient * u."""
STATE_A: int = np.int64(4)  # type: ignore[assignment]  # an int's value would be part of its type in compiled code,
STATE_B: int = np.int64(10)  # type: ignore[assignment]  # and everything compiled once for it and once for variables
"""First planes of the two copies of u and p."""
U1, U2, P11, P12, P21, P22 = range(6)
"""Planes of a copy: flow to the right and down, and the dual of each in x and y."""

BORDER = 4
"""Texels around the second frame: a tap clamped to them is wholly outside."""
TEXEL = 4
"""Numbers of a texel: the second frame, its two gradients, nothing."""

ROWS = 10
"""Scratch rows of a pair; see `warp`, `pyramid` and `median`."""


class Workspace(NamedTuple):
    """Buffers of one thread, made once for a frame size."""

    image0: Floats
    """Pyramid of the first frame, levels one after the other."""
    image1: Floats
    """Pyramid of the second."""
    flow: Floats
    """The coarser level's flow, two planes, while the next level starts; and a padded copy for the median."""
    state: Floats
    texels: Floats
    rows: Floats
    integers: Ints
    errors: Floats
    """Sum of squared change of u in each iteration of a block."""


@compiled
def plane_pitch(width: int) -> int:
    """Numbers from a plane's row to the next plane's: an odd count of cache lines, so that planes share no set."""
    lines = (width + LANES - 1) // LANES + 1
    return LANES * (lines + 1 - lines % 2)


@compiled
def row_pitch(width: int) -> int:
    """Numbers of a scratch row: a row of the image, room on both sides, spare lanes."""
    return (width + 4 * LANES) // LANES * LANES


def allocate(levels: tuple[tuple[int, int], ...]) -> Workspace:
    """Make the buffers for a pyramid with levels of these (height, width), finest first."""
    height, width = levels[0]
    pixels = sum(h * w for h, w in levels)
    return Workspace(
        image0=_aligned(pixels + LANES),
        image1=_aligned(pixels + LANES),
        flow=_aligned(2 * (height + 4) * row_pitch(width)),
        state=_aligned((height + 1) * PLANES * plane_pitch(width) + 2 * LANES),
        texels=_aligned((height + 2 * BORDER + 1) * (width + 2 * BORDER + LANES) * TEXEL),
        rows=_aligned(ROWS * row_pitch(width)),
        integers=np.zeros(2 * row_pitch(width), np.int32),
        errors=_aligned(64),
    )


def _aligned(count: int) -> Floats:
    """Zeros at a multiple of 64 bytes, where a vector lies in one cache line."""
    raw = np.zeros(count + LANES, np.float32)
    start = -raw.ctypes.data % 64 // 4
    return raw[start : start + count]
