"""Flow as 8-bit levels, as dense_flow, TSN and mmaction2 store it: -bound..bound on 0..255, no motion on 128."""

from typing import Any

import numpy as np
import numpy.typing as npt

BOUND = 20.0
"""Pixels; larger motion is clipped. TSN's choice, and everybody's since."""


def encode(flow: npt.NDArray[Any], bound: float = BOUND) -> npt.NDArray[np.uint8]:
    """Return flow (pixels, any shape) as levels: over `bound` 255, under `-bound` 0, linear and rounded between.

    A half goes to the even neighbour, as OpenCV's cvRound does, so that no motion (127.5) is 128. One level is
    2 * bound / 255 pixels: 0.157 at the usual bound of 20.

    Raises:
        ValueError: flow that is not a number somewhere; infinity is clipped like any large motion.
    """
    if np.isnan(flow).any():
        raise ValueError("the flow is not a number at some pixel")
    clipped = np.clip(flow.astype(np.float64), -bound, bound)
    return np.rint(255.0 * (clipped + bound) / (2.0 * bound)).astype(np.uint8)


def decode(levels: npt.NDArray[np.uint8], bound: float = BOUND) -> npt.NDArray[np.float32]:
    """Return levels as flow in pixels, the centre of what `encode` rounds to them.

    No level is exactly no motion: 128 comes back as bound / 255 pixels.
    """
    return (levels.astype(np.float64) * (2.0 * bound / 255.0) - bound).astype(np.float32)
