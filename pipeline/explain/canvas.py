"""A sheet of pixels with text and boxes; the letters are the ones inside OpenCV, so every machine draws the same."""

from functools import cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

INK: Colour = (28, 30, 34)
QUIET: Colour = (104, 109, 118)
RULE: Colour = (212, 215, 220)
PAPER: Colour = (255, 255, 255)


@cache
def _face() -> "cv2.FontFace":
    return cv2.FontFace("sans")


def text_width(text: str, size: int, weight: int = 400) -> int:
    """Return how many pixels `text` takes at `size` (pixels from baseline to cap height and beyond) and `weight`."""
    _, _, width, _ = cv2.getTextSize((10_000, 10_000), text, (0, 0), _face(), size, weight)
    return int(width)


def shortened(text: str, width: int, size: int, weight: int = 400) -> str:
    """Return `text`, cut with an ellipsis if it is wider than `width` pixels."""
    if text_width(text, size, weight) <= width:
        return text
    kept = len(text)
    while kept and text_width(text[:kept].rstrip() + "…", size, weight) > width:
        kept -= 1
    return text[:kept].rstrip() + "…"


class Canvas:
    """An RGB sheet; coordinates are pixels from its upper left corner."""

    def __init__(self, height: int, width: int, paper: Colour = PAPER) -> None:
        self.pixels: Pixels = np.full((height, width, 3), paper, np.uint8)

    def paste(self, image_HWC: Pixels, y: int, x: int) -> None:
        """Put an image with its upper left corner at (y, x); it must fit."""
        height, width = image_HWC.shape[:2]
        self.pixels[y : y + height, x : x + width] = image_HWC

    def box(self, y: int, x: int, height: int, width: int, colour: Colour) -> None:
        """Fill a rectangle."""
        self.pixels[y : y + height, x : x + width] = colour

    def frame(self, y: int, x: int, height: int, width: int, colour: Colour) -> None:
        """Draw a rectangle's outline, one pixel, inside its bounds."""
        self.pixels[[y, y + height - 1], x : x + width] = colour
        self.pixels[y : y + height, [x, x + width - 1]] = colour

    def line(self, points_N2: npt.NDArray[np.floating], colour: Colour, width: int = 1) -> None:
        """Draw straight lines from point to point, each (x, y), with smooth edges."""
        subpixels = 4  # bits of a pixel's fraction
        points = np.rint(points_N2 * (1 << subpixels)).astype(np.int32)
        cv2.polylines(self.pixels, [points], False, colour, width, cv2.LINE_AA, subpixels)

    def text(
        self,
        text: str,
        baseline: int,
        x: int,
        size: int,
        *,
        colour: Colour = INK,
        weight: int = 400,
        align: Literal["left", "center", "right"] = "left",
    ) -> None:
        """Write one line; `x` is its left end, middle or right end, by `align`."""
        shift = {"left": 0.0, "center": 0.5, "right": 1.0}[align]
        left = round(x - shift * text_width(text, size, weight))
        cv2.putText(self.pixels, text, (left, baseline), colour, _face(), size, weight)
