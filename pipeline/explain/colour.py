"""Attention values as colours: the JET map of the papers, and its overlay on a frame."""

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

FRAME_SHARE = 0.6
"""Weight of the frame under a heat map; the colours have the rest."""


def jet(values: npt.NDArray[np.floating]) -> Pixels:
    """Map attention to colour: blue is 0, red is 1.

    Args:
        values: any shape (...), in [0, 1].

    Returns:
        RGB, (..., 3).

    Raises:
        ValueError: a value outside [0, 1] or not a number.
    """
    if values.size and not (values.min() >= 0.0 and values.max() <= 1.0):
        raise ValueError(f"attention must be in [0, 1]. Received: {values.min()} to {values.max()}.")
    level = np.rint(values.astype(np.float64) * 255).astype(np.uint8)
    bgr = cv2.applyColorMap(level.reshape(-1, 1), cv2.COLORMAP_JET)
    return np.ascontiguousarray(bgr[:, 0, ::-1]).reshape(*values.shape, 3)


def resized(frame_HWC: Pixels, height: int, width: int) -> Pixels:
    """Return a frame at another size: by area when it shrinks, bicubic when it grows."""
    shrinks = height < frame_HWC.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame_HWC, (width, height), interpolation=method), np.uint8)


def overlay(frame_HWC: Pixels, map_HW: npt.NDArray[np.float32]) -> Pixels:
    """Blend a spatial attention map over its frame: `0.6 * frame + 0.4 * jet(map)`.

    The scalar map is resized bilinearly and then coloured; colouring first would blend through colours that stand
    for no value in between.

    Args:
        frame_HWC: RGB.
        map_HW: attention in [0, 1] at any resolution.

    Returns:
        RGB of the frame's size.
    """
    height, width = frame_HWC.shape[:2]
    large_HW = cv2.resize(map_HW.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    heat_HWC = jet(np.clip(large_HW, 0.0, 1.0))
    return np.asarray(cv2.addWeighted(frame_HWC, FRAME_SHARE, heat_HWC, 1.0 - FRAME_SHARE, 0.0), np.uint8)
