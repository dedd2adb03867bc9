"""TV-L1 by OpenCV's own CPU code: the reference that the other backends are measured against."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError, problem
from pipeline.flow.tvl1.config import TvL1Config
from pipeline.flow.tvl1.result import TvL1Result


def solve(
    frames0_NHW: npt.NDArray[Any], frames1_NHW: npt.NDArray[Any], config: TvL1Config, threads: int = 1
) -> TvL1Result:
    """Compute the flow of each pair; see `pipeline.flow.tvl1.solve` for arguments and result.

    Raises:
        UserError: OpenCV's CUDA algorithm or its stop rule, which this build of OpenCV does not have.
    """
    if config.variant != "opencv-cpu" or config.stop == "opencv-cuda":
        raise UserError(
            problem(
                "The opencv backend runs OpenCV's CPU algorithm only",
                got=f"variant={config.variant}, stop={config.stop}",
                allowed="variant opencv-cpu with stop every or fixed",
                fix="choose the backend numba or triton",
            )
        )
    local = threading.local()  # a solver holds buffers between calls, so each thread has its own

    def one(frame0_HW: npt.NDArray[Any], frame1_HW: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        if not hasattr(local, "solver"):
            local.solver = _solver(config)
        flow: npt.NDArray[np.float32] = local.solver.calc(_input(frame0_HW), _input(frame1_HW), None)
        return flow

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # pairs are the parallel unit: OpenCV's own threads would multiply with ours
    try:
        with ThreadPoolExecutor(threads) as pool:
            flows = list(pool.map(one, frames0_NHW, frames1_NHW))
    finally:
        cv2.setNumThreads(before)
    flow_NHW2 = np.stack(flows) if flows else np.empty((*frames0_NHW.shape, 2), np.float32)
    return TvL1Result(flow_NHW2, np.full(len(flows), -1, np.int64))


def _solver(config: TvL1Config) -> Any:
    return cv2.optflow.DualTVL1OpticalFlow.create(
        tau=config.tau,
        lambda_=config.lambda_,
        theta=config.theta,
        nscales=config.scales,
        warps=config.warps,
        # No change is below zero; frames that change nothing at all stop at once, with the same flow.
        epsilon=0.0 if config.stop == "fixed" else config.epsilon,
        innnerIterations=config.inner_iterations,
        outerIterations=config.outer_iterations,
        scaleStep=config.scale_step,
        gamma=0.0,
        medianFiltering=max(config.median, 1),
        useInitialFlow=False,
    )


def _input(frame_HW: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """uint8 as it is; OpenCV multiplies floating-point frames by 255."""
    return frame_HW if frame_HW.dtype == np.uint8 else frame_HW / np.float32(255)
