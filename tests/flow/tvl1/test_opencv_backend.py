"""The reference is OpenCV, unchanged."""

import cv2
import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.flow.tvl1 import TvL1Config, solve
from pipeline.flow.tvl1.result import TvL1Result


def test_defaults_are_opencv_s_own(moving_pairs):
    frames0, frames1, _ = moving_pairs(32, 40, [1.0])
    expected_HW2 = cv2.optflow.createOptFlow_DualTVL1().calc(frames0[0], frames1[0], None)
    result = solve(frames0, frames1, backend="opencv")
    np.testing.assert_array_equal(result.flow_NHW2[0], expected_HW2)
    assert isinstance(result, TvL1Result)
    assert result.iterations_N.tolist() == [-1]


@pytest.mark.parametrize(
    "change",
    [
        {"tau": 0.1},
        {"lambda_": 0.3},
        {"theta": 0.2},
        {"scales": 2},
        {"warps": 2},
        {"epsilon": 0.1},
        {"inner_iterations": 5},
        {"outer_iterations": 1},
        {"scale_step": 0.5},
        {"median": 3},
        {"median": 0},
        {"stop": "fixed", "outer_iterations": 2},
    ],
)
def test_every_parameter_reaches_opencv(moving_pairs, change):
    frames0, frames1, _ = moving_pairs(48, 56, [2.0])
    default = solve(frames0, frames1, TvL1Config(), backend="opencv").flow_NHW2
    changed = solve(frames0, frames1, TvL1Config(**change), backend="opencv").flow_NHW2
    assert not np.array_equal(default, changed)


@pytest.mark.parametrize("change", [{"variant": "opencv-cuda"}, {"stop": "opencv-cuda"}])
def test_the_cuda_algorithm_is_refused(change):
    grey = np.zeros((1, 16, 16), np.uint8)
    with pytest.raises(UserError, match="CPU algorithm only"):
        solve(grey, grey, TvL1Config(**change), backend="opencv")


def test_opencv_s_own_threads_come_back_after_use():
    before = cv2.getNumThreads()
    grey = np.zeros((1, 16, 16), np.uint8)
    solve(grey, grey, backend="opencv", threads=2)
    assert cv2.getNumThreads() == before
