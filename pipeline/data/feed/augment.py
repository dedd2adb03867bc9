"""The geometry and colour of a clip: one random decision for all its frames, or the fixed crops of a test.

Frames are uint8 RGB from the shard to the device; every pixel is written once by the resize and once by the colour
step, in place. Nothing here knows videos or files. Randomness comes in as a generator and is spent in `draw`, so
that a decision can be printed, compared and applied twice.
"""

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.data.config import AugmentConfig, ClipConfig

Frames = npt.NDArray[np.uint8]
"""RGB, T H W C."""

_LUMA = np.array([0.299, 0.587, 0.114])
_YIQ = np.array([_LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
"""NTSC luma and chroma of RGB; a rotation of the two chroma axes changes hue and keeps luma and grey."""


@dataclass(frozen=True)
class Box:
    """A crop of the stored frame, pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Colour:
    """A colour change: shares and turns as `AugmentConfig` measures them; all zero changes nothing."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0


@dataclass(frozen=True)
class Decision:
    """What happens to every frame of one clip."""

    box: Box | None
    """None: the test geometry, short side and centre crop."""
    flip: bool
    colour: Colour


def draw(rng: np.random.Generator, augment: AugmentConfig, height: int, width: int, *, may_flip: bool) -> Decision:
    """Draw one clip's decision for frames of `height` x `width` pixels.

    The crop is drawn last: it alone takes a varying number of random numbers.

    Args:
        rng: source of every number.
        augment: ranges and probabilities.
        height: height of the stored frames.
        width: width of the stored frames.
        may_flip: False for a class whose mirror image has no label.
    """
    coin, brightness, contrast, saturation, hue = rng.random(5)
    colour = Colour(
        brightness=(2 * brightness - 1) * augment.brightness,
        contrast=(2 * contrast - 1) * augment.contrast,
        saturation=(2 * saturation - 1) * augment.saturation,
        hue=(2 * hue - 1) * augment.hue,
    )
    box = None
    if augment.crop == "random_resized":
        box = _random_resized(rng, augment, height, width)
    elif augment.crop == "multiscale_corner":
        box = _multiscale_corner(rng, augment, height, width)
    return Decision(box=box, flip=may_flip and coin < augment.flip, colour=colour)


def apply(frames_THWC: Frames, decision: Decision, clip: ClipConfig) -> Frames:
    """Crop, resize, flip and recolour frames (T, H, W, 3) into a new array (T, size, size, 3)."""
    if decision.box is None:
        x_THWC = view_crop(frames_THWC, clip, crop=0, crops=1)
    else:
        box = decision.box
        x_THWC = _resize(
            frames_THWC[:, box.top : box.top + box.height, box.left : box.left + box.width], clip.size, clip.size
        )
    if decision.flip:
        _mirror(x_THWC)
    if decision.colour != Colour():
        _recolour(x_THWC, decision.colour)
    return x_THWC


def view_crop(frames_THWC: Frames, clip: ClipConfig, *, crop: int, crops: Literal[1, 3, 10]) -> Frames:
    """Return test crop `crop` of `crops` of frames (T, H, W, 3), as a new array (T, size, size, 3).

    The short side is first resized to `clip.short_side`, unless it has that length. 1: centre. 3: beginning, middle
    and end of the long side. 10: top left, top right, bottom left, bottom right, centre, then the same five mirrored
    (Krizhevsky et al. 2012, section 4.1).
    """
    height, width = frames_THWC.shape[1:3]
    if not 0 <= crop < crops:
        raise ValueError(f"test crop {crop} of {crops} does not exist")
    scale = clip.short_side / min(height, width)
    if scale != 1:
        frames_THWC = _resize(frames_THWC, round(height * scale), round(width * scale))
        height, width = frames_THWC.shape[1:3]
    down, right = height - clip.size, width - clip.size
    top, left = down // 2, right // 2
    if crops == 3:
        top, left = (top, right * crop // 2) if width >= height else (down * crop // 2, left)
    elif crops == 10 and crop % 5 < 4:
        top, left = down * (crop % 5 // 2), right * (crop % 5 % 2)
    # A copy also where no resize made one: the caller owns the clip, the decoded frames serve other views.
    x_THWC = frames_THWC[:, top : top + clip.size, left : left + clip.size].copy()
    if crop >= 5:
        _mirror(x_THWC)
    return x_THWC


def colour_matrix(colour: Colour, luma: float) -> npt.NDArray[np.float64]:
    """Return the affine map (3, 4) of RGB values that a colour change is.

    Brightness adds, contrast scales around the clip's mean `luma`, saturation scales around each pixel's own grey,
    hue rotates the chroma plane. All four keep the grey axis apart from chroma, so that they commute and no order
    has to be drawn; being one map, they round and clip to 0..255 once.

    Args:
        colour: sizes of the changes.
        luma: mean grey of the clip before the change, 0 to 255.
    """
    turn = 2 * math.pi * colour.hue
    rotation = np.array([[1, 0, 0], [0, math.cos(turn), -math.sin(turn)], [0, math.sin(turn), math.cos(turn)]])
    scale = 1 + colour.contrast
    chroma = np.diag([scale, scale * (1 + colour.saturation), scale * (1 + colour.saturation)])
    linear = np.linalg.inv(_YIQ) @ chroma @ rotation @ _YIQ
    offset = 255 * colour.brightness - colour.contrast * luma
    return np.column_stack([linear, np.full(3, offset)])


def _random_resized(rng: np.random.Generator, augment: AugmentConfig, height: int, width: int) -> Box:
    """Draw a box of random area and shape (Szegedy et al. 2015, section 6); the centre one if ten do not fit."""
    low, high = (math.log(ratio) for ratio in augment.ratio)
    for _ in range(10):
        area, log_ratio, down, right = rng.random(4)
        area = height * width * (augment.area[0] + area * (augment.area[1] - augment.area[0]))
        ratio = math.exp(low + log_ratio * (high - low))
        box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            return Box(
                top=int(down * (height - box_height + 1)),
                left=int(right * (width - box_width + 1)),
                height=box_height,
                width=box_width,
            )
    ratio = min(max(width / height, augment.ratio[0]), augment.ratio[1])
    box_width, box_height = min(width, round(height * ratio)), min(height, round(width / ratio))
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


_OFFSETS = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),  # corners and centre
    *((2, 0), (2, 4), (0, 2), (4, 2)),  # middles of the edges
    *((1, 1), (1, 3), (3, 1), (3, 3)),  # centres of the quadrants
)
"""Down and right, in quarters of the room that the crop leaves."""


def _multiscale_corner(rng: np.random.Generator, augment: AugmentConfig, height: int, width: int) -> Box:
    """Draw one of TSN's 13 places and a box whose two scales are neighbours in the list (Wang et al. 2016, 3.2)."""
    scales = range(len(augment.scales))
    shapes = [(i, j) for i in scales for j in scales if abs(i - j) <= 1]
    which, where = rng.random(2)
    i, j = shapes[int(which * len(shapes))]
    down, right = _OFFSETS[int(where * len(_OFFSETS))]
    short = min(height, width)
    box_height, box_width = max(int(short * augment.scales[i]), 1), max(int(short * augment.scales[j]), 1)
    return Box((height - box_height) * down // 4, (width - box_width) * right // 4, box_height, box_width)


def _resize(frames_THWC: Frames, height: int, width: int) -> Frames:
    """Resize each frame: bilinear, or by pixel area where the smaller of the two scales shrinks to half or below."""
    shrinks = 2 * max(height / frames_THWC.shape[1], width / frames_THWC.shape[2]) <= 1
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    x_THWC = np.empty((len(frames_THWC), height, width, 3), np.uint8)
    for frame_HWC, out_HWC in zip(frames_THWC, x_THWC, strict=True):
        cv2.resize(frame_HWC, (width, height), dst=out_HWC, interpolation=how)
    return x_THWC


def _mirror(x_THWC: Frames) -> None:
    """Mirror a contiguous clip left to right in place, all its rows as one tall image."""
    tall = x_THWC.reshape(-1, *x_THWC.shape[2:])
    cv2.flip(tall, 1, dst=tall)


def _recolour(x_THWC: Frames, colour: Colour) -> None:
    """Change a contiguous clip's colours in place, all its rows as one tall image."""
    tall = x_THWC.reshape(-1, *x_THWC.shape[2:])
    luma = float(_LUMA @ np.array(cv2.mean(tall)[:3]))
    cv2.transform(tall, colour_matrix(colour, luma).astype(np.float32), dst=tall)
