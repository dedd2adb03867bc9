"""Pairs of frames whose flow is known, and OpenCV's opinion of them."""

import cv2
import numpy as np
import pytest


def texture(height, width, seed):
    """Smooth random texture, float32 from 0 to 255."""
    rng = np.random.default_rng(seed)
    image_HW = np.zeros((height, width), np.float32)
    for sigma in (1.0, 2.5, 6.0):
        octave_HW = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), sigma)
        image_HW += sigma**0.5 * octave_HW / octave_HW.std()
    return np.clip(127 + 35 * image_HW, 0, 255)


def moving_pair(height, width, seed, reach, noise=1.5):
    """Two uint8 frames of a turning, growing, shifting texture, and the true flow, at most about `reach` pixels."""
    rng = np.random.default_rng(seed)
    angle, grow = rng.uniform(-1, 1, 2) * 0.5 * reach / max(height, width)
    shift_2 = rng.uniform(-0.7, 0.7, 2) * reach
    y_HW, x_HW = np.mgrid[:height, :width].astype(np.float32)
    x_HW, y_HW = x_HW - width / 2, y_HW - height / 2
    flow_HW2 = np.stack([grow * x_HW - angle * y_HW, angle * x_HW + grow * y_HW], -1) + shift_2
    flow_HW2 = flow_HW2.astype(np.float32)
    margin = int(2 * reach) + 8
    large_HW = texture(height + 2 * margin, width + 2 * margin, seed)
    # frame 1 is the texture as it lies; frame 0 looks where each of its pixels goes to, so the flow is exact
    at_HW2 = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32) + margin + flow_HW2
    frame0_HW = cv2.remap(large_HW, at_HW2, None, cv2.INTER_CUBIC)
    frame1_HW = large_HW[margin : margin + height, margin : margin + width]
    frames = [
        np.clip(np.rint(f + rng.normal(0, noise, f.shape)), 0, 255).astype(np.uint8) for f in (frame0_HW, frame1_HW)
    ]
    return *frames, flow_HW2


def moving_pairs(height, width, reaches):
    """(frames0_NHW, frames1_NHW, flow_NHW2), a pair for each reach."""
    pairs = [moving_pair(height, width, seed, reach) for seed, reach in enumerate(reaches)]
    return tuple(np.stack(parts) for parts in zip(*pairs, strict=True))


def end_point_error(flow0_NHW2, flow1_NHW2):
    return np.linalg.norm(flow0_NHW2.astype(np.float64) - flow1_NHW2, axis=-1)


@pytest.fixture(scope="session", name="moving_pairs")
def moving_pairs_fixture():
    return moving_pairs


@pytest.fixture(scope="session", name="epe")
def end_point_error_fixture():
    return end_point_error
