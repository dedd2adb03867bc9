"""TV-L1 optical flow: grey frames in, flow out, the same numbers from each of three backends.

    from pipeline.flow.tvl1 import TvL1Config, solve, solve_frames

    result = solve_frames(frames_THW, TvL1Config(), threads=2)
    result.flow_NHW2[n, y, x]  # how far the pixel moves from frame n to n + 1: right, down; pixels

Shape letters: N pairs of frames, T frames, H height, W width.
"""

import importlib
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError, problem
from pipeline.flow.tvl1.config import SMALLEST_SIDE, TvL1Config
from pipeline.flow.tvl1.result import TvL1Result

__all__ = ["Backend", "TvL1Config", "TvL1Result", "solve", "solve_frames"]

Backend = Literal["numba", "triton", "opencv"]
"""numba: any CPU, the default. triton: an Nvidia GPU. opencv: the reference, slow."""

_MODULES = {
    "numba": "pipeline.flow.tvl1.numba_backend",
    "triton": "pipeline.flow.tvl1.triton_backend",
    "opencv": "pipeline.flow.tvl1.opencv_backend",
}
"""Imported on first use: numba, Triton and OpenCV are heavy, and a GPU node need not have all of them."""


def solve(
    frames0_NHW: npt.NDArray[Any],
    frames1_NHW: npt.NDArray[Any],
    config: TvL1Config | None = None,
    *,
    backend: Backend = "numba",
    threads: int = 1,
) -> TvL1Result:
    """Compute the flow from each frame of one batch to its partner in another.

    Args:
        frames0_NHW: grey frames, uint8, or float32 from 0 to 255; sides of at least 16 pixels.
        frames1_NHW: the frames that follow, of the same shape and type.
        config: the algorithm; `TvL1Config()` if not given.
        backend: what computes it.
        threads: pairs worked on at once by the CPU backends; the result does not depend on it.

    Returns:
        Flow in pixels, and how many iterations each pair took.

    Raises:
        UserError: frames of another shape, type or size; an unknown backend, or one that lacks what `config` asks for.
    """
    _check(frames0_NHW, frames1_NHW, backend, threads)
    config = config or TvL1Config()
    module = importlib.import_module(_MODULES[backend])
    pairs = (np.ascontiguousarray(frames0_NHW), np.ascontiguousarray(frames1_NHW))
    result: TvL1Result = module.solve(*pairs, config) if backend == "triton" else module.solve(*pairs, config, threads)
    return result


def solve_frames(
    frames_THW: npt.NDArray[Any], config: TvL1Config | None = None, *, backend: Backend = "numba", threads: int = 1
) -> TvL1Result:
    """Compute the flow from each frame of a video to the next: T - 1 pairs, none from a single frame.

    Arguments, result and errors are those of `solve`.
    """
    return solve(frames_THW[:-1], frames_THW[1:], config, backend=backend, threads=threads)


def _check(frames0_NHW: npt.NDArray[Any], frames1_NHW: npt.NDArray[Any], backend: str, threads: int) -> None:
    same = frames0_NHW.shape == frames1_NHW.shape and frames0_NHW.dtype == frames1_NHW.dtype
    if not same or frames0_NHW.ndim != 3 or frames0_NHW.dtype not in (np.uint8, np.float32):
        raise UserError(
            problem(
                "These are not two batches of grey frames",
                got=f"{frames0_NHW.dtype} {frames0_NHW.shape} and {frames1_NHW.dtype} {frames1_NHW.shape}",
                allowed="(pairs, height, width), alike in shape and type, uint8 or float32 from 0 to 255",
                fix="convert colour frames to grey and stack frames of one size",
            )
        )
    if min(frames0_NHW.shape[1:]) < SMALLEST_SIDE:
        raise UserError(
            problem(
                "The frames are too small for TV-L1",
                got=f"{frames0_NHW.shape[2]}x{frames0_NHW.shape[1]} pixels",
                allowed=f"sides of at least {SMALLEST_SIDE} pixels",
                fix="enlarge the frames",
            )
        )
    if backend not in _MODULES or threads < 1:
        raise UserError(
            problem(
                "TV-L1 cannot run like this",
                got=f"backend={backend!r}, threads={threads}",
                allowed=f"backend one of {', '.join(_MODULES)}; threads at least 1",
                fix="choose a backend; numba runs everywhere",
            )
        )
