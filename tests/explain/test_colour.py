"""JET and overlay at known values, against OpenCV's own table and hand computation."""

import cv2
import numpy as np
import pytest

from pipeline.explain.colour import jet, overlay, resized


def test_jet_is_opencvs_table_in_rgb_order():
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_JET)[:, 0, ::-1]
    assert (jet(np.arange(256) / 255) == table).all()
    red, green, blue = jet(np.array(1.0)).tolist()
    assert red > 100
    assert green == blue == 0
    red, green, blue = jet(np.array(0.0)).tolist()
    assert blue > 100
    assert red == green == 0


def test_jet_keeps_the_shape_and_refuses_what_is_no_attention():
    assert jet(np.zeros((2, 3, 4))).shape == (2, 3, 4, 3)
    for bad in (-0.01, 1.01, np.nan):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            jet(np.array([0.5, bad]))


def test_overlay_is_six_tenths_frame_and_four_tenths_colour():
    frame = np.random.default_rng(0).integers(0, 256, size=(28, 28, 3), dtype=np.uint8)
    drawn = overlay(frame, np.full((14, 14), 0.75, np.float32))
    by_hand = 0.6 * frame + 0.4 * jet(np.array(0.75)).astype(float)
    assert np.abs(drawn - by_hand).max() <= 0.5 + 1e-6


def test_the_map_is_resized_before_it_is_coloured():
    # Between a 0 and a 1 pixel 50 of 100 is 0.51, which JET shows as green; colouring first would give blue-red purple.
    drawn = overlay(np.zeros((1, 100, 3), np.uint8), np.array([[0.0, 1.0]], np.float32))
    middle = drawn[0, 50].astype(int)
    assert middle[1] > 90
    assert (np.abs(drawn[0, 50] - 0.4 * jet(np.array(0.51))) <= 1.0).all()


def test_resizing_keeps_a_constant_frame():
    frame = np.full((10, 12, 3), 77, np.uint8)
    for side in (5, 30):
        assert (resized(frame, side, side) == 77).all()
        assert resized(frame, side, side).shape == (side, side, 3)
