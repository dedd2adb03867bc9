"""Resizing against OpenCV's, and against a plain loop for the CUDA algorithm."""

import cv2
import numpy as np
import pytest

from pipeline.flow.tvl1.pyramid import resize
from pipeline.flow.tvl1.workspace import row_pitch

SIZES = [(20, 33, 16, 26), (16, 26, 20, 33), (16, 16, 16, 16), (64, 50, 21, 40)]


def resized(image_HW, height, width, scale_y, scale_x, factor, centred):
    """Through buffers with an offset and a pitch of their own."""
    rows, columns = image_HW.shape
    source = np.full((rows + 1, columns + 5), np.nan, np.float32)
    source[:rows, 3 : 3 + columns] = image_HW
    source = np.append(source, np.zeros(16, np.float32)).astype(np.float32)
    target = np.full((height, width + 2), -1, np.float32)
    scratch = np.zeros(4 * row_pitch(max(width, columns)), np.float32)
    resize(
        np.nan_to_num(source), 3, columns + 5, rows, columns,
        target.reshape(-1), 1, width + 2, height, width,
        scale_y, scale_x, np.float32(factor), centred, scratch, np.zeros(scratch.size, np.int32),
    )  # fmt: skip
    assert (target[:, 0] == -1).all()
    assert (target[:, -1] == -1).all()
    return target[:, 1:-1]


@pytest.mark.parametrize(("rows", "columns", "height", "width"), SIZES)
def test_centred_resizing_is_opencv_s(rows, columns, height, width):
    image_HW = np.random.default_rng(0).uniform(0, 255, (rows, columns)).astype(np.float32)
    ours = resized(image_HW, height, width, rows / height, columns / width, 1.0, True)
    expected = cv2.resize(image_HW, (width, height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(ours, expected, atol=4e-5)


def test_a_level_is_resized_by_the_step_and_not_by_the_ratio_of_sizes():
    image_HW = np.random.default_rng(0).uniform(0, 255, (33, 47)).astype(np.float32)
    expected = cv2.resize(image_HW, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_LINEAR)
    ours = resized(image_HW, *expected.shape, 1 / 0.8, 1 / 0.8, 1.0, True)
    np.testing.assert_allclose(ours, expected, atol=4e-5)
    by_ratio = resized(image_HW, *expected.shape, 33 / 26, 47 / 38, 1.0, True)
    assert np.abs(by_ratio - expected).max() > 1


@pytest.mark.parametrize(("rows", "columns", "height", "width"), SIZES)
def test_cornered_resizing_is_that_of_opencv_s_cuda_code(rows, columns, height, width):
    image_HW = np.random.default_rng(0).uniform(0, 255, (rows, columns)).astype(np.float32)
    ours = resized(image_HW, height, width, rows / height, columns / width, 1.25, False)
    for y, x in np.ndindex(height, width):
        at_y, at_x = np.float32(y) * np.float32(rows / height), np.float32(x) * np.float32(columns / width)
        top, left = int(at_y), int(at_x)
        value = 0.0
        for j, weight_y in ((top, top + 1 - at_y), (top + 1, at_y - top)):
            for i, weight_x in ((left, left + 1 - at_x), (left + 1, at_x - left)):
                value += weight_y * weight_x * image_HW[min(j, rows - 1), min(i, columns - 1)]
        assert ours[y, x] == pytest.approx(1.25 * value, abs=2e-3)
