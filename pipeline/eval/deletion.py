"""Deletion and insertion: how a class's probability falls as what an explanation points at goes, and rises as it comes.

Source: Petsiuk et al. 2018, "RISE", section 4.3 and its public code: units are removed from the picture, or put on an
empty canvas, most important first; the probability of the class that the whole picture is given is followed, and the
curve summarised by its normalised area (trapezoid rule). Low is good for deletion, high for insertion.

For clips there are two kinds of units, so that *when* and *where* are asked apart:

- frames: every distinct frame of the clip; copies of a frame, which pad short videos, go together with it.
- pixels: the pixels of each frame, as many in every frame at a step, whatever the frame.

Removed is what has the mean colour of ImageNet, 0 after normalisation, as RISE's deletion does; insertion starts from
the same canvas (RISE's from a blurred picture, in which motion is still seen). Equal importance is ordered at random.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Mode = Literal["deletion", "insertion"]
MODES: tuple[Mode, ...] = ("deletion", "insertion")

STEPS = 8
"""Steps from the whole clip to the empty one; RISE takes 224 of a picture's 224 x 224 pixels."""

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]


def frame_steps(
    importance_T: FloatArray, idx_T: npt.NDArray[np.integer], steps: int, rng: np.random.Generator
) -> IntArray:
    """Return the step, from 1 to `steps`, at which each frame goes.

    Args:
        importance_T: of every frame of the clip; a frame that occurs several times has the mean of its values.
        idx_T: frame of the video that each is.
        steps: how many.
        rng: orders frames of equal importance.
    """
    distinct, unit_T = np.unique(idx_T, return_inverse=True)
    importance_U = np.bincount(unit_T, weights=importance_T) / np.bincount(unit_T)
    step_T: IntArray = _steps(importance_U[None], len(distinct), steps, rng)[0][unit_T]
    return step_T


def pixel_steps(importance_THW: FloatArray, steps: int, rng: np.random.Generator) -> IntArray:
    """Return the step, from 1 to `steps`, at which each pixel goes, ordered within its frame.

    Args:
        importance_THW: of every pixel.
        steps: how many.
        rng: orders pixels of equal importance.
    """
    frames, height, width = importance_THW.shape
    return _steps(importance_THW.reshape(frames, -1), height * width, steps, rng).reshape(frames, height, width)


def _steps(importance_NU: FloatArray, units: int, steps: int, rng: np.random.Generator) -> IntArray:
    shuffled_U = rng.permutation(units)
    order_NU = shuffled_U[np.argsort(-importance_NU[:, shuffled_U], axis=1, kind="stable")]
    rank_NU = np.empty_like(order_NU)
    np.put_along_axis(rank_NU, order_NU, np.arange(1, units + 1)[None], axis=1)
    step_NU: IntArray = -(-rank_NU * steps // units)  # rounded up: after step s, the share s / steps of them is gone
    return step_NU


def perturbed(x_CTHW: Tensor, step_THW: Tensor, steps: int, mode: Mode) -> Tensor:
    """Return the clip after each of the steps 1 to `steps` - 1; what is at either end is the clip and the canvas.

    Args:
        x_CTHW: normalised clip.
        step_THW: integers; any axis may be 1.
        steps: how many.
        mode: deletion starts with the clip, insertion with the canvas.

    Returns:
        S,C,T,H,W.
    """
    now_S111 = torch.arange(1, steps, device=x_CTHW.device).view(-1, 1, 1, 1)
    gone_STHW = step_THW[None] <= now_S111
    kept_STHW = gone_STHW if mode == "insertion" else ~gone_STHW
    return x_CTHW[None] * kept_STHW[:, None].to(x_CTHW.dtype)


def whole_curve(inner_S: FloatArray, intact: float, empty: float, mode: Mode) -> FloatArray:
    """Return the curve from step 0 to the last, given what lies between its ends."""
    ends = (intact, empty) if mode == "deletion" else (empty, intact)
    return np.concatenate([ends[:1], inner_S, ends[1:]]).astype(np.float64)


def area(curve_S: FloatArray) -> float:
    """Return the area under a curve over shares from 0 to 1."""
    return float((curve_S.sum() - (curve_S[0] + curve_S[-1]) / 2) / (len(curve_S) - 1))
