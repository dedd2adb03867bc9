"""TV-L1 on CPUs: pairs in parallel, each solved by one compiled function that keeps its buffers.

numba keeps the compiled function in a cache on disk (`NUMBA_CACHE_DIR`, by default beside this file), so that only the
first call on a machine waits for the compiler.
"""

import functools
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pipeline.flow.tvl1 import iterate, level, median, pyramid, simd, warp, workspace
from pipeline.flow.tvl1.config import TvL1Config
from pipeline.flow.tvl1.iterate import Weights
from pipeline.flow.tvl1.level import EVERY, FIXED, SPARSE, Plan, solve_level
from pipeline.flow.tvl1.pyramid import resize
from pipeline.flow.tvl1.result import TvL1Result
from pipeline.flow.tvl1.simd import LANES, Floats, compiled, get, put, splat, store
from pipeline.flow.tvl1.warp import pack
from pipeline.flow.tvl1.workspace import GUARD, PLANES, STATE_A, Workspace, allocate, plane_pitch

_STOPS = {"every": EVERY, "opencv-cuda": SPARSE, "fixed": FIXED}


def solve(
    frames0_NHW: npt.NDArray[Any], frames1_NHW: npt.NDArray[Any], config: TvL1Config, threads: int = 1
) -> TvL1Result:
    """Compute the flow of each pair; see `pipeline.flow.tvl1.solve` for arguments and result."""
    pairs, height, width = frames0_NHW.shape
    levels = config.levels(height, width)
    plan, solve_pair = _plan(config), _solve_pair()
    flow_NHW2 = np.empty((pairs, height, width, 2), np.float32)
    iterations_N = np.zeros(pairs, np.int64)
    idle: queue.SimpleQueue[Workspace] = queue.SimpleQueue()
    for _ in range(min(threads, pairs)):
        idle.put(allocate(levels))

    def one(n: int) -> None:
        work = idle.get()
        work.image0[: height * width] = frames0_NHW[n].ravel()
        work.image1[: height * width] = frames1_NHW[n].ravel()
        iterations_N[n] = solve_pair(np.array(levels), work, plan)
        flow_NHW2[n] = work.flow[: 2 * height * width].reshape(2, height, width).transpose(1, 2, 0)
        idle.put(work)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(pairs)))  # the list raises what a pair raised
    return TvL1Result(flow_NHW2, iterations_N)


def _plan(config: TvL1Config) -> Plan:
    """The config as compiled code takes it, constants rounded as OpenCV rounds them."""
    cuda = config.variant == "opencv-cuda"
    return Plan(
        weights=Weights(
            reach=np.float32(config.lambda_ * config.theta),
            theta=np.float32(config.theta),
            ascent=np.float32(config.tau / config.theta),
        ),
        cubic=np.float32(-0.5 if cuda else -0.75),
        clamped=cuda,
        warps=config.warps,
        inner=config.inner_iterations,
        outer=config.outer_iterations,
        median=config.median,
        stop=_STOPS[config.stop],
        epsilon=config.epsilon,
        scale_step=config.scale_step,
    )


@compiled
def _coarse_to_fine(levels_L2: npt.NDArray[np.int64], work: Workspace, plan: Plan) -> int:
    """Solve the pair whose frames begin `image0` and `image1` into `flow`; returns the iterations."""
    count = len(levels_L2)
    starts_L = np.zeros(count, np.int64)
    for step in range(1, count):
        height, width = levels_L2[step - 1]
        starts_L[step] = starts_L[step - 1] + height * width
        for image in (work.image0, work.image1):
            _reduce(image, starts_L, levels_L2, step, work, plan)
    iterations, source = 0, STATE_A
    for step in range(count - 1, -1, -1):
        height, width = levels_L2[step]
        pitch = plane_pitch(width)
        _clear(work.state, (height + 1) * PLANES * pitch)
        if step < count - 1:
            _expand(work, levels_L2, step, plan)
        pack(work.image1, starts_L[step], height, width, work.texels, work.rows, plan.clamped)
        source, done = solve_level(work, starts_L[step], height, width, pitch, plan)
        iterations += done
        _collect(work, height, width, pitch, source)
    return iterations


@compiled
def _clear(state: Floats, count: int) -> None:
    for i in range(0, count, LANES):
        store(state, i, splat(np.float32(0)))


@compiled
def _reduce(
    image: Floats,
    starts_L: npt.NDArray[np.int64],
    levels_L2: npt.NDArray[np.int64],
    step: int,
    work: Workspace,
    plan: Plan,
) -> None:
    """Make a level of an image's pyramid from the finer one before it."""
    height, width = levels_L2[step - 1]
    smaller_height, smaller_width = levels_L2[step]
    scale = 1 / plan.scale_step
    resize(
        image,
        starts_L[step - 1],
        width,
        height,
        width,
        image,
        starts_L[step],
        smaller_width,
        smaller_height,
        smaller_width,
        scale,
        scale,
        np.float32(1),
        not plan.clamped,
        work.rows,
        work.integers,
    )


@compiled
def _expand(work: Workspace, levels_L2: npt.NDArray[np.int64], step: int, plan: Plan) -> None:
    """Enlarge the coarser level's flow into the state of this one."""
    height, width = levels_L2[step + 1]
    larger_height, larger_width = levels_L2[step]
    pitch = plane_pitch(larger_width)
    for component in range(2):
        resize(
            work.flow,
            component * height * width,
            width,
            height,
            width,
            work.state,
            (PLANES + STATE_A + component) * pitch + GUARD,
            PLANES * pitch,
            larger_height,
            larger_width,
            height / larger_height,
            width / larger_width,
            np.float32(1 / plan.scale_step),
            not plan.clamped,
            work.rows,
            work.integers,
        )


@compiled
def _collect(work: Workspace, height: int, width: int, pitch: int, source: int) -> None:
    """Copy the flow out of the state: all of the right component, then all of the downward one."""
    for component in range(2):
        for y in range(height):
            at = ((y + 1) * PLANES + source + component) * pitch + GUARD
            out = (component * height + y) * width
            for x in range(width):
                put(work.flow, out + x, get(work.state, at + x))


_COMPILED = (iterate, level, median, pyramid, simd, warp, workspace)
"""The modules whose text is compiled into the function below."""


@functools.cache
def _solve_pair() -> Callable[..., int]:
    """Compile for this CPU, or load from the cache on disk.

    numba compiles anew when the file of a cached function changes, and cannot know of others; so the text of those is
    part of what the function closes over, and thereby of its key.
    """
    digest = sha256(b"".join(Path(module.__file__ or "").read_bytes() for module in _COMPILED)).hexdigest()
    key = int(digest[:15], 16)

    def solve_pair(levels_L2: npt.NDArray[np.int64], work: Workspace, plan: Plan) -> int:
        _ = key
        return _coarse_to_fine(levels_L2, work, plan)

    made: Callable[..., int] = numba.njit(nogil=True, error_model="numpy", cache=True)(solve_pair)
    return made
