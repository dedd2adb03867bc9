"""Sampling frames where the flow points, on the GPU.

Arguments are explained in `triton_kernels`, as are the shape letters.
"""

from typing import Any

import triton.language as tl

from pipeline.flow.tvl1.triton_kernels import CONSTANTS, STATE, device, kernel, pixels

_CONSTANTS, _STATE = tl.constexpr(CONSTANTS), tl.constexpr(STATE)


@device
def cubic(f: tl.tensor, A: tl.constexpr) -> Any:
    """Weights of the four samples around a position `f` behind the second, by Keys' cubic with parameter `A`."""
    w0 = ((A * (f + 1.0) - 5.0 * A) * (f + 1.0) + 8.0 * A) * (f + 1.0) - 4.0 * A
    w1 = ((A + 2.0) * f - (A + 3.0)) * f * f + 1.0
    w2 = ((A + 2.0) * (1.0 - f) - (A + 3.0)) * (1.0 - f) * (1.0 - f) + 1.0
    return w0, w1, w2, 1.0 - w0 - w1 - w2


@device
def samples(
    image: tl.tensor,
    row: tl.tensor,
    x: tl.tensor,
    width: tl.tensor,
    mask: tl.tensor,
    w0: tl.tensor,
    w1: tl.tensor,
    w2: tl.tensor,
    w3: tl.tensor,
    CLAMP: tl.constexpr,
) -> Any:
    """Weighted sum of four samples of one image row from column `x - 1` on."""
    total = w0 * sample(image, row, x - 1, width, mask, CLAMP) + w1 * sample(image, row, x, width, mask, CLAMP)
    total += w2 * sample(image, row, x + 1, width, mask, CLAMP)
    return total + w3 * sample(image, row, x + 2, width, mask, CLAMP)


@device
def sample(
    image: tl.tensor, row: tl.tensor, x: tl.tensor, width: tl.tensor, mask: tl.tensor, CLAMP: tl.constexpr
) -> Any:
    """Samples of an image row; outside it the border's pixel or zero."""
    if CLAMP:
        value = tl.load(image + row + tl.minimum(tl.maximum(x, 0), width - 1), mask, 0.0)
    else:
        value = tl.load(image + row + x, mask & (x >= 0) & (x < width), 0.0)
    return value


@kernel
def warp_kernel(
    planes: tl.tensor,
    frame0: tl.tensor,
    frame1: tl.tensor,
    slope_x: tl.tensor,
    slope_y: tl.tensor,
    alive: tl.tensor,
    parity: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    P: tl.constexpr,
    BLOCK: tl.constexpr,
    CUDA: tl.constexpr,
) -> Any:
    """Sample the second frame and its slopes where the flow points; write what the iterations of a warp hold constant.

    Args beside the shared ones: first frames, second ones and their slopes, (N, H, W) float32; CUDA says whether to
    interpolate as OpenCV's CUDA version does, or as its CPU version.
    """
    blocks = tl.cdiv(height * P, BLOCK)
    pair = tl.program_id(0) // blocks
    if tl.load(alive + pair) != 0:
        index = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
        at, x, y, inside = pixels(planes, pair, index, height, width, P)
        flow = at + (_CONSTANTS + tl.load(parity + pair) * _STATE) * P
        u, v = tl.load(flow, inside, 0.0), tl.load(flow + P, inside, 0.0)
        # Clamped where every sample is border anyway, so that a runaway flow fits an integer.
        to_x = tl.minimum(tl.maximum(x + u, -4.0), width + 3.0)
        to_y = tl.minimum(tl.maximum(y + v, -4.0), height + 3.0)
        left, top = tl.floor(to_x), tl.floor(to_y)
        A: tl.constexpr = -0.5 if CUDA else -0.75
        w0, w1, w2, w3 = cubic(to_x - left, A)
        h0, h1, h2, h3 = cubic(to_y - top, A)
        image = pair.to(tl.int64) * (height * width)
        value = tl.zeros((BLOCK,), tl.float32)
        value_x, value_y = value, value
        for tap in tl.static_range(4):
            row = top.to(tl.int32) + (tap - 1)
            weight = h0 if tap == 0 else (h1 if tap == 1 else (h2 if tap == 2 else h3))
            known = inside
            if CUDA:
                row = tl.minimum(tl.maximum(row, 0), height - 1)
            else:
                known = inside & (row >= 0) & (row < height)
            start, column = row * width, left.to(tl.int32)
            value += weight * samples(frame1 + image, start, column, width, known, w0, w1, w2, w3, CUDA)
            value_x += weight * samples(slope_x + image, start, column, width, known, w0, w1, w2, w3, CUDA)
            value_y += weight * samples(slope_y + image, start, column, width, known, w0, w1, w2, w3, CUDA)
        first = tl.load(frame0 + image + y * width + x, inside, 0.0)
        tl.store(at, value_x, inside)
        tl.store(at + P, value_y, inside)
        tl.store(at + 2 * P, value - value_x * u - value_y * v - first, inside)
