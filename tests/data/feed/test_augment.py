"""Geometry and colour against NumPy, and one decision for all frames of a clip."""

import colorsys
import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.config import AugmentConfig, ClipConfig
from pipeline.data.feed.augment import Box, Colour, Decision, apply, colour_matrix, draw, view_crop

STILL = AugmentConfig(flip=0, brightness=0, contrast=0, saturation=0, hue=0)
LUMA = np.array([0.299, 0.587, 0.114])


def noise(frames, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def smooth(frames, height, width, seed=0):
    small = noise(frames, 4, 5, seed)
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in small])


def clip_of(size, short_side=None):
    return ClipConfig(size=size, short_side=short_side or size)


def bilinear(frame, height, width):
    """Bilinear resize with pixel centres aligned, in floats."""

    def taps(length, new):
        at = np.clip((np.arange(new) + 0.5) * length / new - 0.5, 0, length - 1)
        low = np.minimum(at.astype(int), max(length - 2, 0))
        return low, np.minimum(low + 1, length - 1), (at - low)

    y0, y1, fy = taps(frame.shape[0], height)
    x0, x1, fx = taps(frame.shape[1], width)
    frame, fy, fx = frame.astype(float), fy[:, None, None], fx[None, :, None]
    rows = frame[y0] * (1 - fy) + frame[y1] * fy
    return rows[:, x0] * (1 - fx) + rows[:, x1] * fx


# --- geometry


@pytest.mark.parametrize("box", [Box(3, 5, 20, 31), Box(0, 0, 40, 50), Box(39, 49, 1, 1), Box(7, 1, 16, 16)])
@pytest.mark.parametrize("flip", [False, True])
def test_crop_resize_and_flip_equal_numpy(box, flip):
    frames = noise(3, 40, 50)
    x = apply(frames, Decision(box, flip, Colour()), clip_of(24))
    for frame, out in zip(frames, x, strict=True):
        cropped = frame[box.top : box.top + box.height, box.left : box.left + box.width]
        expected = bilinear(cropped, 24, 24)
        expected = expected[:, ::-1] if flip else expected
        assert np.abs(out - expected).max() <= 1.01, "fixed-point weights round once more"


def test_a_strong_shrink_averages_pixels():
    frames = noise(1, 64, 96)
    x = apply(frames, Decision(Box(0, 0, 64, 96), False, Colour()), clip_of(16))
    expected = frames[0].reshape(16, 4, 16, 6, 3).mean((1, 3))
    assert np.abs(x[0] - expected).max() <= 0.51


def test_a_crop_of_the_clips_size_is_copied_bit_for_bit():
    frames = noise(4, 30, 40)
    x = apply(frames, Decision(Box(2, 9, 24, 24), False, Colour()), clip_of(24))
    assert np.array_equal(x, frames[:, 2:26, 9:33])
    flipped = apply(frames, Decision(Box(2, 9, 24, 24), True, Colour()), clip_of(24))
    assert np.array_equal(flipped, frames[:, 2:26, 9:33][:, :, ::-1]), "left to right, never upside down"


@pytest.mark.parametrize("crop", ["random_resized", "multiscale_corner", "center"])
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    low=st.floats(0.05, 1),
    ratio=st.floats(1, 3),
)
@settings(deadline=None)
def test_every_drawn_box_lies_inside_the_frame(crop, seed, height, width, low, ratio):
    augment = AugmentConfig(crop=crop, area=(low, 1.0), ratio=(1 / ratio, ratio))
    box = draw(np.random.default_rng(seed), augment, height, width, may_flip=True).box
    if crop == "center":
        assert box is None
        return
    assert box.height >= 1
    assert box.width >= 1
    assert 0 <= box.top <= height - box.height
    assert 0 <= box.left <= width - box.width


def test_random_resized_boxes_cover_the_ranges_of_area_and_ratio():
    augment = AugmentConfig(area=(0.25, 0.5), ratio=(0.5, 2.0))
    rng = np.random.default_rng(0)
    boxes = [draw(rng, augment, 200, 300, may_flip=True).box for _ in range(2000)]
    areas = np.array([box.height * box.width / (200 * 300) for box in boxes])
    ratios = np.array([box.width / box.height for box in boxes])
    assert 0.24 < areas.min() < 0.27
    assert 0.48 < areas.max() < 0.51
    assert 0.49 < ratios.min() < 0.55
    assert 1.8 < ratios.max() < 2.03
    assert abs(np.median(np.log(ratios))) < 0.1, "as often tall as wide"


def test_a_shape_that_cannot_fit_falls_back_to_the_middle():
    augment = AugmentConfig(area=(1.0, 1.0), ratio=(1.0, 1.0))
    assert draw(np.random.default_rng(0), augment, 20, 50, may_flip=True).box == Box(0, 15, 20, 20)


def test_multiscale_corner_draws_13_places_and_neighbouring_scales():
    augment = AugmentConfig(crop="multiscale_corner", scales=(1.0, 0.75, 0.5))
    rng = np.random.default_rng(0)
    boxes = {draw(rng, augment, 80, 120, may_flip=True).box for _ in range(5000)}
    shapes = {(box.height, box.width) for box in boxes}
    assert shapes == {(80, 80), (80, 60), (60, 80), (60, 60), (60, 40), (40, 60), (40, 40)}
    places = {(box.top, box.left) for box in boxes if (box.height, box.width) == (40, 40)}
    grid = {(10 * i, 20 * j) for i in range(5) for j in range(5)}
    corners_and_edges = {(i, j) for i, j in grid if i % 20 == 0 and j % 40 == 0}
    quadrants = {(i, j) for i, j in grid if i % 20 == 10 and j % 40 == 20}
    assert places == corners_and_edges | quadrants
    assert len(places) == 13


# --- one decision a clip


def test_identical_frames_stay_identical_and_a_decision_repeats():
    frames = np.repeat(smooth(1, 60, 80), 6, axis=0)
    for crop in ("random_resized", "multiscale_corner", "center"):
        augment = AugmentConfig(crop=crop)
        for seed in range(20):
            decision = draw(np.random.default_rng(seed), augment, 60, 80, may_flip=True)
            x = apply(frames, decision, clip_of(32, 40))
            assert (x == x[:1]).all()
            assert np.array_equal(x, apply(frames, decision, clip_of(32, 40)))
            assert decision == draw(np.random.default_rng(seed), augment, 60, 80, may_flip=True)
    assert np.array_equal(frames, np.repeat(smooth(1, 60, 80), 6, axis=0)), "the decoded frames are left alone"


def test_flips_come_as_often_as_asked_and_never_where_forbidden():
    rng = np.random.default_rng(0)
    augment = AugmentConfig(flip=0.3)
    flips = [draw(rng, augment, 40, 40, may_flip=True).flip for _ in range(4000)]
    assert abs(np.mean(flips) - 0.3) < 0.03
    assert not any(draw(rng, augment, 40, 40, may_flip=False).flip for _ in range(200))
    assert all(draw(rng, AugmentConfig(flip=1), 40, 40, may_flip=True).flip for _ in range(200))
    assert not any(draw(rng, AugmentConfig(flip=0), 40, 40, may_flip=True).flip for _ in range(200))


def test_a_forbidden_flip_changes_nothing_else():
    for seed in range(20):
        free = draw(np.random.default_rng(seed), AugmentConfig(), 50, 60, may_flip=True)
        held = draw(np.random.default_rng(seed), AugmentConfig(), 50, 60, may_flip=False)
        assert dataclasses.replace(free, flip=False) == held


# --- colour


def recoloured(frames, colour):
    return apply(frames, Decision(Box(0, 0, *frames.shape[1:3]), False, colour), clip_of(frames.shape[1]))


def test_no_change_of_colour_is_exact():
    frames = noise(2, 16, 16)
    assert np.array_equal(recoloured(frames, Colour()), frames)
    assert np.abs(colour_matrix(Colour(), 99.0) - np.eye(3, 4)).max() < 1e-12


@pytest.mark.parametrize(
    ("colour", "reference"),
    [
        (Colour(brightness=0.1), lambda x, grey, mean: x + 25.5),
        (Colour(brightness=-0.5), lambda x, grey, mean: x - 127.5),
        (Colour(contrast=0.4), lambda x, grey, mean: mean + 1.4 * (x - mean)),
        (Colour(contrast=-1.0), lambda x, grey, mean: np.full_like(x, mean)),
        (Colour(saturation=0.4), lambda x, grey, mean: grey + 1.4 * (x - grey)),
        (Colour(saturation=-1.0), lambda x, grey, mean: np.broadcast_to(grey, x.shape)),
    ],
)
def test_each_change_equals_numpy_and_clips(colour, reference):
    frames = noise(3, 20, 20)
    grey = (frames @ LUMA)[..., None]
    expected = np.clip(reference(frames.astype(float), grey, grey.mean()), 0, 255)
    assert np.abs(recoloured(frames, colour) - expected).max() < 1, "OpenCV's weights are fixed-point"


def test_hue_turns_the_colour_circle_and_keeps_luma_and_grey():
    x = np.random.default_rng(0).uniform(0, 255, (500, 3))
    turned = x @ colour_matrix(Colour(hue=0.1), 0.0)[:, :3].T
    assert np.abs(turned @ LUMA - x @ LUMA).max() < 1e-9
    assert np.abs(np.full(3, 77.0) @ colour_matrix(Colour(hue=0.1), 0.0)[:, :3].T - 77).max() < 1e-9
    thrice = np.linalg.matrix_power(colour_matrix(Colour(hue=1 / 3), 0.0)[:, :3], 3)
    assert np.abs(thrice - np.eye(3)).max() < 1e-9, "three thirds of a turn are a whole one"
    red = np.array([150.0, 50.0, 50.0]) @ colour_matrix(Colour(hue=1 / 3), 0.0)[:, :3].T
    assert (
        abs(colorsys.rgb_to_hsv(*red / 255)[0] - 1 / 3) < 0.1 or abs(colorsys.rgb_to_hsv(*red / 255)[0] - 2 / 3) < 0.1
    )


def test_changes_compose_in_any_order():
    brightness, contrast = Colour(brightness=0.1), Colour(contrast=0.3)
    saturation, hue = Colour(saturation=-0.3), Colour(hue=0.07)
    x = np.random.default_rng(0).uniform(60, 180, (400, 3))
    both = x @ colour_matrix(Colour(0.1, 0.3, -0.3, 0.07), (x @ LUMA).mean())[:, :3].T
    for order in ([brightness, contrast, saturation, hue], [hue, contrast, brightness, saturation]):
        y = x
        for colour in order:
            matrix = colour_matrix(colour, (y @ LUMA).mean())
            y = y @ matrix[:, :3].T + matrix[:, 3]
        whole = colour_matrix(Colour(0.1, 0.3, -0.3, 0.07), (x @ LUMA).mean())
        assert np.abs(y - (both + whole[:, 3])).max() < 1e-9


def test_draws_fill_their_ranges():
    augment = AugmentConfig(brightness=0.1, contrast=0.2, saturation=0.3, hue=0.05)
    colours = [draw(np.random.default_rng(s), augment, 40, 40, may_flip=True).colour for s in range(500)]
    for name in ("brightness", "contrast", "saturation", "hue"):
        values = np.array([getattr(colour, name) for colour in colours])
        limit = getattr(augment, name)
        assert -limit <= values.min() < -0.95 * limit
        assert limit >= values.max() > 0.95 * limit
        assert abs(values.mean()) < 0.12 * limit
    assert draw(np.random.default_rng(0), STILL, 40, 40, may_flip=True).colour == Colour()


# --- test crops


def test_crops_of_frames_at_the_short_side_are_slices():
    frames = noise(2, 40, 61)
    clip = clip_of(32, 40)
    centre = frames[:, 4:36, 14:46]
    assert np.array_equal(view_crop(frames, clip, crop=0, crops=1), centre)
    along = [view_crop(frames, clip, crop=c, crops=3) for c in range(3)]
    assert all(np.array_equal(x, frames[:, 4:36, left : left + 32]) for x, left in zip(along, (0, 14, 29), strict=True))
    five = [frames[:, top : top + 32, left : left + 32] for top, left in [(0, 0), (0, 29), (8, 0), (8, 29), (4, 14)]]
    ten = [view_crop(frames, clip, crop=c, crops=10) for c in range(10)]
    assert all(np.array_equal(x, y) for x, y in zip(ten, five + [y[:, :, ::-1] for y in five], strict=True))


def test_three_crops_of_a_tall_video_run_from_top_to_bottom():
    frames = noise(1, 61, 40)
    along = [view_crop(frames, clip_of(40), crop=c, crops=3) for c in range(3)]
    assert all(np.array_equal(x, frames[:, top : top + 40]) for x, top in zip(along, (0, 10, 21), strict=True))


def test_other_frames_are_resized_to_the_short_side_first():
    frames = smooth(2, 60, 91)
    x = view_crop(frames, clip_of(32, 40), crop=0, crops=1)
    for frame, out in zip(frames, x, strict=True):
        expected = bilinear(frame, 40, 61)[4:36, 14:46]
        assert np.abs(out - expected).max() <= 1.01


def test_a_view_owns_its_pixels():
    frames = noise(1, 32, 32)
    kept = frames.copy()
    view_crop(frames, clip_of(32), crop=0, crops=1)[:] = 0
    assert np.array_equal(frames, kept)


def test_absent_crops_are_refused():
    with pytest.raises(ValueError, match="crop 3 of 3"):
        view_crop(noise(1, 32, 32), clip_of(32), crop=3, crops=3)
