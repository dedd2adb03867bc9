"""Resizing and slopes on the device, against OpenCV's."""

import cv2
import numpy as np
import pytest
import torch

from pipeline.flow.tvl1 import TvL1Config
from pipeline.flow.tvl1.triton_pyramid import Resize, slopes

CPU = torch.device("cpu")
IMAGES_NHW = np.random.default_rng(0).uniform(0, 255, (2, 51, 67)).astype(np.float32)


@pytest.mark.parametrize("step", [0.8, 0.5, 0.65])
def test_images_shrink_as_in_opencv(step):
    config = TvL1Config(scale_step=step)
    size = config.levels(51, 67)[1]
    small_NHW = Resize.down((51, 67), size, config, CPU)(torch.from_numpy(IMAGES_NHW)).numpy()
    for small_HW, image_HW in zip(small_NHW, IMAGES_NHW, strict=True):
        expected_HW = cv2.resize(image_HW, None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
        assert expected_HW.shape == size
        np.testing.assert_allclose(small_HW, expected_HW, atol=2e-3)


def test_flow_grows_as_in_opencv():
    large_NHW = Resize.up((51, 67), (64, 84), TvL1Config(), CPU)(torch.from_numpy(IMAGES_NHW)).numpy()
    for large_HW, image_HW in zip(large_NHW, IMAGES_NHW, strict=True):
        np.testing.assert_allclose(large_HW, cv2.resize(image_HW, (84, 64)), atol=2e-3)


@pytest.mark.parametrize("size", [(41, 54), (64, 84)])
def test_opencvs_cuda_code_resizes_about_the_first_corner(size):
    """Target pixel (x, y) samples the source at (x, y) times the ratio; beyond the last pixel the border repeats."""
    config = TvL1Config.cuda()
    resize = Resize.down if size[0] < 51 else Resize.up
    ratios = (1.25, 1.25) if size[0] < 51 else (51 / 64, 67 / 84)
    y_HW, x_HW = (
        np.float32(r) * a.astype(np.float32) for r, a in zip(ratios, np.mgrid[: size[0], : size[1]], strict=True)
    )
    resized_NHW = resize((51, 67), size, config, CPU)(torch.from_numpy(IMAGES_NHW)).numpy()
    for resized_HW, image_HW in zip(resized_NHW, IMAGES_NHW, strict=True):
        expected_HW = cv2.remap(image_HW, x_HW, y_HW, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        np.testing.assert_allclose(resized_HW, expected_HW, atol=2e-2)


def test_slopes_are_central_differences_with_the_border_repeated():
    expected = (
        cv2.filter2D(image_HW, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        for kernel in (np.array([[-0.5, 0, 0.5]]), np.array([[-0.5], [0], [0.5]]))
        for image_HW in IMAGES_NHW
    )
    found = torch.cat(slopes(torch.from_numpy(IMAGES_NHW))).numpy()
    np.testing.assert_allclose(found, np.stack(list(expected)), atol=1e-4)
