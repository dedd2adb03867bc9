"""Grey frames of a video to the planes that a shard stores, by one of TV-L1's backends.

Decoding of the next video and encoding of the last pairs run in threads beside the solver, since a GPU would otherwise
wait for them most of the time. Legend: N pairs, T frames.
"""

import importlib.metadata
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.errors import UserError
from pipeline.data.records import EncodedVideo, PreparedVideo
from pipeline.data.store.shards import decode_frames, read_video
from pipeline.flow.catalog import NOT_A_NUMBER, TOO_SMALL, UNDECODABLE, FlowError
from pipeline.flow.config import FlowConfig
from pipeline.flow.quantise import encode
from pipeline.flow.store import EncodedFlow, encode_plane
from pipeline.flow.tvl1 import Backend, solve_frames
from pipeline.flow.tvl1.config import SMALLEST_SIDE

Grey = npt.NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")

_PACKAGES: dict[str, tuple[str, ...]] = {"numba": ("numba", "llvmlite"), "triton": ("torch", "triton"), "opencv": ()}
_DECODE_AT_ONCE = 32
"""Frames held in colour before they turn grey; nobody needs a whole video in colour."""


def versions(backend: str) -> dict[str, str]:
    """Return the versions of what determines the bytes of flow by this backend."""
    found = {name: importlib.metadata.version(name) for name in ("numpy", "pyarrow", *_PACKAGES.get(backend, ()))}
    return {**found, "opencv": cv2.__version__}


def read_grey(root: str, video: PreparedVideo, size: tuple[int, int] | None) -> Grey:
    """Return a stored video as x_THW, grey by OpenCV's weights, resized to (width, height) after that if asked.

    Args:
        root: the prepared data set.
        video: its place there.
        size: of the result, pixels; None keeps that of the frames.

    Raises:
        FlowError: a damaged frame, or pictures too small for TV-L1.
        UserError: the shard is not there.
    """
    stored = _stored(root, video)
    width, height = size or (stored.width, stored.height)
    if min(height, width) < SMALLEST_SIDE:
        raise FlowError(TOO_SMALL, f"{width} x {height} pixels, {SMALLEST_SIDE} a side are needed")
    x_THW = np.empty((video.frames, height, width), np.uint8)
    for start in range(0, video.frames, _DECODE_AT_ONCE):
        some = range(start, min(start + _DECODE_AT_ONCE, video.frames))
        try:
            x_THWC = decode_frames(stored, some)
        except UserError as error:
            raise FlowError(UNDECODABLE, str(error).partition(". Received")[0]) from error
        for t, frame_HWC in zip(some, x_THWC, strict=True):
            grey_HW = cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2GRAY)
            x_THW[t] = cv2.resize(grey_HW, (width, height)) if grey_HW.shape != (height, width) else grey_HW
    return x_THW


def _stored(root: str, video: PreparedVideo) -> EncodedVideo:
    try:
        stored = read_video(root, video.shard, video.row)
        known = (stored.id, len(stored.jpeg_V)) == (video.id, video.frames)
    except (pa.ArrowException, OSError, ValueError, IndexError) as error:
        raise FlowError(UNDECODABLE, f"row {video.row} of {video.shard} is damaged: {error}") from error
    if not known:
        raise FlowError(UNDECODABLE, f"row {video.row} of {video.shard} is not the video that the catalog says")
    return stored


@dataclass(frozen=True)
class Solver:
    """One worker's way to flow.

    Attributes:
        backend: of TV-L1.
        threads: pairs solved at once by a CPU backend; planes encoded at once by any.
        batch: pairs given to the backend at once. The flow of a pair does not depend on its batch.
    """

    backend: Backend
    threads: int = 1
    batch: int = 16

    def levels(self, x_THW: Grey, config: FlowConfig) -> Grey:
        """Return the 8-bit flow of consecutive frames, levels_NHW2.

        Raises:
            FlowError: the algorithm diverged.
        """
        assert config.tvl1 is not None, "imported flow is not computed"
        try:
            if self.backend == "triton":  # which quantises where the flow is; a quarter of it crosses the bus
                from pipeline.flow.tvl1.triton_backend import solve_to_uint8

                return solve_to_uint8(x_THW, config.bound, config.tvl1)
            solved = solve_frames(x_THW, config.tvl1, backend=self.backend, threads=self.threads)
            return encode(solved.flow_NHW2, config.bound)
        except ValueError as error:
            raise FlowError(NOT_A_NUMBER, str(error)) from error

    def flows(
        self, root: str, videos: Iterable[PreparedVideo], config: FlowConfig, tick: Callable[[int], None]
    ) -> Iterator[EncodedFlow | FlowError]:
        """Yield the flow of each video in order, or why it has none.

        Args:
            root: the prepared data set.
            videos: places of their frames.
            config: how flow is made.
            tick: called with the pairs of every finished batch.
        """

        def read(video: PreparedVideo) -> tuple[PreparedVideo, Grey | FlowError]:
            try:
                return video, read_grey(root, video, config.size)
            except FlowError as error:
                return video, error

        with ThreadPoolExecutor(self.threads) as pool:
            for video, found in ahead(pool, read, videos):
                try:
                    yield found if isinstance(found, FlowError) else self._flow(video.id, found, config, pool, tick)
                except FlowError as error:
                    yield error

    def _flow(
        self, video_id: str, x_THW: Grey, config: FlowConfig, pool: ThreadPoolExecutor, tick: Callable[[int], None]
    ) -> EncodedFlow:
        planes: list[Future[bytes]] = []
        pairs = len(x_THW) - 1
        for start in range(0, pairs, self.batch):
            levels_NHW2 = self.levels(x_THW[start : start + self.batch + 1], config)
            flat_NHW = np.ascontiguousarray(levels_NHW2.transpose(0, 3, 1, 2)).reshape(-1, *x_THW.shape[1:])
            planes.extend(pool.submit(encode_plane, plane_HW, config.codec) for plane_HW in flat_NHW)
            tick(len(levels_NHW2))
        stored = [memoryview(plane.result()) for plane in planes]
        height, width = x_THW.shape[1:]
        return EncodedFlow(video_id, height, width, tuple(stored[::2]), tuple(stored[1::2]))


def ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], lead: int = 1
) -> Iterator[Result]:
    """Yield `function` of every item in order, `lead` of them being worked on while one is in use."""
    waiting: deque[Future[Result]] = deque()
    source = iter(items)
    waiting.extend(pool.submit(function, item) for item in itertools.islice(source, lead))
    while waiting:
        value = waiting.popleft().result()
        waiting.extend(pool.submit(function, item) for item in itertools.islice(source, 1))
        yield value
