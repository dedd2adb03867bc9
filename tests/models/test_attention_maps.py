"""A map follows its image through crop, resize and flip, without ever having the image's size."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from models.attention_maps import START_ATTENTION, crop_maps, resize_maps


def maps(count=3, height=8, width=8, seed=0):
    return torch.rand(count, height, width, generator=torch.Generator().manual_seed(seed))


def boxes(*box):
    return torch.tensor(box, dtype=torch.float32).view(-1, 4)


def one_pixel(map_hw, x, y):
    """The value at a share (x, y) of the frame, by the definition of bilinear sampling, in plain Python."""
    height, width = map_hw.shape
    u, v = min(max(x * width - 0.5, 0), width - 1), min(max(y * height - 0.5, 0), height - 1)
    i, j = math.floor(v), math.floor(u)
    total = 0.0
    for row, weight_y in ((i, 1 - (v - i)), (min(i + 1, height - 1), v - i)):
        for column, weight_x in ((j, 1 - (u - j)), (min(j + 1, width - 1), u - j)):
            total += weight_y * weight_x * float(map_hw[row, column])
    return total


share = st.floats(0, 1, width=32)


@settings(max_examples=60, deadline=None)
@given(share, share, share, share, st.integers(1, 12), st.integers(1, 9), st.integers(1, 9))
def test_every_pixel_is_the_bilinear_value_at_its_centre(x0, y0, x1, y1, size, height, width):
    """Any box, mirrored or not, any map: NumPy float64, one pixel at a time."""
    map_Nhw = maps(1, height, width, seed=size)
    expected = [
        [
            one_pixel(map_Nhw[0].numpy(), x0 + (x1 - x0) * (j + 0.5) / size, y0 + (y1 - y0) * (i + 0.5) / size)
            for j in range(size)
        ]
        for i in range(size)
    ]
    attention_N1HW = crop_maps(map_Nhw, boxes(x0, y0, x1, y1), size)
    assert attention_N1HW.shape == (1, 1, size, size)
    np.testing.assert_allclose(attention_N1HW[0, 0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width", "top", "left", "size"), [(256, 340, 16, 58, 224), (240, 320, 0, 96, 224)])
def test_crop_equals_upsampling_to_the_frame_and_cropping(height, width, top, left, size):
    map_Nhw = maps()
    frame_N1HW = interpolate(map_Nhw[:, None], (height, width), mode="bilinear", align_corners=False)
    box = boxes(left / width, top / height, (left + size) / width, (top + size) / height).expand(3, 4)
    expected = frame_N1HW[:, :, top : top + size, left : left + size]
    torch.testing.assert_close(crop_maps(map_Nhw, box, size), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("side_x", "side_y"), [(256, 168), (224, 224), (192, 256)])
def test_a_resized_crop_is_near_upsampling_cropping_and_resizing(side_x, side_y):
    """TSN's crops: two resizes one after the other smooth a little more than sampling once."""
    map_Nhw = maps()
    frame_N1HW = interpolate(map_Nhw[:, None], (256, 340), mode="bilinear", align_corners=False)
    expected = interpolate(
        frame_N1HW[:, :, :side_y, 84 : 84 + side_x], (299, 299), mode="bilinear", align_corners=False
    )
    box = boxes(84 / 340, 0, (84 + side_x) / 340, side_y / 256).expand(3, 4)
    assert (crop_maps(map_Nhw, box, 299) - expected).abs().max() < 0.02


def test_a_mirrored_box_mirrors_the_crop():
    map_Nhw = maps()
    box = boxes(0.1, 0.2, 0.8, 0.9).expand(3, 4)
    mirrored = crop_maps(map_Nhw, box[:, [2, 1, 0, 3]], 99)
    torch.testing.assert_close(mirrored, crop_maps(map_Nhw, box, 99).flip(-1), rtol=0, atol=1e-5)
    assert (mirrored - mirrored.flip(-1)).abs().max() > 0.1


def test_flipping_the_video_and_its_map_flips_the_channel():
    """A crop of the mirrored frame lies at the mirrored place."""
    map_Nhw = maps()
    box = boxes(0.1, 0.2, 0.8, 0.9).expand(3, 4)
    of_mirrored_frame = crop_maps(map_Nhw.flip(-1), boxes(0.2, 0.2, 0.9, 0.9).expand(3, 4), 64)
    torch.testing.assert_close(of_mirrored_frame, crop_maps(map_Nhw, box, 64).flip(-1), rtol=0, atol=1e-5)


def test_a_bump_stays_on_its_object_through_crop_resize_and_flip():
    """The image is the map drawn at the frame's size; both take one decision and must still agree afterwards."""
    rng = np.random.default_rng(0)
    frame_H, frame_W = 256, 340
    for _ in range(12):
        map_hw = torch.zeros(1, 8, 8)
        map_hw[0, rng.integers(1, 7), rng.integers(1, 7)] = 1
        image_N1HW = interpolate(map_hw[:, None], (frame_H, frame_W), mode="bilinear", align_corners=False)
        height, width = rng.choice([256, 224, 192, 168], 2)
        top, left = int(rng.integers(0, frame_H - height + 1)), int(rng.integers(0, frame_W - width + 1))
        crop_N1HW = image_N1HW[:, :, top : top + height, left : left + width]
        crop_N1HW = interpolate(crop_N1HW, (149, 149), mode="bilinear", align_corners=False)
        x0, x1 = left / frame_W, (left + width) / frame_W
        if rng.random() < 0.5:
            crop_N1HW, x0, x1 = crop_N1HW.flip(-1), x1, x0
        attention_N1HW = crop_maps(map_hw, boxes(x0, top / frame_H, x1, (top + height) / frame_H), 149)
        assert (attention_N1HW - crop_N1HW).abs().max() < 0.03


def test_each_map_has_its_own_box():
    map_Nhw = maps()
    three = boxes(0, 0, 1, 1, 0.25, 0, 0.75, 0.5, 1, 0.5, 0.5, 1)
    together = crop_maps(map_Nhw, three, 32)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], crop_maps(map_Nhw[i : i + 1], three[i : i + 1], 32))


@pytest.mark.parametrize("value", [START_ATTENTION, 1 / 3, 0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_constant_map_stays_exactly_constant(value, dtype):
    map_Nhw = torch.full((2, 8, 8), value, dtype=dtype)
    attention_N1HW = crop_maps(map_Nhw, boxes(0.13, 0.2, 0.77, 0.93, 0.9, 0, 0.3, 1), 299)
    assert attention_N1HW.dtype == torch.float32
    assert torch.equal(attention_N1HW, map_Nhw[0, 0, 0].float().expand(2, 1, 299, 299))


def test_values_stay_within_the_maps():
    map_Nhw = maps().half()
    attention_N1HW = crop_maps(map_Nhw, boxes(-0.2, 0, 1.3, 1).expand(3, 4), 77)
    assert attention_N1HW.amin() >= map_Nhw.min()
    assert attention_N1HW.amax() <= map_Nhw.max()


def test_the_whole_frame_is_interpolate():
    map_Nhw = maps(2, 5, 5)
    expected = interpolate(map_Nhw[:, None], (224, 224), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resize_maps(map_Nhw, 224), expected, rtol=0, atol=1e-5)


def test_no_maps_are_no_channels():
    assert crop_maps(torch.zeros(0, 8, 8), torch.zeros(0, 4), 16).shape == (0, 1, 16, 16)


@pytest.mark.parametrize(
    ("map_Nhw", "box_N4", "words"),
    [
        (torch.zeros(2, 1, 8, 8), torch.zeros(2, 4), ["(2, 1, 8, 8)", "N,h,w"]),
        (torch.zeros(2, 8, 8, dtype=torch.uint8), torch.zeros(2, 4), ["torch.uint8", "integer maps"]),
        (torch.zeros(2, 8, 8), torch.zeros(1, 4), ["(1, 4) for 2 maps", "(2, 4)"]),
        (torch.zeros(2, 8, 8), torch.zeros(4), ["(4,)"]),
    ],
)
def test_maps_without_their_boxes_are_refused(map_Nhw, box_N4, words):
    with pytest.raises(ValueError, match="Fix: ") as caught:
        crop_maps(map_Nhw, box_N4, 16)
    assert all(word in str(caught.value) for word in words)
