"""What a test sees of a video: places, equally spaced, and at each the crops of frame and flow. Nothing imports torch.

Source: section "test" of the two-stream thesis (S3), as in Two-Stream (Simonyan and Zisserman 2014): 25 places, their
softmax scores averaged; spacing as TSN's. Shape letters: P place, V crop, H and W of a picture, C channel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError, problem
from pipeline.data.config import ViewConfig
from pipeline.data.feed.augment import Box
from pipeline.data.feed.views import check_mirroring
from pipeline.two_stream.samples import Pixels, Sight, mirror, mirrored, places, region_of, resize, resize_cut

Crops = Literal[1, 10]


@dataclass(frozen=True, kw_only=True)
class Viewing:
    """Where and how a test looks at a video."""

    places: int = 25
    """Equally spaced over the video; more than it has, and some count more than once."""
    crops: Crops = 1
    """1: the centre. 10: corners and centre, and the same mirrored."""
    short_side: int = 341
    """To which the short side of a picture is resized before it is cropped, pixels."""

    def __post_init__(self) -> None:
        if self.places < 1:
            fix = "25 is the published number"
            raise UserError(problem("A test needs places", got=f"{self.places} places", allowed="1 or more", fix=fix))

    def check(self, classes: Sequence[str]) -> None:
        """Refuse mirrored crops where a mirrored video is of another class.

        Raises:
            UserError: ten crops, and a class text that names a direction.
        """
        check_mirroring(ViewConfig(crops=self.crops), classes)

    def describe(self) -> str:
        """Say it in words."""
        crops = {1: "centre crop", 10: "ten crops"}[self.crops]
        return f"{self.places} places, {crops}, mean of the softmax scores"


@dataclass(frozen=True)
class Place:
    """A place of a video at which a test looks, once for each time that it counts."""

    at: int
    times: int


def spaced(pairs: int, stack: int, count: int) -> tuple[Place, ...]:
    """Return `count` equally spaced places, the first and the last of the video among them; equal ones once.

    TSN steps by the whole number below (n - stack) / (count - 1), so its last place lies up to count - 2 before the
    end; here each place is rounded by itself. A video with fewer places counts some of them twice, and so on.

    Args:
        pairs: flows of the video.
        stack: m, flows of a stack.
        count: places wanted.
    """
    last = places(pairs, stack) - 1
    at_P = np.rint(np.linspace(0, last, count)).astype(int) if count > 1 else np.array([last // 2])
    distinct, times = np.unique(at_P, return_counts=True)
    return tuple(Place(int(at), int(n)) for at, n in zip(distinct, times, strict=True))


@dataclass(frozen=True)
class Picture:
    """What a stream sees at a place: the whole of it at the network's size, and the picture that crops are cut from."""

    whole_HWC: Pixels
    resized_HWC: Pixels


def look(x_HWC: Pixels, sight: Sight, short_side: int) -> Picture:
    """Return a stored picture as a test needs it.

    Args:
        x_HWC: from `samples.picture`.
        sight: of the stream.
        short_side: pixels.
    """
    height, width = x_HWC.shape[:2]
    scale = short_side / min(height, width)
    whole_HWC = resize_cut(x_HWC, Box(0, 0, height, width), sight.size)
    return Picture(whole_HWC, resize(x_HWC, round(height * scale), round(width * scale)))


def boxes(height: int, width: int, size: int, crops: Crops) -> tuple[Box, ...]:
    """Return the crops of a resized picture: the centre, or top left, top right, bottom left, bottom right, centre."""
    down, right = height - size, width - size
    centre = Box(down // 2, right // 2, size, size)
    if crops == 1:
        return (centre,)
    return (*(Box(top, left, size, size) for top in (0, down) for left in (0, right)), centre)


def crop(resized_HWC: Pixels, sight: Sight, crops: Crops) -> tuple[Pixels, npt.NDArray[np.float32]]:
    """Cut a resized picture.

    Args:
        resized_HWC: from `look`.
        sight: of the stream; a mirrored stack of flow has its horizontal motion turned round.
        crops: which; with 10, the last five are the first five mirrored.

    Returns:
        x_VHWC, and region_V4 of the frame that each shows, as `models.attention_maps.crop_maps` takes it.
    """
    height, width = resized_HWC.shape[:2]
    cut = boxes(height, width, sight.size, crops)
    x_VHWC = np.stack([resized_HWC[b.top : b.top + b.height, b.left : b.left + b.width] for b in cut])
    regions = [region_of(box, height, width) for box in cut]
    if crops == 10:
        x_VHWC = np.concatenate([x_VHWC, mirror(x_VHWC, sight)])
        regions += [mirrored(region) for region in regions]
    return x_VHWC, np.array(regions, np.float32)
