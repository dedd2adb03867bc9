"""Buffers are aligned, large enough for any size, and zero."""

import numpy as np
import pytest

from pipeline.flow.tvl1 import TvL1Config, solve
from pipeline.flow.tvl1.workspace import allocate, plane_pitch, row_pitch


def test_rows_hold_the_image_a_guard_and_spare_lanes():
    for width in range(16, 400):
        assert plane_pitch(width) >= 16 + -(-width // 16) * 16
        assert plane_pitch(width) // 16 % 2 == 1
        assert row_pitch(width) >= 16 + -(-width // 16) * 16 + 16


def test_buffers_begin_at_cache_lines_and_are_zero():
    for buffer in allocate(((40, 50), (32, 40))):
        assert not buffer.any()
        assert buffer.dtype == np.int32 or buffer.ctypes.data % 64 == 0


@pytest.mark.parametrize("height", [16, 17])
@pytest.mark.parametrize("width", [16, 17, 31, 32, 33, 48, 49, 700])
def test_every_frame_size_is_solved_like_any_other(width, height, moving_pairs, epe):
    frames0, frames1, _ = moving_pairs(height, width, [0.5])
    config = TvL1Config(stop="fixed", inner_iterations=8, outer_iterations=2, warps=2)
    ours, reference = (solve(frames0, frames1, config, backend=name) for name in ("numba", "opencv"))
    assert epe(ours.flow_NHW2, reference.flow_NHW2).mean() <= 1e-5
