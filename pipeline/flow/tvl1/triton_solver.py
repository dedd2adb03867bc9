"""TV-L1 of a batch of equally large pairs on a device: buffers, the order of the kernels, CUDA graphs.

The host never asks how a pair is doing. It launches as many iterations as a warp may have; the programs of a pair that
has stopped return at once. On a GPU the launches of a level are recorded in a CUDA graph and replayed as one.

Shape letters: N pairs, H height, W width.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
import triton

from pipeline.flow.tvl1.config import TvL1Config
from pipeline.flow.tvl1.triton_kernels import (
    CONSTANTS,
    EVERY,
    FIXED,
    OPENCV_CUDA,
    PLANES,
    STATE,
    iterate_kernel,
    settle_kernel,
)
from pipeline.flow.tvl1.triton_median import median_kernel
from pipeline.flow.tvl1.triton_pyramid import Resize, slopes
from pipeline.flow.tvl1.triton_warp import warp_kernel

STOPS = {"every": EVERY, "opencv-cuda": OPENCV_CUDA, "fixed": FIXED}

SECTOR = 8
"""Rows are padded to a multiple of this many elements, 32 bytes, the unit in which a GPU reads memory."""


@dataclass(frozen=True)
class Tiling:
    """How pixels are dealt to programs. The flow does not depend on it, but for the order in which changes are added.

    A thread holds one pixel at a time, so that neighbouring threads read neighbouring addresses at every offset.
    """

    block: int = 256
    """Pixels at once, a power of two."""

    blocks: int = 16
    """Blocks of an iteration's program: enough that the programs of pairs that have stopped are few."""

    @property
    def options(self) -> dict[str, Any]:
        """How Triton compiles a kernel."""
        return {"num_warps": max(1, min(self.block // 32, 32)), "enable_fp_fusion": True}


class Solver:
    """Flow of up to `pairs` pairs of one size; holds its buffers and graphs, to be used again."""

    def __init__(
        self,
        pairs: int,
        size: tuple[int, int],
        config: TvL1Config,
        device: torch.device,
        tiling: Tiling,
    ) -> None:
        self.pairs, self.config, self.device = pairs, config, device
        self.totals: list[torch.Tensor] = []
        """Of the last batch: iterations of each pair up to the end of each level, coarsest first."""
        sizes = config.levels(*size)
        self.control = Control.empty(pairs, device)
        fields = torch.empty(pairs * field_size(*size), dtype=torch.float32, device=device)
        self.levels = [Level(level, config, self.control, fields, tiling) for level in sizes]
        steps = list(pairwise(sizes))
        self._down = [Resize.down(fine, coarse, config, device) for fine, coarse in steps]
        self._up = [Resize.up(coarse, fine, config, device) for fine, coarse in steps]

    def solve(self, frames0_NHW: torch.Tensor, frames1_NHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the flow; nothing here waits for the device.

        Args:
            frames0_NHW: grey frames from 0 to 255 on the device, at most `pairs`.
            frames1_NHW: the frames that follow.

        Returns:
            Flow in pixels, (2, N, H, W) float32, x then y; iterations of each pair, (N) int32.
        """
        count = len(frames0_NHW)
        self.control.start(count)
        self.levels[0].set_frames(frames0_NHW, frames1_NHW)
        for fine, coarse, down in zip(self.levels, self.levels[1:], self._down, strict=False):
            coarse.set_frames(down(fine.frame0_NHW), down(fine.frame1_NHW))
        coarsest = self.levels[-1]
        flow_2NHW = torch.zeros((2, self.pairs, *coarsest.size), device=self.device)
        self.totals = []
        for level, up in zip(reversed(self.levels), [*reversed(self._up), None], strict=True):
            flow_2NHW = level.solve(flow_2NHW)
            self.totals.append(self.control.total.clone())
            if up is not None:
                flow_2NHW = torch.stack([up(flow_NHW) for flow_NHW in flow_2NHW]) * (1 / self.config.scale_step)
        return flow_2NHW[:, :count], self.totals[-1][:count]


@dataclass(frozen=True)
class Control:
    """What the kernels know of each pair, (N) int32 each; their docstrings explain the fields."""

    alive: torch.Tensor
    active: torch.Tensor
    parity: torch.Tensor
    done: torch.Tensor
    total: torch.Tensor

    @classmethod
    def empty(cls, pairs: int, device: torch.device) -> "Control":
        """A batch of no pairs."""
        return cls(*torch.zeros((5, pairs), dtype=torch.int32, device=device))

    def start(self, count: int) -> None:
        """A batch of `count` pairs; the rest sleeps."""
        self.alive.zero_()
        self.alive[:count] = 1
        self.active.copy_(self.alive)
        self.done.zero_()
        self.total.zero_()


class Level:
    """One level of the pyramid."""

    def __init__(
        self, size: tuple[int, int], config: TvL1Config, control: Control, fields: torch.Tensor, tiling: Tiling
    ) -> None:
        self.size, self.config, self.tiling = size, config, tiling
        self.control = control
        pairs, (height, width) = len(control.alive), size
        self.padded = padded(width)
        self.field = fields[: pairs * field_size(*size)].view(pairs, height + 1, PLANES, self.padded)
        self.tiles = triton.cdiv(height * self.padded, tiling.block * tiling.blocks)
        self._partial = torch.zeros((2, pairs, self.tiles), dtype=torch.float32, device=fields.device)
        self._credit = torch.zeros((2, pairs), dtype=torch.float64, device=fields.device)
        frames = torch.zeros((4, pairs, height, width), dtype=torch.float32, device=fields.device)
        self.frame0_NHW, self.frame1_NHW, self._slope_x, self._slope_y = frames

    def set_frames(self, frames0_NHW: torch.Tensor, frames1_NHW: torch.Tensor) -> None:
        """Take the first pairs of the batch from here; what the others hold does not matter."""
        count = len(frames0_NHW)
        self.frame0_NHW[:count], self.frame1_NHW[:count] = frames0_NHW, frames1_NHW
        slope_x, slope_y = slopes(self.frame1_NHW)
        self._slope_x.copy_(slope_x)
        self._slope_y.copy_(slope_y)

    def solve(self, flow_2NHW: torch.Tensor) -> torch.Tensor:
        """Refine a flow on this level, (2, N, H, W)."""
        width = self.size[1]
        self.field.zero_()  # the dual variables begin at zero on each level, and the padding stays so
        self.control.parity.zero_()
        self.field[:, 1:, CONSTANTS : CONSTANTS + 2, :width] = flow_2NHW.permute(1, 2, 0, 3)
        if self._graph is None:
            self._launch(self.config.max_iterations, self.config.warps)
        else:
            self._graph.replay()
        one, other = (self.field[:, 1:, at : at + 2, :width] for at in (CONSTANTS, CONSTANTS + STATE))
        chosen = torch.where(self.control.parity.bool()[:, None, None, None], other, one)
        return chosen.permute(2, 0, 1, 3)

    @cached_property
    def _graph(self) -> "torch.cuda.CUDAGraph | None":
        """All launches of this level as a graph; None without a GPU."""
        if self.field.device.type != "cuda":
            return None
        alive, active = self.control.alive.clone(), self.control.active.clone()
        self.control.alive.zero_()
        self.control.active.zero_()
        # Recording must not load kernels. Two iterations need all of them; every pair sleeps, so nothing is computed.
        self._launch(min(2, self.config.max_iterations), 1)
        torch.cuda.synchronize(self.field.device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._launch(self.config.max_iterations, self.config.warps)
        self.control.alive.copy_(alive)
        self.control.active.copy_(active)
        return graph

    def _launch(self, iterations: int, warps: int) -> None:
        """Launch `warps` warps of up to `iterations` iterations."""
        for _ in range(warps):
            self._warp()
            for step in range(iterations):
                filtered = self.config.median > 1 and step % self.config.inner_iterations == 0
                if filtered:
                    self.median(step)
                self.iterate(step, filtered)
            self._settle(iterations)

    def _warp(self) -> None:
        height, width = self.size
        blocks = triton.cdiv(height * self.padded, self.tiling.block)
        warp_kernel[(blocks * len(self.field),)](
            self.field,
            self.frame0_NHW,
            self.frame1_NHW,
            self._slope_x,
            self._slope_y,
            self.control.alive,
            self.control.parity,
            height,
            width,
            P=self.padded,
            BLOCK=self.tiling.block,
            CUDA=self.config.variant == "opencv-cuda",
            **self.tiling.options,
        )

    def iterate(self, step: int, filtered: bool) -> None:
        """Launch iteration `step` of a warp, from the flow itself or from what the median made of it."""
        height, width = self.size
        config = self.config
        iterate_kernel[(self.tiles * len(self.field),)](
            self.field,
            self._partial,
            self._credit,
            self.control.active,
            self.control.parity,
            self.control.done,
            len(self.field),
            height,
            width,
            step,
            self.threshold,
            config.lambda_ * config.theta,
            config.theta,
            config.tau / config.theta,
            P=self.padded,
            BLOCK=self.tiling.block,
            BLOCKS=self.tiling.blocks,
            TILES=triton.next_power_of_2(self.tiles),
            STOP=STOPS[config.stop],
            FILTERED=filtered,
            **self.tiling.options,
        )

    def median(self, step: int) -> None:
        """Launch the median that comes before iteration `step`."""
        height, width = self.size
        blocks = triton.cdiv(height * self.padded, self.tiling.block)
        median_kernel[(blocks * len(self.field),)](
            self.field,
            self._partial,
            self._credit,
            self.control.active,
            self.control.parity,
            len(self.field),
            height,
            width,
            step,
            self.threshold,
            self.tiles,
            P=self.padded,
            BLOCK=self.tiling.block,
            TILES=triton.next_power_of_2(self.tiles),
            STOP=STOPS[self.config.stop],
            SIDE=self.config.median,
            **self.tiling.options,
        )

    def _settle(self, iterations: int) -> None:
        pairs = len(self.field)
        control = self.control
        settle_kernel[(1,)](
            control.alive,
            control.active,
            control.parity,
            control.done,
            control.total,
            pairs,
            iterations,
            BLOCK=triton.next_power_of_2(pairs),
        )

    @property
    def threshold(self) -> float:
        """Sum of squared changes at which a pair stops."""
        return self.config.epsilon**2 * self.size[0] * self.size[1]


def padded(width: int) -> int:
    """Elements of a row, at least one of them padding."""
    return (width // SECTOR + 1) * SECTOR


def field_size(height: int, width: int) -> int:
    """Elements of the field of one pair."""
    return (height + 1) * PLANES * padded(width)
