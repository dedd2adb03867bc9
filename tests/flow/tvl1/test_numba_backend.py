"""The CPU backend against OpenCV, to within the difference of OpenCV to itself.

Where a flow leads across the border of the image, OpenCV's algorithm is chaotic: rounding decides. `itself` measures
that: the same OpenCV with its vector code switched off.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.data.synth.config import SynthConfig
from pipeline.data.synth.render import optical_flow, render_frame
from pipeline.data.synth.scene import draw_scene
from pipeline.flow.tvl1 import TvL1Config, solve

ROOT = Path(__file__).parents[3]
CLIPS = ROOT.parent / "shared" / "clips"
REAL = (
    "ucf101/ApplyEyeMakeup/mmaction2_test.avi",
    "ssv2/smth-smth-1.webm",
    "kinetics/arm_wrestling/mmaction2_demo.mp4",
)
FEW = 2.0
"""Margin over OpenCV's difference to itself for a handful of small pairs; `slow` tests have 1.25 on large ones."""


@contextlib.contextmanager
def plain_opencv():
    cv2.setUseOptimized(False)
    try:
        yield
    finally:
        cv2.setUseOptimized(True)


def quantised(flow):
    return np.rint(255 * (np.clip(flow.astype(np.float64), -20, 20) + 20) / 40).astype(np.int64)


def assert_equal_to_opencv(frames0, frames1, config, epe, margin=1.25):
    ours = solve(frames0, frames1, config).flow_NHW2
    reference = solve(frames0, frames1, config, backend="opencv").flow_NHW2
    with plain_opencv():
        itself = solve(frames0, frames1, config, backend="opencv").flow_NHW2
    error = epe(ours, reference)
    assert error.mean() <= max(0.002, margin * epe(itself, reference).mean())
    assert (error < 0.1).mean() >= 0.98
    assert (np.abs(quantised(ours) - quantised(reference)) <= 1).mean() >= 0.99
    return ours, reference


@pytest.mark.parametrize("config", [TvL1Config(), TvL1Config.denseflow()], ids=["default", "denseflow"])
def test_moving_textures(config, moving_pairs, epe):
    frames0, frames1, truth = moving_pairs(112, 150, [0.7, 2.0, 4.0, 7.0] * 2)
    ours, reference = assert_equal_to_opencv(frames0, frames1, config, epe, FEW)
    inside = (slice(None), slice(12, -12), slice(12, -12))
    assert epe(ours, truth)[inside].mean() <= 1.01 * epe(reference, truth)[inside].mean()


@pytest.mark.slow
@pytest.mark.parametrize("config", [TvL1Config(), TvL1Config.denseflow()], ids=["default", "denseflow"])
def test_moving_textures_at_full_size(config, moving_pairs, epe):
    frames0, frames1, truth = moving_pairs(256, 340, [0.7, 2.0, 4.0, 7.0])
    ours, reference = assert_equal_to_opencv(frames0, frames1, config, epe)
    assert epe(ours, truth).mean() <= 1.01 * epe(reference, truth).mean()


def read(path, width, height, starts):
    """Pairs of neighbouring grey frames from these positions on."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(cv2.resize(read[1], (width, height)), cv2.COLOR_BGR2GRAY))
    return np.stack([frames[s] for s in starts]), np.stack([frames[s + 1] for s in starts])


def test_synthetic_videos_with_known_flow(epe):
    config = SynthConfig(widths=(128,), heights=(112,))
    frames0, frames1, truth = [], [], []
    for label in range(4):
        scene = draw_scene(config, label, (0, label))
        middle = len(scene.shift_V2) // 2
        for frame, batch in ((middle, frames0), (middle + 1, frames1)):
            batch.append(cv2.cvtColor(render_frame(scene, frame), cv2.COLOR_RGB2GRAY))
        truth.append(optical_flow(scene, middle))
    ours, reference = assert_equal_to_opencv(np.stack(frames0), np.stack(frames1), TvL1Config(), epe, FEW)
    assert epe(ours, np.stack(truth)).mean() <= 1.01 * epe(reference, np.stack(truth)).mean()


@pytest.mark.parametrize("clip", REAL[:2])
def test_real_clips(clip, epe):
    if not CLIPS.is_dir():
        pytest.skip(f"the real clips are not at {CLIPS}")
    assert_equal_to_opencv(*read(CLIPS / clip, 170, 128, (5, 20, 40)), TvL1Config(), epe, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("config", [TvL1Config(), TvL1Config.denseflow()], ids=["default", "denseflow"])
def test_real_clips_at_full_size(config, epe):
    if not CLIPS.is_dir():
        pytest.skip(f"the real clips are not at {CLIPS}")
    pairs = [read(CLIPS / clip, 340, 256, (2, 20, 40)) for clip in REAL]
    assert_equal_to_opencv(*(np.concatenate(frames) for frames in zip(*pairs, strict=True)), config, epe)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"tau": 0.15},
        {"lambda_": 0.3},
        {"theta": 0.2},
        {"scales": 3},
        {"scale_step": 0.5},
        {"median": 3},
        {"median": 1},
    ],
)
def test_fixed_iterations_agree_to_rounding_with_every_parameter(change, moving_pairs, epe):
    frames0, frames1, _ = moving_pairs(57, 83, [0.5, 1.0])
    fixed = {"stop": "fixed", "inner_iterations": 6, "outer_iterations": 2, "warps": 2, "scales": 2}
    config = TvL1Config(**{**fixed, **change})
    ours, reference = (solve(frames0, frames1, config, backend=name).flow_NHW2 for name in ("numba", "opencv"))
    assert epe(ours, reference).mean() <= 1e-5


def test_float_frames_give_the_flow_of_the_same_bytes(moving_pairs):
    frames0, frames1, _ = moving_pairs(32, 48, [1.0])
    as_bytes = solve(frames0, frames1).flow_NHW2
    as_floats = solve(frames0.astype(np.float32), frames1.astype(np.float32)).flow_NHW2
    np.testing.assert_array_equal(as_bytes, as_floats)


def test_a_pair_does_not_depend_on_what_its_buffers_held_before(moving_pairs):
    frames0, frames1, _ = moving_pairs(40, 64, [6.0, 0.5])
    alone = solve(frames0[1:], frames1[1:])
    after = solve(frames0, frames1)
    np.testing.assert_array_equal(alone.flow_NHW2[0], after.flow_NHW2[1])
    assert alone.iterations_N[0] == after.iterations_N[1]


def test_the_cuda_algorithm_is_another_one_that_works_too(moving_pairs, epe):
    frames0, frames1, truth = moving_pairs(112, 150, [0.7, 2.0])
    inside = (slice(None), slice(16, -16), slice(16, -16))
    cpu, cuda = (solve(frames0, frames1, config).flow_NHW2 for config in (TvL1Config.denseflow(), TvL1Config.cuda()))
    assert epe(cpu, cuda)[inside].mean() > 0.005
    assert epe(cuda, truth)[inside].mean() < 0.05


@pytest.mark.slow
def test_the_compiler_runs_once_a_machine(tmp_path):
    code = (
        "import numpy as np; from pipeline.flow.tvl1 import numba_backend, solve;"
        "solve(*np.zeros((2, 1, 16, 16), np.uint8)); print(sum(numba_backend._solve_pair().stats.cache_hits.values()))"
    )
    call = {"cwd": ROOT, "env": {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}, "capture_output": True, "text": True}
    runs = [subprocess.run([sys.executable, "-c", code], check=True, **call) for _ in range(2)]
    assert [run.stdout.strip() for run in runs] == ["0", "1"]
