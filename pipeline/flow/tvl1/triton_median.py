"""Median filters of the flow on the GPU: the middle of 3 x 3 or 5 x 5 values, by comparators, without branches."""

# Kernels grow tuples in loops that are unrolled when they are compiled: Python's types cannot express it, and Triton
# does not know the asterisk.
# mypy: disable-error-code="assignment, misc"
# ruff: noqa: RUF005

from typing import Any

import triton.language as tl

from pipeline.flow.tvl1.triton_kernels import (
    CONSTANTS,
    MEDIAN,
    PLANES,
    STATE,
    device,
    going_on,
    kernel,
    pixels,
)

_CONSTANTS, _STATE, _MEDIAN, _PLANES = (tl.constexpr(n) for n in (CONSTANTS, STATE, MEDIAN, PLANES))


@device
def without_ends(values: tl.tuple, COUNT: tl.constexpr) -> Any:
    """The values without the smallest and the largest, in some order; about 3/2 COUNT comparators."""
    lows, highs = (), ()
    for i in tl.static_range(COUNT // 2):
        lows = lows + (tl.minimum(values[2 * i], values[2 * i + 1]),)
        highs = highs + (tl.maximum(values[2 * i], values[2 * i + 1]),)
    smallest = lows[0]
    kept = ()
    for i in tl.static_range(1, COUNT // 2):
        kept = kept + (tl.maximum(smallest, lows[i]),)
        smallest = tl.minimum(smallest, lows[i])
    if COUNT % 2 == 1:
        # The odd one out may be the smallest or the largest.
        highs = highs + (tl.maximum(smallest, values[COUNT - 1]),)
    largest = highs[0]
    for i in tl.static_range(1, COUNT - COUNT // 2):
        kept = kept + (tl.minimum(largest, highs[i]),)
        largest = tl.maximum(largest, highs[i])
    return kept


@device
def middle(values: tl.tuple, COUNT: tl.constexpr) -> Any:
    """The median of an odd number of values.

    Of any COUNT // 2 + 2 of them neither end can be the median: drop both, take the next value in, and so on.
    """
    WINDOW: tl.constexpr = COUNT // 2 + 2
    window = ()
    for i in tl.static_range(WINDOW):
        window = window + (values[i],)
    for i in tl.static_range(COUNT - WINDOW):
        window = without_ends(window, WINDOW - i) + (values[WINDOW + i],)
    return without_ends(window, 3)[0]


@device
def median_of(
    plane: tl.tensor,
    x: tl.tensor,
    y: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    mask: tl.tensor,
    P: tl.constexpr,
    SIDE: tl.constexpr,
) -> Any:
    """The median around pixels of one plane of one pair; outside the image the border repeats."""
    values = ()
    for i in tl.static_range(SIDE * SIDE):
        row = tl.minimum(tl.maximum(y + (i // SIDE - SIDE // 2), 0), height - 1)
        column = tl.minimum(tl.maximum(x + (i % SIDE - SIDE // 2), 0), width - 1)
        values = values + (tl.load(plane + (row + 1) * (_PLANES * P) + column, mask, 0.0),)
    return middle(values, SIDE * SIDE)


@kernel
def median_kernel(
    planes: tl.tensor,
    partial: tl.tensor,
    credit: tl.tensor,
    active: tl.tensor,
    parity: tl.tensor,
    pairs: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    step: tl.tensor,
    threshold: tl.tensor,
    tiles: tl.tensor,
    P: tl.constexpr,
    BLOCK: tl.constexpr,
    TILES: tl.constexpr,
    STOP: tl.constexpr,
    SIDE: tl.constexpr,
) -> Any:
    """Filter the flow of every pair that is to run iteration `step`, into the planes that the iteration will read.

    Args beside those that kernels share: tiles is how many `iterate_kernel` has for a pair; SIDE is 3 or 5.
    """
    blocks = tl.cdiv(height * P, BLOCK)
    pair = tl.program_id(0) // blocks
    if tl.load(active + pair) != 0:
        go, _ = going_on(partial, credit, pair, pairs, tiles, step, threshold, TILES, STOP)
        if go:
            index = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
            at, x, y, inside = pixels(planes, pair, index, height, width, P)
            pair_at = planes + pair.to(tl.int64) * ((height + 1) * (_PLANES * P))
            flow = pair_at + (_CONSTANTS + ((tl.load(parity + pair) + step) % 2) * _STATE) * P
            tl.store(at + _MEDIAN * P, median_of(flow, x, y, height, width, inside, P, SIDE), inside)
            tl.store(at + (_MEDIAN + 1) * P, median_of(flow + P, x, y, height, width, inside, P, SIDE), inside)
