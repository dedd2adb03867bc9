"""Sampling against OpenCV's remap, and against a plain loop for the CUDA algorithm."""

import cv2
import numpy as np
import pytest

from pipeline.flow.tvl1.warp import pack, warp
from pipeline.flow.tvl1.workspace import GUARD, PLANES, STATE_A, allocate, plane_pitch

HEIGHT, WIDTH = 21, 37


def sampled(image_HW, first_HW, flow_HW2, cubic, repeat):
    """The constant planes: gradient right and down, inverse square, residual; (4, H, W)."""
    work, pitch = allocate(((HEIGHT, WIDTH),)), plane_pitch(WIDTH)
    work.image0[: HEIGHT * WIDTH], work.image1[: HEIGHT * WIDTH] = first_HW.ravel(), image_HW.ravel()
    state = work.state[: (HEIGHT + 1) * PLANES * pitch].reshape(HEIGHT + 1, PLANES, pitch)
    planes = state[1:, :, GUARD : GUARD + WIDTH].transpose(1, 0, 2)
    planes[STATE_A], planes[STATE_A + 1] = flow_HW2[..., 0], flow_HW2[..., 1]
    pack(work.image1, 0, HEIGHT, WIDTH, work.texels, work.rows, repeat)
    warp(work, 0, HEIGHT, WIDTH, pitch, STATE_A, np.float32(cubic))
    return planes[:4]


def gradients(image_HW):
    wide_HW = np.pad(image_HW, 1, mode="edge").astype(np.float32)
    return (wide_HW[1:-1, 2:] - wide_HW[1:-1, :-2]) / 2, (wide_HW[2:, 1:-1] - wide_HW[:-2, 1:-1]) / 2


def frames_and_flow(reach):
    rng = np.random.default_rng(3)
    images = rng.uniform(0, 255, (2, HEIGHT, WIDTH)).astype(np.float32)
    return *images, rng.uniform(-reach, reach, (HEIGHT, WIDTH, 2)).astype(np.float32)


@pytest.mark.parametrize("reach", [0.0, 1.5, 8.0, 400.0])
def test_opencv_s_cpu_sampling(reach):
    image_HW, first_HW, flow_HW2 = frames_and_flow(reach)
    at_HW2 = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1).astype(np.float32) + flow_HW2
    warped, right, down = (
        cv2.remap(plane, at_HW2, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
        for plane in (image_HW, *gradients(image_HW))
    )
    planes = sampled(image_HW, first_HW, flow_HW2, -0.75, False)
    np.testing.assert_allclose(planes[0], right, atol=2e-3)
    np.testing.assert_allclose(planes[1], down, atol=2e-3)
    square = planes[0].astype(np.float64) ** 2 + planes[1].astype(np.float64) ** 2
    np.testing.assert_allclose(planes[2], 1 / np.maximum(square, 1e-20), rtol=1e-5)
    expected = warped - right * flow_HW2[..., 0] - down * flow_HW2[..., 1] - first_HW
    np.testing.assert_allclose(planes[3], expected, atol=1e-2 + 2e-3 * reach)


def catmull_rom(distance):
    d = abs(distance)
    if d <= 1:
        return d * d * (1.5 * d - 2.5) + 1
    return d * (d * (-0.5 * d + 2.5) - 4) + 2 if d < 2 else 0.0


def by_cuda(image_HW, x, y):
    """OpenCV's CUDA kernel: every integer point within 2, over the sum of weights, reads clamped."""
    total = weights = 0.0
    for j in range(int(np.ceil(y - 2)), int(np.floor(y + 2)) + 1):
        for i in range(int(np.ceil(x - 2)), int(np.floor(x + 2)) + 1):
            weight = catmull_rom(x - i) * catmull_rom(y - j)
            total += weight * image_HW[min(max(j, 0), HEIGHT - 1), min(max(i, 0), WIDTH - 1)]
            weights += weight
    return total / weights


@pytest.mark.parametrize("reach", [0.0, 1.5, 60.0])
def test_opencv_s_cuda_sampling(reach):
    image_HW, first_HW, flow_HW2 = frames_and_flow(reach)
    planes = sampled(image_HW, first_HW, flow_HW2, -0.5, True)
    right_HW, down_HW = gradients(image_HW)
    for y, x in np.ndindex(HEIGHT, WIDTH):
        u, v = (float(part) for part in flow_HW2[y, x])
        frame, right, down = (by_cuda(plane, x + u, y + v) for plane in (image_HW, right_HW, down_HW))
        np.testing.assert_allclose(planes[:2, y, x], [right, down], atol=4e-3)
        expected = frame - right * u - down * v - first_HW[y, x]
        np.testing.assert_allclose(planes[3, y, x], expected, atol=1e-2 + 8e-3 * reach)
