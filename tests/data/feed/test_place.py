"""Boxes follow the pixels, and cells know how much of them a box covers."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.data.config import AugmentConfig, ClipConfig
from pipeline.data.feed.augment import Colour, apply, draw, view_crop
from pipeline.data.feed.clips import clip_generator
from pipeline.data.feed.place import Place, centre_place, covered, place_of
from pipeline.data.feed.sampling import draw_indices
from pipeline.data.store.catalog import CatalogRow

BOX = (0.3, 0.25, 0.6, 0.7)


def picture(height, width):
    """Black, with BOX in white."""
    frames_THWC = np.zeros((1, height, width, 3), np.uint8)
    left, top, right, bottom = BOX
    frames_THWC[:, round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = 255
    return frames_THWC


def seen_box(clip_HWC):
    """Left, top, right, bottom of what is white, as shares of the clip."""
    rows, columns = (np.flatnonzero(clip_HWC[:, :, 0].max(axis=axis) > 127) for axis in (1, 0))
    side = clip_HWC.shape[0]
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / side


@pytest.mark.parametrize(("height", "width"), [(80, 120), (120, 80), (64, 64), (240, 400)])
def test_a_test_clip_shows_a_box_where_its_place_says(height, width):
    clip = ClipConfig(frames=4, size=56, short_side=64)
    shown = centre_place(height, width, clip).seen(np.array([BOX], np.float32))
    found = seen_box(view_crop(picture(height, width), clip, crop=0, crops=1)[0])
    np.testing.assert_allclose(np.clip(shown[0], 0, 1), found, atol=1.5 / 56)


@pytest.mark.parametrize("epoch", range(8))
def test_a_training_clip_shows_a_box_where_its_place_says_mirrored_or_not(epoch):
    clip, augment = ClipConfig(frames=4, size=96, short_side=100), AugmentConfig(area=(0.7, 1.0))
    video = CatalogRow(id="v", path="v", label=0, split=("train",), status="readable", frames=9, height=160, width=200)
    rng = clip_generator(1, epoch, "v")
    draw_indices(9, clip, rng)
    decision = replace(draw(rng, augment, 160, 200, may_flip=True), colour=Colour())
    place = place_of(video, clip, augment, (0,), seed=1, epoch=epoch)
    shown = place.seen(np.array([BOX], np.float32))[0]
    assert place.flip == decision.flip
    assert shown[0] < shown[2]
    np.testing.assert_allclose(np.clip(shown, 0, 1), seen_box(apply(picture(160, 200), decision, clip)[0]), atol=2 / 96)


def test_a_cell_is_covered_by_the_share_of_its_pixels_in_the_boxes():
    rng = np.random.default_rng(0)
    fine = 40
    for _ in range(20):
        # A left and a right box, so that they do not overlap; corners on the fine grid, and some outside the picture.
        boxes = [rng.integers(0, 90, 4) / 280 + [start, 0, start, 0] for start in (-0.05, 0.5)]
        boxes_N4 = np.stack([np.concatenate([np.minimum(b[:2], b[2:]), np.maximum(b[:2], b[2:])]) for b in boxes])
        boxes_N4 = (np.rint(boxes_N4 * 7 * fine) / (7 * fine)).astype(np.float32)
        centre = (np.arange(7 * fine) + 0.5) / (7 * fine)
        inside = np.zeros((7 * fine, 7 * fine))
        for left, top, right, bottom in boxes_N4:
            inside += ((centre > top) & (centre < bottom))[:, None] & ((centre > left) & (centre < right))
        expected = inside.reshape(7, fine, 7, fine).mean(axis=(1, 3))
        np.testing.assert_allclose(covered(boxes_N4, 7, 7), expected, atol=1e-4)
    assert not covered(np.zeros((0, 4), np.float32), 3, 5).any()


def test_a_whole_picture_in_the_mirror():
    boxes = np.array([[0.1, 0.2, 0.4, 0.9]], np.float32)
    np.testing.assert_allclose(Place(0, 0, 1, 1, True).seen(boxes), [[0.6, 0.2, 0.9, 0.9]], rtol=1e-6)
