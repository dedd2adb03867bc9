"""Iterations of TV-L1 on the unknowns of one level, several in flight at once.

One iteration (Zach, Pock and Bischof 2007, in OpenCV's form; two components of u alike):

    f = clamp(rho(u) / |grad I1w|^2, -lambda theta, lambda theta)       rho(u) = residual + grad I1w . u
    u <- u - f grad I1w + theta div p                                   (primal; div: backward differences)
    p <- (p + tau/theta grad u) / (1 + tau/theta |grad u|)              (dual; grad: forward differences)

A row's primal step needs p of the row and of the one above; its dual step needs u of the row and of the one below. So
one pass down the image does the primal step of each row and the dual step of the row above, and the next iteration may
follow one row behind. A block of iterations thus reads and writes the level once, while the rows in flight stay in the
cache.
"""

from typing import NamedTuple

import numpy as np

from pipeline.flow.tvl1.simd import (
    LANES,
    Floats,
    Lanes,
    compiled,
    first,
    from_left,
    from_right,
    get,
    larger,
    load,
    put,
    reciprocal_root,
    smaller,
    splat,
    store,
    total,
)
from pipeline.flow.tvl1.workspace import (
    GUARD,
    INVERSE_GRADIENT,
    P11,
    P12,
    P21,
    P22,
    PLANES,
    RESIDUAL,
    U1,
    U2,
    WARPED_X,
    WARPED_Y,
)


class Weights(NamedTuple):
    """The constants of an iteration, float32."""

    reach: np.float32
    """lambda theta."""
    theta: np.float32
    ascent: np.float32
    """tau / theta."""


Pair = tuple[Lanes, Lanes]
_TINY = np.float32(1e-30)
"""Keeps 1 / sqrt finite where u is flat."""


@compiled
def run_block(
    state: Floats,
    height: int,
    width: int,
    pitch: int,
    source: int,
    target: int,
    iterations: int,
    weights: Weights,
    errors: Floats,
) -> None:
    """Do some iterations, from the copy of u and p at plane `source` to the one at `target`, which may be the same.

    Args:
        state: the level's planes.
        height: rows of the level.
        width: pixels of a row.
        pitch: numbers from plane to plane.
        source: first plane of the copy that is read.
        target: first plane of the copy that is written.
        iterations: how many.
        weights: constants.
        errors: filled with the sum of squared change of u, one number an iteration.
    """
    row = PLANES * pitch
    for k in range(iterations):
        errors[k] = 0
    for step in range(height + iterations):
        for k in range(max(0, step - height), min(iterations, step + 1)):
            y = step - k
            at = (y + 1) * row + GUARD
            origin = source if k == 0 else target
            if y == 0:
                errors[k] += primal_row(state, at, width, pitch, origin, target, weights)
            elif y < height:
                errors[k] += full_row(state, at, width, pitch, origin, target, weights)
            else:
                dual_row(state, at - row, width, pitch, origin, target, weights)


@compiled
def full_row(state: Floats, at: int, width: int, pitch: int, source: int, target: int, weights: Weights) -> np.float32:
    """The primal step of the row at `at` and the dual step of the row above; returns the sum of squared change."""
    above = at - PLANES * pitch
    left1 = left2 = error = splat(np.float32(0))
    here1, here2 = load(state, above + (target + U1) * pitch), load(state, above + (target + U2) * pitch)
    for x in range(0, width, LANES):
        i, j = at + x, above + x
        p11, p21 = load(state, i + (source + P11) * pitch), load(state, i + (source + P21) * pitch)
        p12, p22 = load(state, i + (source + P12) * pitch), load(state, i + (source + P22) * pitch)
        over12, over22 = load(state, j + (source + P12) * pitch), load(state, j + (source + P22) * pitch)
        div1 = (p11 - from_left(left1, p11)) + (p12 - over12)
        div2 = (p21 - from_left(left2, p21)) + (p22 - over22)
        new1, new2, change = primal(state, i, source, pitch, div1, div2, weights)
        store(state, i + (target + U1) * pitch, new1)
        store(state, i + (target + U2) * pitch, new2)
        error = error + first(change, width - x)

        next1 = load(state, j + LANES + (target + U1) * pitch)
        next2 = load(state, j + LANES + (target + U2) * pitch)
        old11, old21 = load(state, j + (source + P11) * pitch), load(state, j + (source + P21) * pitch)
        right1, right2 = from_right(here1, next1) - here1, from_right(here2, next2) - here2
        down1, down2 = new1 - here1, new2 - here2
        grow1, grow2 = shrinkage(right1, down1, right2, down2, weights)
        ascent = splat(weights.ascent)
        store(state, j + (target + P11) * pitch, (old11 + ascent * right1) * grow1)
        store(state, j + (target + P12) * pitch, (over12 + ascent * down1) * grow1)
        store(state, j + (target + P21) * pitch, (old21 + ascent * right2) * grow2)
        store(state, j + (target + P22) * pitch, (over22 + ascent * down2) * grow2)
        left1, left2, here1, here2 = p11, p21, next1, next2
    repeat_last(state, at, width, pitch, target)
    squared: np.float32 = total(error)
    return squared


@compiled
def primal_row(
    state: Floats, at: int, width: int, pitch: int, source: int, target: int, weights: Weights
) -> np.float32:
    """The primal step of the top row, above which p is zero; returns the sum of squared change."""
    left1 = left2 = error = splat(np.float32(0))
    for x in range(0, width, LANES):
        i = at + x
        p11, p21 = load(state, i + (source + P11) * pitch), load(state, i + (source + P21) * pitch)
        div1 = (p11 - from_left(left1, p11)) + load(state, i + (source + P12) * pitch)
        div2 = (p21 - from_left(left2, p21)) + load(state, i + (source + P22) * pitch)
        new1, new2, change = primal(state, i, source, pitch, div1, div2, weights)
        store(state, i + (target + U1) * pitch, new1)
        store(state, i + (target + U2) * pitch, new2)
        error = error + first(change, width - x)
        left1, left2 = p11, p21
    repeat_last(state, at, width, pitch, target)
    squared: np.float32 = total(error)
    return squared


@compiled
def dual_row(state: Floats, at: int, width: int, pitch: int, source: int, target: int, weights: Weights) -> None:
    """The dual step of the bottom row, below which u repeats."""
    flat, ascent = splat(np.float32(0)), splat(weights.ascent)
    for x in range(0, width, LANES):
        i = at + x
        here1, here2 = load(state, i + (target + U1) * pitch), load(state, i + (target + U2) * pitch)
        right1 = from_right(here1, load(state, i + LANES + (target + U1) * pitch)) - here1
        right2 = from_right(here2, load(state, i + LANES + (target + U2) * pitch)) - here2
        grow1, grow2 = shrinkage(right1, flat, right2, flat, weights)
        store(state, i + (target + P11) * pitch, (load(state, i + (source + P11) * pitch) + ascent * right1) * grow1)
        store(state, i + (target + P12) * pitch, load(state, i + (source + P12) * pitch) * grow1)
        store(state, i + (target + P21) * pitch, (load(state, i + (source + P21) * pitch) + ascent * right2) * grow2)
        store(state, i + (target + P22) * pitch, load(state, i + (source + P22) * pitch) * grow2)


@compiled
def primal(
    state: Floats, i: int, source: int, pitch: int, div1: Lanes, div2: Lanes, weights: Weights
) -> tuple[Lanes, Lanes, Lanes]:
    """New u of sixteen pixels, both components, and the squared change."""
    reach, theta = splat(weights.reach), splat(weights.theta)
    x, y = load(state, i + WARPED_X * pitch), load(state, i + WARPED_Y * pitch)
    old1, old2 = load(state, i + (source + U1) * pitch), load(state, i + (source + U2) * pitch)
    rho = load(state, i + RESIDUAL * pitch) + x * old1 + y * old2
    f = smaller(larger(rho * load(state, i + INVERSE_GRADIENT * pitch), splat(-weights.reach)), reach)
    change1, change2 = theta * div1 - f * x, theta * div2 - f * y
    return old1 + change1, old2 + change2, change1 * change1 + change2 * change2


@compiled
def shrinkage(right1: Lanes, down1: Lanes, right2: Lanes, down2: Lanes, weights: Weights) -> tuple[Lanes, Lanes]:
    """1 / (1 + tau/theta |grad u|) of both components; the two divisions are one."""
    one, tiny, ascent = splat(np.float32(1)), splat(_TINY), splat(weights.ascent)
    square1, square2 = right1 * right1 + tiny + down1 * down1, right2 * right2 + tiny + down2 * down2
    below1 = one + ascent * (square1 * reciprocal_root(square1))
    below2 = one + ascent * (square2 * reciprocal_root(square2))
    both = one / (below1 * below2)
    return both * below2, both * below1


@compiled
def repeat_last(state: Floats, at: int, width: int, pitch: int, target: int) -> None:
    """Repeat u's last pixel behind it, so that the forward difference there is zero."""
    for plane in (target + U1, target + U2):
        end = at + plane * pitch + width
        put(state, end, get(state, end - 1))
