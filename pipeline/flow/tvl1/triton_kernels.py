"""TV-L1's iterations on the GPU: the fields of a batch of pairs, and the kernel that improves them.

The field of one pair is a block of rows, and each row holds the `PLANES` rows of its quantities behind each other, so
that every neighbour and every quantity of a pixel lies at a distance known at compile time. The row above the first
and the columns right of the last are zero and never written: they are also what the divergence reads outside the image
(the element before a row is the last of the row before it). An iteration reads one of two states and writes the other,
because every pixel of the new state needs its neighbours in the old one.

Arguments that kernels share:
    planes: the fields, (N, H + 1, PLANES, P) float32.
    partial: change of the flow by tile, (2, N, tiles) float32; an iteration reads one half and writes the other.
    credit: of OpenCV's CUDA schedule, (2, N) float64, likewise.
    alive: 1 for the pairs of the batch, 0 for those that only fill it up; here and below (N) int32.
    active: 1 for each pair that goes on in this warp.
    parity: which of its two states each pair was in when the warp began.
    done: iterations of each pair that has stopped in this warp.
    step: iterations before this one in this warp.
    threshold: sum of squared changes at which a pair stops.
    BLOCK: pixels that a program works on at once, a power of two.
    TILES: a power of two of at least the tiles of a pair.
    STOP: the stop rule.

Shape letters: N pairs, H height, W width, P width with padding.
"""

from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl

CONSTANTS = 3
"""First planes: gradient in x, gradient in y, and the constant part of the residual, of the warped frame."""

STATE = 6
"""Planes of each of the two states: u, v, then the dual variables (ux, uy, vx, vy) of both."""

MEDIAN = CONSTANTS + 2 * STATE
"""Plane where the filtered u lies; v follows."""

PLANES = MEDIAN + 2

EVERY, OPENCV_CUDA, FIXED = 0, 1, 2
"""Stop rules, numbered for the kernels; see `TvL1Config.stop`."""

_CONSTANTS, _STATE, _MEDIAN, _PLANES = (tl.constexpr(n) for n in (CONSTANTS, STATE, MEDIAN, PLANES))
_EVERY, _OPENCV_CUDA, _FIXED = (tl.constexpr(n) for n in (EVERY, OPENCV_CUDA, FIXED))


def device(function: Callable[..., Any]) -> Any:
    """Make a function that kernels call."""
    return triton.jit(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Make a kernel whose machine code serves all numbers, be they 1 or multiples of 16: a graph loads it only once."""
    return triton.jit(function, do_not_specialize=["pairs", "height", "width", "step", "tiles", "limit"])


@device
def pixels(
    planes: tl.tensor, pair: tl.tensor, index: tl.tensor, height: tl.tensor, width: tl.tensor, P: tl.constexpr
) -> Any:
    """Where the pixels `index`, counted over padded rows, lie: (address of plane 0, x, y, inside the image)."""
    y = index // P
    x = index - y * P
    # A batch passes 2^31 elements long before it fills a GPU; a pair never does.
    pair_at = planes + pair.to(tl.int64) * ((height + 1) * (_PLANES * P))
    return pair_at + (y + 1) * (_PLANES * P) + x, x, y, (x < width) & (y < height)


@device
def going_on(
    partial: tl.tensor,
    credit: tl.tensor,
    pair: tl.tensor,
    pairs: tl.tensor,
    tiles: tl.tensor,
    step: tl.tensor,
    threshold: tl.tensor,
    TILES: tl.constexpr,
    STOP: tl.constexpr,
) -> Any:
    """Whether a pair is to run iteration `step` of a warp, and the credit of OpenCV's CUDA schedule before it.

    The change of iteration `step - 1` is the sum of what each tile wrote, always added in the same order, and every
    program adds for itself: no atomics, so a pair's flow is the same bits in every run and in every batch.
    """
    go = step >= 0
    left = tl.zeros((), tl.float64)
    if STOP != _FIXED and step > 0:
        tile = tl.arange(0, TILES)
        at = (((step - 1) % 2) * pairs + pair) * tiles + tile
        change = tl.sum(tl.load(partial + at, tile < tiles, 0.0).to(tl.float64))
        go = change > threshold
        if STOP == _OPENCV_CUDA:
            # An unchecked iteration is assumed to lower the last known change by the threshold.
            left = tl.load(credit + ((step - 1) % 2) * pairs + pair)
            checked = ((step - 1) % 2 == 1) & (left < threshold)
            go = go | (checked == 0)
            left = tl.where(checked, change, left - threshold)
    return go, left


@device
def primal(
    at: tl.tensor,
    flow: tl.tensor,
    mask: tl.tensor,
    divergence_u: tl.tensor,
    divergence_v: tl.tensor,
    data_step: tl.tensor,
    theta: tl.tensor,
    P: tl.constexpr,
) -> Any:
    """One primal step, (new u, new v, old u, old v): Zach, Pock and Bischof 2007, equations 12 and 15."""
    gradient_x = tl.load(at, mask, 0.0)
    gradient_y = tl.load(at + P, mask, 0.0)
    rest = tl.load(at + 2 * P, mask, 0.0)
    u = tl.load(flow, mask, 0.0)
    v = tl.load(flow + P, mask, 0.0)
    residual = rest + (gradient_x * u + gradient_y * v)
    # The floor only matters where the gradient, which multiplies the quotient, is zero too.
    squared = tl.maximum(gradient_x * gradient_x + gradient_y * gradient_y, 1e-20)
    along = tl.minimum(tl.maximum(-residual / squared, -data_step), data_step)
    return u + along * gradient_x + theta * divergence_u, v + along * gradient_y + theta * divergence_v, u, v


@device
def dual(
    along_x: tl.tensor, along_y: tl.tensor, forward_x: tl.tensor, forward_y: tl.tensor, dual_step: tl.tensor
) -> Any:
    """One ascent step of a component's two dual variables from its forward differences."""
    shrink = 1.0 / (1.0 + dual_step * tl.sqrt(forward_x * forward_x + forward_y * forward_y))
    return (along_x + dual_step * forward_x) * shrink, (along_y + dual_step * forward_y) * shrink


@device
def divergences(state: tl.tensor, mask: tl.tensor, P: tl.constexpr) -> Any:
    """The dual variables of a component at a pixel, its right and its lower neighbour, as divergences there.

    Returns:
        The divergences at the three pixels, and the two dual variables at the first.
    """
    ROW: tl.constexpr = _PLANES * P
    x, y = tl.load(state, mask, 0.0), tl.load(state + P, mask, 0.0)
    here = x - tl.load(state - 1, mask, 0.0) + y - tl.load(state + P - ROW, mask, 0.0)
    # Right of and below the image lie zeros or other pairs' data; both are masked where the results are used.
    right = tl.load(state + 1, mask, 0.0) - x
    right += tl.load(state + P + 1, mask, 0.0) - tl.load(state + P - ROW + 1, mask, 0.0)
    return here, right, x, y


@device
def divergence_below(state: tl.tensor, y: tl.tensor, mask: tl.tensor, P: tl.constexpr) -> Any:
    """A component's divergence at the lower neighbour, whose upper neighbour's `y` is at hand."""
    ROW: tl.constexpr = _PLANES * P
    below = tl.load(state + ROW, mask, 0.0) - tl.load(state + ROW - 1, mask, 0.0)
    return below + (tl.load(state + ROW + P, mask, 0.0) - y)


@kernel
def iterate_kernel(
    planes: tl.tensor,
    partial: tl.tensor,
    credit: tl.tensor,
    active: tl.tensor,
    parity: tl.tensor,
    done: tl.tensor,
    pairs: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    step: tl.tensor,
    threshold: tl.tensor,
    data_step: tl.tensor,
    theta: tl.tensor,
    dual_step: tl.tensor,
    P: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
    TILES: tl.constexpr,
    STOP: tl.constexpr,
    FILTERED: tl.constexpr,
) -> Any:
    """Iteration `step` of the current warp, for every pair that has not stopped; a program has one tile of one pair.

    Args beside the shared ones: data_step is lambda x theta, dual_step is tau / theta; a tile is BLOCK x BLOCKS pixels;
    FILTERED says whether the flow is read from the median's planes.
    """
    tiles = tl.cdiv(height * P, BLOCK * BLOCKS)
    pair, tile = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    if tl.load(active + pair) != 0:
        go, left = going_on(partial, credit, pair, pairs, tiles, step, threshold, TILES, STOP)
        if go:
            source = (tl.load(parity + pair) + step) % 2
            change = tl.zeros((BLOCK,), tl.float32)
            for block in range(BLOCKS):
                index = (tile * BLOCKS + block) * BLOCK + tl.arange(0, BLOCK)
                at, x, y, inside = pixels(planes, pair, index, height, width, P)
                change += iterate_block(
                    at,
                    at + (_CONSTANTS + source * _STATE) * P,
                    at + (_CONSTANTS + (1 - source) * _STATE) * P,
                    inside,
                    inside & (x + 1 < width),
                    inside & (y + 1 < height),
                    data_step,
                    theta,
                    dual_step,
                    P,
                    FILTERED,
                )
            if STOP != _FIXED:
                tl.store(partial + ((step % 2) * pairs + pair) * tiles + tile, tl.sum(change))
            if STOP == _OPENCV_CUDA:
                # Every tile of the pair has the same value.
                tl.store(credit + (step % 2) * pairs + pair, left)
        elif tile == 0:
            # Tiles that still read 1 here come to the same decision by their own sum.
            tl.store(active + pair, 0)
            tl.store(done + pair, step)


@device
def iterate_block(
    at: tl.tensor,
    source: tl.tensor,
    target: tl.tensor,
    inside: tl.tensor,
    has_right: tl.tensor,
    has_below: tl.tensor,
    data_step: tl.tensor,
    theta: tl.tensor,
    dual_step: tl.tensor,
    P: tl.constexpr,
    FILTERED: tl.constexpr,
) -> Any:
    """One iteration of one block of pixels from state `source` to `target`; returns their squared changes.

    Primal and dual step are one pass over memory: the dual step needs the new flow of the right and the lower
    neighbour, and computing those again costs less than writing the flow and reading it back.
    """
    ROW: tl.constexpr = _PLANES * P
    flow = source
    if FILTERED:
        flow = at + _MEDIAN * P
    u_here, u_right, ux, uy = divergences(source + 2 * P, inside, P)
    v_here, v_right, vx, vy = divergences(source + 4 * P, inside, P)
    u_below = divergence_below(source + 2 * P, uy, has_below, P)
    v_below = divergence_below(source + 4 * P, vy, has_below, P)
    u, v, old_u, old_v = primal(at, flow, inside, u_here, v_here, data_step, theta, P)
    right_u, right_v, _, _ = primal(at + 1, flow + 1, has_right, u_right, v_right, data_step, theta, P)
    below_u, below_v, _, _ = primal(at + ROW, flow + ROW, has_below, u_below, v_below, data_step, theta, P)
    ux, uy = dual(ux, uy, tl.where(has_right, right_u - u, 0.0), tl.where(has_below, below_u - u, 0.0), dual_step)
    vx, vy = dual(vx, vy, tl.where(has_right, right_v - v, 0.0), tl.where(has_below, below_v - v, 0.0), dual_step)
    tl.store(target, u, inside)
    tl.store(target + P, v, inside)
    tl.store(target + 2 * P, ux, inside)
    tl.store(target + 3 * P, uy, inside)
    tl.store(target + 4 * P, vx, inside)
    tl.store(target + 5 * P, vy, inside)
    return tl.where(inside, (u - old_u) * (u - old_u) + (v - old_v) * (v - old_v), 0.0)


@kernel
def settle_kernel(
    alive: tl.tensor,
    active: tl.tensor,
    parity: tl.tensor,
    done: tl.tensor,
    total: tl.tensor,
    pairs: tl.tensor,
    limit: tl.tensor,
    BLOCK: tl.constexpr,
) -> Any:
    """End a warp, one program for the batch: count each pair's iterations, note its state, and wake it again.

    Args beside the shared ones: total counts each pair's iterations in all warps, (N) int32; limit is how many a pair
    has run that never stopped. BLOCK is a power of two of at least N.
    """
    pair = tl.arange(0, BLOCK)
    mask = pair < pairs
    awake = tl.load(alive + pair, mask, 0)
    ran = awake * tl.where(tl.load(active + pair, mask, 0) != 0, limit, tl.load(done + pair, mask, 0))
    tl.store(total + pair, tl.load(total + pair, mask, 0) + ran, mask)
    tl.store(parity + pair, (tl.load(parity + pair, mask, 0) + ran) % 2, mask)
    tl.store(active + pair, awake, mask)
