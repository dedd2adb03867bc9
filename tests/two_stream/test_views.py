"""Where a test looks, and what it sees there."""

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.two_stream.samples import Sight, centre_region, centre_view, whole_sample
from pipeline.two_stream.views import Picture, Place, Viewing, boxes, crop, look, spaced

SPATIAL = Sight(stream="spatial", flow_stack=2, segments=1, size=40)
TEMPORAL = Sight(stream="temporal", flow_stack=2, segments=1, size=40)


def noise(height, width, channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


@pytest.mark.parametrize("pairs", [1, 2, 3, 4, 9, 24, 25, 26, 27, 28, 60, 300])
@pytest.mark.parametrize("count", [1, 2, 3, 25])
def test_places_are_equally_spaced_and_end_where_the_last_stack_begins(pairs, count):
    found = spaced(pairs, 3, count)
    last = max(pairs - 3, 0)  # stack i holds flows i to i + 2
    assert sum(place.times for place in found) == count
    at = np.repeat([place.at for place in found], [place.times for place in found])
    expected = [last / 2] if count == 1 else [k * last / (count - 1) for k in range(count)]
    assert np.abs(at - expected).max() <= 0.5
    assert at.min() >= 0
    assert at.max() <= last
    if count > 1:
        assert (at[0], at[-1]) == (0, last)
    assert [place.at for place in found] == sorted({place.at for place in found})


def test_a_short_video_is_seen_often_at_few_places():
    assert spaced(2, 3, 25) == (Place(0, 25),)
    assert spaced(4, 3, 25) == (Place(0, 13), Place(1, 12)) or spaced(4, 3, 25) == (Place(0, 12), Place(1, 13))


@pytest.mark.parametrize("shape", [(64, 96), (96, 64), (50, 50)])
def test_the_centre_crop_is_that_of_validation(shape):
    for sight, channels in ((SPATIAL, 3), (TEMPORAL, 4)):
        x_HWC = noise(*shape, channels)
        seen = look(x_HWC, sight, 46)
        x_VHWC, region_V4 = crop(seen.resized_HWC, sight, 1)
        np.testing.assert_array_equal(x_VHWC[0], centre_view(x_HWC, 40, 46))
        np.testing.assert_allclose(region_V4[0], centre_region(*shape, 40, 46), atol=1e-6)
        assert x_VHWC.shape == (1, 40, 40, channels)


def test_the_whole_frame_is_what_maps_are_made_of(paired):
    from pipeline.data.store.shards import decode_frames, read_video

    video = paired.videos("spatial", "test", 1)[0]
    encoded = read_video(paired.prepared.root, video.shard, video.row)
    seen = look(decode_frames(encoded, [1])[0], SPATIAL, 46)
    np.testing.assert_array_equal(seen.whole_HWC, whole_sample(encoded, np.array([1], np.int32), SPATIAL)[0])


def test_ten_crops_are_corners_and_centre_and_their_mirror_images():
    picture = noise(46, 69, 3)
    x_VHWC, region_V4 = crop(picture, SPATIAL, 10)
    corners = [picture[:40, :40], picture[:40, 29:], picture[6:, :40], picture[6:, 29:], picture[3:43, 14:54]]
    for v, expected in enumerate(corners):
        np.testing.assert_array_equal(x_VHWC[v], expected)
        np.testing.assert_array_equal(x_VHWC[v + 5], expected[:, ::-1])
        x0, y0, x1, y1 = region_V4[v]
        np.testing.assert_array_equal(region_V4[v + 5], [x1, y0, x0, y1])
        np.testing.assert_allclose([(x1 - x0) * 69, (y1 - y0) * 46], 40, atol=1e-4)
    assert len(boxes(46, 69, 40, 10)) == 5


def test_mirrored_flow_turns_its_horizontal_motion_round():
    stack = noise(46, 69, 4, seed=1)
    x_VHWC, _ = crop(stack, TEMPORAL, 10)
    for v in range(5):
        np.testing.assert_array_equal(x_VHWC[v + 5, ..., 0::2], 255 - x_VHWC[v, :, ::-1, 0::2])
        np.testing.assert_array_equal(x_VHWC[v + 5, ..., 1::2], x_VHWC[v, :, ::-1, 1::2])


def test_regions_name_what_the_crops_show():
    """A picture whose values are its own coordinates tells where each crop comes from."""
    y_HW, x_HW = np.mgrid[0:60, 0:90]
    picture = np.stack([x_HW, y_HW, 0 * x_HW], axis=-1).astype(np.uint8)
    x_VHWC, region_V4 = crop(picture, SPATIAL, 10)
    share = (np.arange(40) + 0.5) / 40
    for shown, (x0, y0, x1, y1) in zip(x_VHWC, region_V4, strict=True):
        np.testing.assert_allclose(shown[0, :, 0] + 0.5, 90 * (x0 + (x1 - x0) * share), atol=1e-3)
        np.testing.assert_allclose(shown[:, 0, 1] + 0.5, 60 * (y0 + (y1 - y0) * share), atol=1e-3)


def test_ten_crops_are_refused_where_a_mirror_changes_the_class():
    left = ("Pushing something from left to right", "Pushing something from right to left")
    Viewing(crops=10).check(("Archery", "Basketball"))
    Viewing(crops=1).check(left)
    with pytest.raises(UserError, match="Mirrored test crops change the class"):
        Viewing(crops=10).check(left)
    with pytest.raises(UserError, match="A test needs places"):
        Viewing(places=0)
    assert Viewing().describe() == "25 places, centre crop, mean of the softmax scores"


def test_a_picture_is_both_of_what_a_test_needs():
    seen = look(noise(64, 96, 3), SPATIAL, 46)
    assert isinstance(seen, Picture)
    assert (seen.whole_HWC.shape, seen.resized_HWC.shape) == ((40, 40, 3), (46, 69, 3))
