"""When a warp stops."""

import itertools

import numpy as np
import pytest

from pipeline.flow.tvl1 import TvL1Config, solve
from pipeline.flow.tvl1 import level as levels
from pipeline.flow.tvl1.workspace import STATE_A

SMALL = {"scales": 1, "warps": 1}


def iterations(frames, **change):
    return solve(*frames, TvL1Config(**SMALL, **change)).iterations_N.tolist()


def changes_one_by_one(frames, **change):
    """Mean squared change of u in each of 60 iterations, from the flow after n and after n + 1."""
    config = {"stop": "fixed", "outer_iterations": 1, **SMALL, **change}
    flows = [solve(*frames, TvL1Config(inner_iterations=n, **config)).flow_NHW2 for n in range(1, 61)]
    flows = [np.zeros_like(flows[0]), *flows]
    return np.array([((b - a).astype(np.float64) ** 2).sum(-1).mean((1, 2)) for a, b in itertools.pairwise(flows)])


@pytest.mark.parametrize("epsilon", [0.3, 0.05, 0.02, 0.012])
def test_every_stops_at_the_first_iteration_that_changes_little(moving_pairs, epsilon):
    frames = moving_pairs(40, 56, [0.3, 1.0, 3.0])[:2]
    changes_60N = changes_one_by_one(frames, median=0)
    expected = [int(np.argmax(changes_N <= epsilon**2)) + 1 for changes_N in changes_60N.T]
    assert iterations(frames, epsilon=epsilon, inner_iterations=60, outer_iterations=1, median=0) == expected
    assert max(expected) > 1


def test_fixed_runs_them_all(moving_pairs):
    frames = moving_pairs(24, 32, [0.1, 1.0])[:2]
    assert iterations(frames, stop="fixed", inner_iterations=7, outer_iterations=3) == [21, 21]
    still = (frames[0], frames[0])
    assert iterations(still, stop="fixed", inner_iterations=7, outer_iterations=3) == [21, 21]


def test_still_frames_take_one_iteration_a_warp():
    frames = np.random.default_rng(0).integers(0, 256, (1, 40, 40), dtype=np.uint8)
    result = solve(frames, frames, TvL1Config(scales=3, warps=4))
    assert result.iterations_N.tolist() == [12]
    assert not result.flow_NHW2.any()


@pytest.mark.parametrize("most", [1, 2, 5])
def test_no_more_than_inner_times_outer(moving_pairs, most):
    frames = moving_pairs(24, 32, [2.0])[:2]
    assert iterations(frames, epsilon=0.0, inner_iterations=most, outer_iterations=4) == [4 * most]


def cuda_schedule(changes, threshold, most):
    """The loop of OpenCV's CUDA code, read from its source: which iteration is the last."""
    error, previous = np.inf, 0.0
    n = 0
    while error > threshold and n < most:
        if n & 1 and previous < threshold:
            error = previous = changes[n]
        else:
            error, previous = np.inf, previous - threshold
        n += 1
    return n


@pytest.mark.parametrize("epsilon", [0.3, 0.05, 0.02])
def test_the_cuda_schedule_looks_as_rarely_as_opencv(moving_pairs, epsilon):
    frames = moving_pairs(40, 56, [0.3, 1.0, 3.0])[:2]
    changes_60N = changes_one_by_one(frames, variant="opencv-cuda", median=0)
    expected = [cuda_schedule(changes_N, epsilon**2, 60) for changes_N in changes_60N.T]
    change = {"epsilon": epsilon, "inner_iterations": 60, "outer_iterations": 1, "median": 0}
    assert iterations(frames, variant="opencv-cuda", stop="opencv-cuda", **change) == expected
    every = iterations(frames, variant="opencv-cuda", **change)
    assert all(a >= b for a, b in zip(expected, every, strict=True))


def test_the_two_copies_of_the_unknowns_do_not_overlap():
    assert levels.STATE_B - levels.STATE_A == 6
    assert STATE_A == 4
