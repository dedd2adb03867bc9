"""The median against OpenCV's, which is a selection and so has no rounding."""

import cv2
import numpy as np
import pytest

from pipeline.flow.tvl1.median import median3, median5
from pipeline.flow.tvl1.workspace import GUARD, PLANES, STATE_A, allocate, plane_pitch


def filtered(median, image_HW):
    height, width = image_HW.shape
    work, pitch = allocate(((height, width),)), plane_pitch(width)
    state = work.state[: (height + 1) * PLANES * pitch].reshape(height + 1, PLANES, pitch)
    plane = state[1:, STATE_A, GUARD : GUARD + width]
    plane[:] = image_HW
    median(work.state, height, width, pitch, STATE_A, work.flow, work.rows)
    return plane


@pytest.mark.parametrize(("median", "side"), [(median3, 3), (median5, 5)])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 31), (120, 165)])
def test_it_is_opencv_s_median(median, side, height, width):
    rng = np.random.default_rng(height)
    distinct = rng.permutation(height * width).reshape(height, width).astype(np.float32)
    tied = rng.integers(0, 4, (height, width)).astype(np.float32)
    binary = rng.integers(0, 2, (height, width)).astype(np.float32)  # with 0-1 inputs, a network that errs shows
    for image_HW in (distinct, tied, binary, np.sort(distinct.ravel()).reshape(height, width)):
        np.testing.assert_array_equal(filtered(median, image_HW), cv2.medianBlur(image_HW, side))
