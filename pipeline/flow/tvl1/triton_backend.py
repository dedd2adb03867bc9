"""TV-L1 on an Nvidia GPU, by Triton: thousands of small images at a time, converging each at its own pace.

Shape letters: N pairs, T frames, H height, W width.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError, problem
from pipeline.flow.tvl1.config import TvL1Config
from pipeline.flow.tvl1.result import TvL1Result

if TYPE_CHECKING:
    import torch

    from pipeline.flow.tvl1.triton_solver import Solver

BATCH = 256
"""Most pairs at a time: enough to fill the largest GPU, as many waiting pairs as it has multiprocessors twice."""

FIELD_BYTES = 4 << 30
"""Bound of the fields of one batch; larger frames make smaller batches."""


def solve(frames0_NHW: npt.NDArray[Any], frames1_NHW: npt.NDArray[Any], config: TvL1Config) -> TvL1Result:
    """Compute the flow of each pair; see `pipeline.flow.tvl1.solve` for arguments and result.

    Raises:
        UserError: no Triton, or no GPU.
    """
    device = _device()
    flows, iterations = [np.empty((0, *frames0_NHW.shape[1:], 2), np.float32)], [np.empty(0, np.int64)]
    for flow_2NHW, iterations_N in _batches(_tensor(frames0_NHW, device), _tensor(frames1_NHW, device), config):
        flows.append(flow_2NHW.permute(1, 2, 3, 0).cpu().numpy())
        iterations.append(iterations_N.cpu().numpy().astype(np.int64))
    return TvL1Result(np.concatenate(flows), np.concatenate(iterations))


def solve_to_uint8(
    frames_THW: "npt.NDArray[Any] | torch.Tensor", bound: float = 20, config: TvL1Config | None = None
) -> npt.NDArray[np.uint8]:
    """Compute the flow from each frame of a video to the next and quantise it on the device, as files store it.

    A quarter of the bytes of `solve` come back from the device.

    Args:
        frames_THW: grey frames, uint8, or float32 from 0 to 255; an array, or a tensor that may be on the device.
        bound: displacement that becomes 0 or 255, pixels.
        config: the algorithm; `TvL1Config()` if not given.

    Returns:
        x then y of every pair, (T - 1, H, W, 2): what `pipeline.flow.quantise.encode` makes of the flow.

    Raises:
        UserError: no Triton, or no GPU.
    """
    frames = _tensor(frames_THW, _device())
    parts = [np.empty((0, *frames.shape[1:], 2), np.uint8)]
    for flow_2NHW, _ in _batches(frames[:-1], frames[1:], config or TvL1Config()):
        parts.append(_quantised(flow_2NHW, bound).permute(1, 2, 3, 0).cpu().numpy())
    return np.concatenate(parts)


def _quantised(flow: "torch.Tensor", bound: float) -> "torch.Tensor":
    import torch

    # In double precision, as OpenCV's tools and `encode` do it: single precision moves some values by a level.
    clipped = flow.double().clamp_(-bound, bound)
    return torch.round(255.0 * (clipped + bound) / (2.0 * bound)).to(torch.uint8)


def _batches(
    frames0_NHW: "torch.Tensor", frames1_NHW: "torch.Tensor", config: TvL1Config
) -> "Iterator[tuple[torch.Tensor, torch.Tensor]]":
    """Flow (2, n, H, W) and iterations (n) of batch after batch."""
    from pipeline.flow.tvl1.triton_solver import field_size

    height, width = frames0_NHW.shape[1:]
    count = len(frames0_NHW)
    fits = max(1, FIELD_BYTES // (4 * field_size(height, width)))
    # Powers of two, so that videos of many lengths share a few sets of buffers and graphs.
    pairs = min(BATCH, 1 << (fits.bit_length() - 1), 1 << max(0, count - 1).bit_length())
    solver = _solver(pairs, height, width, config, str(frames0_NHW.device))
    for at in range(0, count, pairs):
        yield solver.solve(frames0_NHW[at : at + pairs], frames1_NHW[at : at + pairs])


@lru_cache(maxsize=4)
def _solver(pairs: int, height: int, width: int, config: TvL1Config, device: str) -> "Solver":
    import torch

    from pipeline.flow.tvl1.triton_solver import Solver, Tiling

    # The interpreter pays by the operation, not by the pixel.
    tiling = Tiling() if device.startswith("cuda") else Tiling(block=4096, blocks=1)
    return Solver(pairs, (height, width), config, torch.device(device), tiling)


def _tensor(frames: "npt.NDArray[Any] | torch.Tensor", device: "torch.device") -> "torch.Tensor":
    import torch

    return torch.as_tensor(frames).to(device)


def _device() -> "torch.device":
    """The GPU; or the CPU where Triton's interpreter runs the kernels, as tests have it."""
    try:
        import torch
        import triton  # noqa: F401
    except ImportError as error:
        raise UserError(
            problem(
                "The triton backend of TV-L1 needs torch and Triton",
                got=f"{error}",
                allowed="an environment with both",
                fix="pip install torch triton, or choose the backend numba, which runs everywhere",
            )
        ) from error
    if os.environ.get("TRITON_INTERPRET") == "1":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError(
            problem(
                "The triton backend of TV-L1 needs a CUDA device",
                got="none that torch can see",
                allowed="an Nvidia GPU with a driver that this torch supports",
                fix="run on a GPU node, or choose the backend numba, which runs everywhere",
            )
        )
    return torch.device("cuda", torch.cuda.current_device())
