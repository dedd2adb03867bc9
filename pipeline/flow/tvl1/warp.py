"""The second frame and its gradients, sampled where the flow points.

The three images are interleaved as texels (frame, gradient right, gradient down, nothing), so that the four texels of a
row that a cubic needs are one vector, and a pixel is four loads. Texels around the frame are zero, or repeat its border
for OpenCV's CUDA algorithm; positions farther out are clamped to where every tap lies in that border.
"""

import numpy as np

from pipeline.flow.tvl1.simd import (
    LANES,
    Floats,
    compiled,
    first,
    floor,
    get,
    get_integer,
    in_fours,
    larger,
    load,
    load_interleaved,
    ramp,
    smaller,
    splat,
    store,
    store_integers,
    store_interleaved,
    store_sum_of_fours,
)
from pipeline.flow.tvl1.workspace import (
    BORDER,
    GUARD,
    INVERSE_GRADIENT,
    PLANES,
    RESIDUAL,
    TEXEL,
    U1,
    U2,
    WARPED_X,
    WARPED_Y,
    Workspace,
    row_pitch,
)

_STEEPEST = np.float32(1e-20)
"""Smallest squared gradient that is divided by."""


@compiled
def pack(image: Floats, start: int, height: int, width: int, texels: Floats, rows: Floats, repeat: bool) -> None:
    """Fill `texels` with the image that starts at index `start` of `image`, its central differences, and a border."""
    across = width + 2 * BORDER
    half = splat(np.float32(0.5))
    for y in range(height):
        here = start + y * width
        above, below = start + max(y - 1, 0) * width, start + min(y + 1, height - 1) * width
        for x in range(0, width, LANES):
            store(rows, LANES + x, load(image, here + x))
        rows[LANES - 1], rows[LANES + width] = rows[LANES], rows[LANES + width - 1]
        out = (y + BORDER) * across
        for x in range(0, width, LANES):
            right = half * (load(rows, LANES + x + 1) - load(rows, LANES + x - 1))
            down = half * (load(image, below + x) - load(image, above + x))
            store_interleaved(texels, (out + BORDER + x) * TEXEL, load(rows, LANES + x), right, down)
        for x in range(BORDER):
            for c in range(TEXEL):
                ends = texels[(out + BORDER) * TEXEL + c], texels[(out + BORDER + width - 1) * TEXEL + c]
                texels[(out + x) * TEXEL + c] = ends[0] if repeat else np.float32(0)
                texels[(out + BORDER + width + x) * TEXEL + c] = ends[1] if repeat else np.float32(0)
    for y in range(BORDER):
        for i in range(across * TEXEL):
            top, bottom = BORDER * across * TEXEL + i, (BORDER + height - 1) * across * TEXEL + i
            texels[y * across * TEXEL + i] = texels[top] if repeat else np.float32(0)
            texels[(BORDER + height + y) * across * TEXEL + i] = texels[bottom] if repeat else np.float32(0)


@compiled
def warp(work: Workspace, start: int, height: int, width: int, pitch: int, source: int, cubic: np.float32) -> None:
    """Sample the texels at the flow and fill the constant planes of the state.

    Args:
        work: buffers; the first frame is read from `image0`, the flow from `state`.
        start: where the level begins in `image0`.
        height: rows of the level.
        width: pixels of a row.
        pitch: numbers from plane to plane.
        source: first plane of the current copy of u.
        cubic: the cubic's free parameter A, its slope at distance 1.
    """
    for y in range(height):
        at = (y + 1) * PLANES * pitch + GUARD
        u = at + source * pitch
        _locate(work, u, pitch, y, height, width, cubic)
        _sample(work, width, cubic)
        _linearise(work, start + y * width, at, u, width, pitch)


@compiled
def _locate(work: Workspace, u: int, pitch: int, y: int, height: int, width: int, cubic: np.float32) -> None:
    """Split a row's positions into pixels (integer rows 0, 1), x's fractions and y's weights (float rows 0, 1 to 4)."""
    row = row_pitch(width)
    nearest, last_x, last_y = splat(np.float32(1 - BORDER)), splat(np.float32(width + 1)), splat(np.float32(height + 1))
    a, one, two, three = splat(cubic), splat(np.float32(1)), splat(np.float32(2)), splat(np.float32(3))
    for x in range(0, width, LANES):
        to_x = splat(np.float32(x)) + ramp() + load(work.state, u + U1 * pitch + x)
        to_y = splat(np.float32(y)) + load(work.state, u + U2 * pitch + x)
        to_x, to_y = smaller(larger(to_x, nearest), last_x), smaller(larger(to_y, nearest), last_y)
        left, top = floor(to_x), floor(to_y)
        store_integers(work.integers, x, left)
        store_integers(work.integers, row + x, top)
        store(work.rows, x, to_x - left)
        t = to_y - top
        above = a * t * (one - t) * (one - t)
        below = a * (one - t) * t * t
        centre = ((a + two) * t - (a + three)) * t * t + one
        store(work.rows, row + x, above)
        store(work.rows, 2 * row + x, centre)
        store(work.rows, 3 * row + x, one - above - centre - below)
        store(work.rows, 4 * row + x, below)


@compiled
def _sample(work: Workspace, width: int, cubic: np.float32) -> None:
    """Interpolate a row of texels into float rows 5 to 8.

    x's four weights are polynomials of the fraction t: at^3 - 2at^2 + at for the left tap, (a+2)t^3 - (a+3)t^2 + 1 for
    the next, and the same of 1 - t; here each stands four times, once for every number of its texel.
    """
    row, across = row_pitch(width), TEXEL * (width + 2 * BORDER)
    a, zero, one = cubic, np.float32(0), np.float32(1)
    cubed = in_fours(a, a + 2, -a - 2, -a)
    squared = in_fours(-2 * a, -a - 3, 2 * a + 3, a)
    linear, constant = in_fours(a, zero, -a, zero), in_fours(zero, one, zero, zero)
    for x in range(width):
        left, top = get_integer(work.integers, x), get_integer(work.integers, row + x)
        i = (top + BORDER - 1) * across + TEXEL * (left + BORDER - 1)
        t = splat(get(work.rows, x))
        texels = splat(get(work.rows, row + x)) * load(work.texels, i)
        texels = texels + splat(get(work.rows, 2 * row + x)) * load(work.texels, i + across)
        texels = texels + splat(get(work.rows, 3 * row + x)) * load(work.texels, i + 2 * across)
        texels = texels + splat(get(work.rows, 4 * row + x)) * load(work.texels, i + 3 * across)
        weights = ((cubed * t + squared) * t + linear) * t + constant
        store_sum_of_fours(work.rows, 5 * row + TEXEL * x, texels * weights)


@compiled
def _linearise(work: Workspace, first_frame: int, at: int, u: int, width: int, pitch: int) -> None:
    """The brightness change as a linear function of u: gradient, 1 / its square, and what is left at u = 0."""
    row = row_pitch(width)
    one, steepest = splat(np.float32(1)), splat(_STEEPEST)
    for x in range(0, width, LANES):
        frame, right, down = load_interleaved(work.rows, 5 * row + TEXEL * x)
        right, down = first(right, width - x), first(down, width - x)
        along = right * load(work.state, u + U1 * pitch + x) + down * load(work.state, u + U2 * pitch + x)
        residual = frame - along - load(work.image0, first_frame + x)
        store(work.state, at + WARPED_X * pitch + x, right)
        store(work.state, at + WARPED_Y * pitch + x, down)
        store(work.state, at + INVERSE_GRADIENT * pitch + x, one / larger(right * right + down * down, steepest))
        store(work.state, at + RESIDUAL * pitch + x, first(residual, width - x))
