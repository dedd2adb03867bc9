"""One sample of a stream, as a pure function: places in time, one crop and flip for pixels and map, pixels.

Place i of a video is its frame i and the stack of flows i to i + m - 1; S_i and T_i are the maps of these two. So the
pixels of one stream and the map of the other pair by their number alone. A video of n flows (n + 1 frames) has the
places 0 to n - m. One with fewer flows than a stack has place 0 alone, its stack ending in repetitions of the last
flow. (In trees that dense_flow made, the picture named i is the second frame of flow i; the stores here count from 0
and hold the first.)

Shape letters: G segment, M flow of the stack, H and W of a picture, C channel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.data.config import AugmentConfig
from pipeline.data.feed.augment import Box, draw
from pipeline.data.feed.clips import clip_generator
from pipeline.data.feed.flip import NEVER, FlipMap
from pipeline.data.records import EncodedVideo
from pipeline.data.store.shards import decode_frames
from pipeline.flow.store import EncodedFlow, decode_stack

Stream = Literal["spatial", "temporal"]
STREAMS: tuple[Stream, Stream] = ("spatial", "temporal")
OTHER: dict[Stream, Stream] = {"spatial": "temporal", "temporal": "spatial"}
"""Whose map a stream sees: S comes from the spatial stream and goes into the temporal one, T the other way."""

Pixels = npt.NDArray[np.uint8]
Region = tuple[float, float, float, float]
"""x0, y0, x1, y1 in shares of the frame's width and height, as `models.attention_maps` takes it; x0 > x1: mirrored."""
WHOLE_FRAME: Region = (0.0, 0.0, 1.0, 1.0)
Encoded = EncodedVideo | EncodedFlow
"""What a spatial or a temporal stream sees of a video, as it lies in its shard."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a stream sees of a video. Part of its `StreamConfig`, which tasks that load would need torch to know."""

    stream: Stream
    flow_stack: int
    """m, also of the spatial stream: it says how many places a video has."""
    segments: int
    """G."""
    size: int
    """Height and width of a picture as the network takes it."""

    @property
    def channels(self) -> int:
        """Of a picture: 3, or 2m."""
        return 3 if self.stream == "spatial" else 2 * self.flow_stack


@dataclass(frozen=True)
class Sample:
    """What a stream sees of one video."""

    x_GHWC: Pixels
    """RGB, or 2m channels of flow: x of the first flow, y of the first, x of the second."""
    index_G: npt.NDArray[np.int32]
    """Place of each segment."""
    region: Region
    """What of the frame the pixels show, the same for all segments."""
    label: int
    """Swapped with a flip where the class's text says so."""


def places(pairs: int, stack: int) -> int:
    """Return how many places a video of `pairs` flows has: n - m + 1, at least one."""
    return max(pairs - stack, 0) + 1


def draw_places(available: Sequence[int], segments: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Draw a place from each of `segments` equal parts of those available (TSN, Wang et al. 2016, section 3.1).

    Args:
        available: in ascending order: every place, or those that have a map.
        segments: G. With more segments than places, neighbours share one.
        rng: gives G numbers.
    """
    position_G = (np.arange(segments) + rng.random(segments)) * (len(available) / segments)
    # A product just below the number of places can round up to it.
    chosen_G = np.minimum(position_G.astype(np.int64), len(available) - 1)
    return np.asarray(available, np.int32)[chosen_G]


def middle_places(available: Sequence[int], segments: int) -> npt.NDArray[np.int32]:
    """Return the place in the middle of each of `segments` equal parts of those available."""
    chosen_G = (2 * np.arange(segments) + 1) * len(available) // (2 * segments)
    return np.asarray(available, np.int32)[chosen_G]


def training_sample(
    encoded: Encoded,
    available: Sequence[int],
    sight: Sight,
    augment: AugmentConfig,
    *,
    label: int,
    flip_map: FlipMap,
    seed: int,
    epoch: int,
) -> Sample:
    """Return a video's training sample of an epoch; a function of its arguments and of nothing else.

    Args:
        encoded: frames or flow, as `sight.stream` sees them.
        available: places to draw from.
        sight: what the stream sees.
        augment: crop and flip; one decision for all segments.
        label: the video's class.
        flip_map: class after a flip by class index, as `flip.flip_map` returns it.
        seed: of the run.
        epoch: from 0.

    Raises:
        UserError: a picture that cannot be decoded.
    """
    rng = clip_generator(seed, epoch, encoded.id)
    index_G = draw_places(available, sight.segments, rng)
    swapped = flip_map[label]
    decision = draw(rng, augment, encoded.height, encoded.width, may_flip=swapped != NEVER)
    box = decision.box or centre_square(encoded.height, encoded.width)
    x_GHWC = np.stack([resize_cut(picture(encoded, int(i), sight), box, sight.size) for i in index_G])
    region = region_of(box, encoded.height, encoded.width)
    if decision.flip:
        x_GHWC = mirror(x_GHWC, sight)
        region = mirrored(region)
    return Sample(x_GHWC, index_G, region, swapped if decision.flip else label)


def centre_sample(encoded: Encoded, index_G: npt.NDArray[np.int32], sight: Sight, short_side: int) -> Pixels:
    """Return x_GHWC of test views: the short side resized to `short_side`, then a centre crop of the network's size."""
    return np.stack([centre_view(picture(encoded, int(i), sight), sight.size, short_side) for i in index_G])


def whole_sample(encoded: Encoded, index_G: npt.NDArray[np.int32], sight: Sight) -> Pixels:
    """Return x_GHWC of whole frames, their height and width resized to the network's size: what a map covers."""
    box = Box(0, 0, encoded.height, encoded.width)
    return np.stack([resize_cut(picture(encoded, int(i), sight), box, sight.size) for i in index_G])


def picture(encoded: Encoded, place: int, sight: Sight) -> Pixels:
    """Decode what a stream sees at a place, at the stored size: x_HWC, a frame or a stack of flows.

    Raises:
        UserError: a picture that cannot be decoded.
        TypeError: frames for a temporal stream, or flow for a spatial one.
    """
    if sight.stream == "spatial" and isinstance(encoded, EncodedVideo):
        frame_HWC: Pixels = decode_frames(encoded, [place])[0]
        return frame_HWC
    if sight.stream == "temporal" and isinstance(encoded, EncodedFlow):
        return decode_stack(encoded, place, sight.flow_stack)
    raise TypeError(f"a {sight.stream} stream does not see {type(encoded).__name__}")


def resize_cut(x_HWC: Pixels, box: Box, size: int) -> Pixels:
    """Cut a box out and resize it to size x size: bilinear, or by area where a side shrinks to half or below.

    Flow keeps its levels when it is resized, as in TSN: it is a picture to the network.
    """
    cut_HWC = x_HWC[box.top : box.top + box.height, box.left : box.left + box.width]
    return resize(cut_HWC, size, size)


def centre_view(x_HWC: Pixels, size: int, short_side: int) -> Pixels:
    """Return the centre crop of a picture whose short side has been resized to `short_side`."""
    height, width = x_HWC.shape[:2]
    scale = short_side / min(height, width)
    resized_HWC = resize(x_HWC, round(height * scale), round(width * scale))
    top, left = (resized_HWC.shape[0] - size) // 2, (resized_HWC.shape[1] - size) // 2
    return resized_HWC[top : top + size, left : left + size].copy()


def centre_region(height: int, width: int, size: int, short_side: int) -> Region:
    """Return what of a frame of `height` x `width` `centre_view` shows."""
    scale = short_side / min(height, width)
    high, wide = round(height * scale), round(width * scale)
    return region_of(Box((high - size) // 2, (wide - size) // 2, size, size), high, wide)


def centre_square(height: int, width: int) -> Box:
    """Return the largest square in the middle of a frame: the training crop without augmentation."""
    side = min(height, width)
    return Box((height - side) // 2, (width - side) // 2, side, side)


def region_of(box: Box, height: int, width: int) -> Region:
    """Return a box of a frame as shares."""
    return (box.left / width, box.top / height, (box.left + box.width) / width, (box.top + box.height) / height)


def mirrored(region: Region) -> Region:
    """Return the region of pixels that were flipped left to right."""
    return region[2], region[1], region[0], region[3]


def mirror(x_GHWC: Pixels, sight: Sight) -> Pixels:
    """Flip pictures left to right; motion to the right becomes motion to the left: x levels become 255 minus level."""
    x_GHWC = np.ascontiguousarray(x_GHWC[:, :, ::-1])
    if sight.stream == "temporal":
        x_GHWC[..., 0::2] = 255 - x_GHWC[..., 0::2]
    return x_GHWC


def resize(x_HWC: Pixels, height: int, width: int) -> Pixels:
    """Resize a picture of any number of channels: bilinear, or by area where a side shrinks to half or below."""
    if x_HWC.shape[:2] == (height, width):
        return x_HWC
    shrinks = 2 * max(height / x_HWC.shape[0], width / x_HWC.shape[1]) <= 1
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    # OpenCV takes any number of channels here; each is resized as it would be alone.
    return np.asarray(cv2.resize(x_HWC, (width, height), interpolation=how), np.uint8)
