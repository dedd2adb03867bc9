"""Places, crops and flips of a sample, against arithmetic done by hand."""

import cv2
import numpy as np
import pytest
import torch

from models.attention_maps import crop_maps
from pipeline.data.config import AugmentConfig
from pipeline.data.feed.augment import Box
from pipeline.data.feed.flip import NEVER
from pipeline.data.records import EncodedVideo
from pipeline.data.store.shards import Codec, encode_frame
from pipeline.flow.config import FlowCodec
from pipeline.flow.store import EncodedFlow, encode_plane
from pipeline.two_stream import samples

TSN = AugmentConfig(crop="multiscale_corner", brightness=0, contrast=0, saturation=0, hue=0)
CENTRE = AugmentConfig(crop="center", flip=0, brightness=0, contrast=0, saturation=0, hue=0)
HEIGHT, WIDTH, SIZE = 90, 120, 80


def smooth(seed, channels):
    coarse = np.random.default_rng(seed).integers(60, 200, (6, 8, channels)).astype(np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).reshape(HEIGHT, WIDTH, channels)


@pytest.fixture(scope="module")
def frames():
    return [smooth(seed, 3) for seed in range(12)]


@pytest.fixture(scope="module")
def video(frames):
    jpegs = tuple(memoryview(encode_frame(frame, Codec(quality=100))) for frame in frames)
    return EncodedVideo("a/b", 1, 10.0, HEIGHT, WIDTH, jpegs)


@pytest.fixture(scope="module")
def planes():
    """Flow i has level 10 i + 5 in x and 10 i + 6 in y, darker to the right."""
    ramp_HW = np.broadcast_to(np.arange(WIDTH) // 30, (HEIGHT, WIDTH))
    return [[(10 * i + 5 + axis + ramp_HW).astype(np.uint8) for axis in (0, 1)] for i in range(11)]


@pytest.fixture(scope="module")
def flow(planes):
    png = FlowCodec(format="png")
    x, y = (tuple(memoryview(encode_plane(pair[axis], png)) for pair in planes) for axis in (0, 1))
    return EncodedFlow("a/b", HEIGHT, WIDTH, x, y)


def stream(name, **changes):
    return samples.Sight(**({"stream": name, "flow_stack": 4, "segments": 1, "size": SIZE} | changes))


def take(encoded, config, augment=TSN, *, epoch=0, flip_map=(0, 1), available=range(8)):
    options = {"label": 1, "flip_map": flip_map, "seed": 5, "epoch": epoch}
    return samples.training_sample(encoded, available, config, augment, **options)


@pytest.mark.parametrize(("pairs", "stack", "count"), [(11, 4, 8), (4, 4, 1), (3, 4, 1), (1, 10, 1), (10, 1, 10)])
def test_the_last_stack_ends_at_the_last_flow(pairs, stack, count):
    assert samples.places(pairs, stack) == count
    assert max(count - 1, 0) + min(stack, pairs) == pairs


def test_place_i_is_frame_i_and_the_stack_that_begins_at_it(video, flow, frames, planes):
    for place in (0, 7):
        rgb_HWC = samples.picture(video, place, stream("spatial"))
        assert np.abs(rgb_HWC.astype(int) - frames[place]).max() < 12  # JPEG; another frame is 50 away
        stack_HWC = samples.picture(flow, place, stream("temporal"))
        expected = np.stack([planes[place + m][axis] for m in range(4) for axis in (0, 1)], axis=-1)
        np.testing.assert_array_equal(stack_HWC, expected)


def test_a_video_shorter_than_a_stack_repeats_its_last_flow(flow, planes):
    short = EncodedFlow("s", HEIGHT, WIDTH, flow.x_N[:2], flow.y_N[:2])
    stack_HWC = samples.picture(short, 0, stream("temporal"))
    expected = np.stack([planes[m][axis] for m in (0, 1, 1, 1) for axis in (0, 1)], axis=-1)
    np.testing.assert_array_equal(stack_HWC, expected)


def test_places_are_drawn_from_those_available_one_from_each_part():
    rng = np.random.default_rng(0)
    available = [0, 3, 6, 9, 12, 15]
    drawn = np.stack([samples.draw_places(available, 3, rng) for _ in range(400)])
    for segment, part in enumerate(([0, 3], [6, 9], [12, 15])):
        assert sorted(set(drawn[:, segment].tolist())) == part
        assert 150 < (drawn[:, segment] == part[0]).sum() < 250
    assert samples.draw_places([7], 3, rng).tolist() == [7, 7, 7]
    assert samples.middle_places(available, 1).tolist() == [9]
    assert samples.middle_places(available, 3).tolist() == [3, 9, 15]
    assert samples.middle_places([4], 3).tolist() == [4, 4, 4]


def test_both_streams_draw_the_same_places_crops_and_flips(video, flow):
    """So that a system could be trained on pairs; and a sample depends on nothing but its arguments."""
    for epoch in range(6):
        rgb, stack = take(video, stream("spatial"), epoch=epoch), take(flow, stream("temporal"), epoch=epoch)
        assert (rgb.index_G.tolist(), rgb.region) == (stack.index_G.tolist(), stack.region)
        again = take(video, stream("spatial"), epoch=epoch)
        np.testing.assert_array_equal(rgb.x_GHWC, again.x_GHWC)
    drawn = {(take(video, stream("spatial"), epoch=e).region) for e in range(30)}
    assert len(drawn) > 15


def test_pixels_flow_and_map_show_the_same_part_the_same_way_round(video, flow, frames):
    """The sample is made again from its region alone: by floating-point arithmetic, mirrored if x0 > x1."""
    seen = set()
    for epoch in range(16):
        sample = take(video, stream("spatial"), epoch=epoch)
        x0, y0, x1, y1 = sample.region
        columns = (x0 + (x1 - x0) * (np.arange(SIZE) + 0.5) / SIZE) * WIDTH - 0.5
        rows = (y0 + (y1 - y0) * (np.arange(SIZE) + 0.5) / SIZE) * HEIGHT - 0.5
        grid = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
        decoded = samples.picture(video, int(sample.index_G[0]), stream("spatial"))
        expected = cv2.remap(decoded, *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        assert np.abs(expected.astype(int) - sample.x_GHWC[0]).max() <= 16  # at the crop's edge, which resize repeats
        assert np.abs(expected.astype(int) - sample.x_GHWC[0]).mean() < 1
        seen.add(x0 > x1)
        # The map of the whole frame, sampled at the region, lies on the pixels: use a channel of the frame as the map.
        map_1HW = torch.from_numpy(decoded[None, ..., 0].astype(np.float32) / 255)
        channel = crop_maps(map_1HW, torch.tensor([sample.region]), SIZE)[0, 0].numpy() * 255
        assert np.abs(channel - sample.x_GHWC[0, ..., 0]).mean() < 1
        stack = take(flow, stream("temporal"), epoch=epoch)
        ramp = (columns.clip(0, WIDTH - 1) / 30) // 1
        level = stack.x_GHWC[0, SIZE // 2, :, 1].astype(int) - (10 * int(stack.index_G[0]) + 6)
        assert np.abs(level - ramp).max() <= 1
    assert seen == {True, False}


def test_a_flip_inverts_the_x_levels_alone(flow):
    config = stream("temporal")
    x_GHWC = samples.whole_sample(flow, np.array([2]), config)
    flipped = samples.mirror(x_GHWC, config)
    np.testing.assert_array_equal(flipped[..., 0::2], 255 - x_GHWC[:, :, ::-1, 0::2])
    np.testing.assert_array_equal(flipped[..., 1::2], x_GHWC[:, :, ::-1, 1::2])
    np.testing.assert_array_equal(samples.mirror(flipped, config), x_GHWC)


def test_labels_follow_a_flip_and_a_class_without_mirror_image_keeps_its_side(video):
    taken = [take(video, stream("spatial"), epoch=e, flip_map=(1, 0)) for e in range(20)]
    assert {(s.region[0] > s.region[2], s.label) for s in taken} == {(True, 0), (False, 1)}
    kept = [take(video, stream("spatial"), epoch=e, flip_map=(0, NEVER)) for e in range(20)]
    assert {(s.region[0] > s.region[2], s.label) for s in kept} == {(False, 1)}


def test_crops_are_tsns_thirteen_places_and_its_scales(video):
    boxes = set()
    for epoch in range(400):
        x0, y0, x1, y1 = take(video, stream("spatial", size=75), epoch=epoch).region
        left, top, right, bottom = (round(v * s) for v, s in zip((x0, y0, x1, y1), (WIDTH, HEIGHT) * 2, strict=True))
        boxes.add((min(left, right), top, abs(right - left), bottom - top))
    sides = [int(90 * scale) for scale in (1, 0.875, 0.75, 0.66)]
    shapes = {(wide, high) for _, _, wide, high in boxes}
    assert shapes == {(sides[i], sides[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1}
    # A square of 67 has 13 distinct places in 120 x 90: offsets of quarters of the room left over.
    places = {(left, top) for left, top, wide, high in boxes if (wide, high) == (67, 67)}
    quarters = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (2, 0), (2, 4), (0, 2), (4, 2), (1, 1), (3, 1), (1, 3), (3, 3)]
    assert places == {((120 - 67) * right // 4, (90 - 67) * down // 4) for right, down in quarters}


def test_without_augmentation_the_crop_is_the_square_in_the_middle(video):
    sample = take(video, stream("spatial"), CENTRE)
    assert sample.region == (15 / 120, 0.0, 105 / 120, 1.0)
    assert samples.centre_square(5, 8) == Box(0, 1, 5, 5)


def test_the_centre_view_is_that_of_its_region(video):
    config = stream("spatial")
    x_GHWC = samples.centre_sample(video, np.array([3]), config, 90)
    decoded = samples.picture(video, 3, config)
    np.testing.assert_array_equal(x_GHWC[0], decoded[5:85, 20:100])
    assert samples.centre_region(HEIGHT, WIDTH, SIZE, 90) == (20 / 120, 5 / 90, 100 / 120, 85 / 90)
    assert samples.centre_sample(video, np.array([0, 3]), config, 160).shape == (2, SIZE, SIZE, 3)


def test_streams_refuse_what_they_do_not_see(video, flow):
    with pytest.raises(TypeError, match="spatial stream does not see EncodedFlow"):
        samples.picture(flow, 0, stream("spatial"))
    with pytest.raises(TypeError, match="temporal stream does not see EncodedVideo"):
        samples.picture(video, 0, stream("temporal"))
