"""The function contract, which is the same for every backend."""

import subprocess
import sys

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.flow.tvl1 import TvL1Config, solve, solve_frames

GREY = np.zeros((2, 20, 24), np.uint8)


@pytest.mark.parametrize(
    ("frames0", "frames1", "word"),
    [
        (GREY, GREY[:1], r"uint8 \(2, 20, 24\) and uint8 \(1, 20, 24\)"),
        (GREY, GREY.astype(np.float32), "float32"),
        (GREY[0], GREY[0], "grey"),
        (GREY.astype(np.int32), GREY.astype(np.int32), "int32"),
        (GREY[:, :15], GREY[:, :15], "24x15 pixels"),
        (GREY[:, :, :15], GREY[:, :, :15], "15x20 pixels"),
    ],
)
def test_wrong_frames_are_refused_with_what_they_were(frames0, frames1, word):
    with pytest.raises(UserError, match=word):
        solve(frames0, frames1, backend="opencv")


@pytest.mark.parametrize("how", [{"backend": "cuda"}, {"threads": 0}])
def test_an_unknown_way_to_run_is_refused(how):
    with pytest.raises(UserError, match="TV-L1 cannot run like this"):
        solve(GREY, GREY, **how)


def test_the_package_imports_without_any_backend():
    code = "import sys, pipeline.flow.tvl1; print(*({'numba', 'torch', 'triton', 'cv2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("backend", ["numba", "opencv"])
def test_frames_of_a_video_are_paired_in_order(backend, moving_pairs):
    frames0, frames1, _ = moving_pairs(24, 32, [1.0, 2.0])
    frames_THW = np.stack([frames0[0], frames1[0], frames1[1]])
    result = solve_frames(frames_THW, backend=backend)
    assert result.flow_NHW2.shape == (2, 24, 32, 2)
    for n in range(2):
        single = solve(frames_THW[n : n + 1], frames_THW[n + 1 : n + 2], backend=backend)
        np.testing.assert_array_equal(single.flow_NHW2[0], result.flow_NHW2[n])


@pytest.mark.parametrize("backend", ["numba", "opencv"])
@pytest.mark.parametrize("frames", [0, 1])
def test_no_pair_gives_no_flow(backend, frames):
    result = solve_frames(GREY[:frames], backend=backend)
    assert result.flow_NHW2.shape == (0, 20, 24, 2)
    assert result.flow_NHW2.dtype == np.float32
    assert result.iterations_N.shape == (0,)


@pytest.mark.parametrize("backend", ["numba", "opencv"])
def test_flow_points_right_and_down_to_where_pixels_go(backend, moving_pairs, epe):
    frames0, frames1, truth_NHW2 = moving_pairs(64, 80, [1.0, 2.0])
    flow_NHW2 = solve(frames0, frames1, TvL1Config(), backend=backend).flow_NHW2
    inside = (slice(None), slice(8, -8), slice(8, -8))
    assert epe(flow_NHW2, truth_NHW2)[inside].mean() < 0.25
    assert epe(-flow_NHW2, truth_NHW2)[inside].mean() > 0.5


@pytest.mark.parametrize("backend", ["numba", "opencv"])
def test_float_frames_are_from_0_to_255(backend, moving_pairs, epe):
    frames0, frames1, _ = moving_pairs(32, 40, [1.0])
    config = TvL1Config(stop="fixed", inner_iterations=10, outer_iterations=1)
    as_bytes = solve(frames0, frames1, config, backend=backend).flow_NHW2
    as_floats = solve(frames0.astype(np.float32), frames1.astype(np.float32), config, backend=backend).flow_NHW2
    assert epe(as_bytes, as_floats).max() < 1e-2


@pytest.mark.parametrize("backend", ["numba", "opencv"])
def test_threads_do_not_change_the_result(backend, moving_pairs):
    frames0, frames1, _ = moving_pairs(32, 40, [0.5, 1.0, 2.0])
    one, two = (solve(frames0, frames1, backend=backend, threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.flow_NHW2, two.flow_NHW2)
    np.testing.assert_array_equal(one.iterations_N, two.iterations_N)
