"""One level of the pyramid: warps, and in each the iterations until the flow stands still.

When a warp stops is part of the algorithm: an iteration more or less moves the flow by as much as OpenCV differs from
itself between machines. Iterations run in blocks all the same, for less memory traffic. Before each block the speed at
which the change falls says whether more iterations will be needed; should a block go past the end, it is taken back and
repeated with the right number, so that iterations are counted exactly as if they ran one by one.
"""

import math
from typing import NamedTuple

import numpy as np

from pipeline.flow.tvl1.iterate import Weights, run_block
from pipeline.flow.tvl1.median import median3, median5
from pipeline.flow.tvl1.simd import compiled
from pipeline.flow.tvl1.warp import warp
from pipeline.flow.tvl1.workspace import STATE_A, STATE_B, U1, U2, Workspace

GUESSED_BLOCK = 2
"""Longest block whose end is a guess: halves the traffic; longer ones are taken back more often than they save."""
KNOWN_BLOCK = 8
"""Longest block where it is known that no iteration of it is looked at but the last."""
EVERY, SPARSE, FIXED = range(3)
"""The stop rules `every`, `opencv-cuda` and `fixed`."""


class Plan(NamedTuple):
    """`TvL1Config` as compiled code takes it."""

    weights: Weights
    cubic: np.float32
    clamped: bool
    """Whether pixels outside the image repeat its border, and corners correspond in resizing: OpenCV's CUDA code."""
    warps: int
    inner: int
    outer: int
    median: int
    stop: int
    epsilon: float
    scale_step: float


@compiled
def solve_level(work: Workspace, start: int, height: int, width: int, pitch: int, plan: Plan) -> tuple[int, int]:
    """Refine the flow in copy A of the state; texels are packed and p is zero.

    Returns:
        The first plane of the copy that holds the flow, and the number of iterations.
    """
    threshold = plan.epsilon * plan.epsilon * height * width
    if plan.stop == EVERY:
        threshold = float(np.float32(threshold))
    source, iterations = STATE_A, 0
    for _ in range(plan.warps):
        warp(work, start, height, width, pitch, source, plan.cubic)
        if plan.stop == EVERY:
            done, source = _until_still(work, height, width, pitch, source, threshold, plan)
        else:
            done, source = _on_schedule(work, height, width, pitch, source, threshold, plan)
        iterations += done
    return source, iterations


@compiled
def _until_still(
    work: Workspace, height: int, width: int, pitch: int, source: int, threshold: float, plan: Plan
) -> tuple[int, int]:
    """Iterate until the first iteration whose change is at most the threshold; returns the count and the copy."""
    done, most = 0, plan.inner * plan.outer
    change, decay = math.inf, 0.0
    while done < most and change > threshold:
        left = most - done
        if plan.median > 1:
            if done % plan.inner == 0:
                _filter(work, height, width, pitch, source, plan.median)
                change = math.inf
            left = plan.inner - done % plan.inner
        block = min(left, _safe(change, decay, threshold))
        target = source if block == 1 else STATE_A + STATE_B - source
        run_block(work.state, height, width, pitch, source, target, block, plan.weights, work.errors)
        needed = 1
        while needed < block and work.errors[needed - 1] > threshold:
            needed += 1
        if needed < block:
            run_block(work.state, height, width, pitch, source, target, needed, plan.weights, work.errors)
        before = work.errors[needed - 2] if needed > 1 else change
        change = float(work.errors[needed - 1])
        decay = change / before
        done, source = done + needed, target
    return done, source


@compiled
def _safe(change: float, decay: float, threshold: float) -> int:
    """Iterations that will be needed if the change goes on falling as fast as it did."""
    if change == math.inf or decay <= 0:
        return 1
    if decay >= 1:
        return GUESSED_BLOCK
    return max(1, min(GUESSED_BLOCK, int(math.log(threshold / change) / math.log(decay))))


@compiled
def _on_schedule(
    work: Workspace, height: int, width: int, pitch: int, source: int, threshold: float, plan: Plan
) -> tuple[int, int]:
    """Iterate with the change looked at on OpenCV's CUDA schedule, or never; returns the count and the copy.

    That schedule looks at iterations with odd numbers only, and only once an allowance, set to the change at each look
    and lowered by the threshold in each iteration without one, is below the threshold.
    """
    done, most, allowance = 0, plan.inner * plan.outer, 0.0
    while done < most:
        left = most - done
        if plan.median > 1:
            if done % plan.inner == 0:
                _filter(work, height, width, pitch, source, plan.median)
            left = plan.inner - done % plan.inner
        block, look = 0, False
        while block < min(left, KNOWN_BLOCK) and not look:
            look = plan.stop == SPARSE and (done + block) % 2 == 1 and allowance < threshold
            allowance -= 0.0 if look else threshold
            block += 1
        run_block(work.state, height, width, pitch, source, source, block, plan.weights, work.errors)
        done += block
        if look:
            allowance = float(work.errors[block - 1])
            if allowance <= threshold:
                break
    return done, source


@compiled
def _filter(work: Workspace, height: int, width: int, pitch: int, source: int, size: int) -> None:
    for plane in (source + U1, source + U2):
        if size == 5:
            median5(work.state, height, width, pitch, plane, work.flow, work.rows)
        else:
            median3(work.state, height, width, pitch, plane, work.flow, work.rows)
