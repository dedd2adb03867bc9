#!/usr/bin/env python3
"""TV-L1 on this machine's GPU: first that it is right, then pairs a second and what bounds them.

    python benchmarks/tvl1_gpu.py [--batch 256] [--sizes 340x256 224x224 112x112] [--rounds 5] [--pixels 2]

Needs torch, Triton and NumPy alone; the ratio to one CPU core is added where numba is installed. Frames are textures
that turn, grow and shift by up to `--pixels`, a different motion in every pair. Tilings run in turn, round after
round, so a drifting clock hurts them alike; each figure is the median over rounds. The first run compiles each kernel
for every width of the pyramid, about a minute for each size; later runs take them from Triton's cache.

Work is counted in pixel-iterations, the pixels of a level times the iterations that its pairs ran. One costs at least
60 bytes of memory traffic (3 constants and 6 variables read, 6 written, 4 bytes each) and 61 floating-point operations
(a multiply-add is two). Shares: 60 bytes x rate over what a copy of 2 GiB reaches on this GPU; 61 operations x rate
over multiprocessors x 128 x 2 x `--clock`. On a machine without a GPU it prints what the kernels compile to.
"""

import argparse
import platform
import statistics
import time
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
import triton

from pipeline.flow.tvl1 import TvL1Config, solve
from pipeline.flow.tvl1.numpy_reference import solve_pair
from pipeline.flow.tvl1.triton_compiled import compiled, variants
from pipeline.flow.tvl1.triton_solver import Solver, Tiling

BYTES = 60
OPERATIONS = 61
PRESETS = {"default": TvL1Config(), "denseflow": TvL1Config.denseflow(), "cuda": TvL1Config.cuda()}
FIXED = {"fixed": TvL1Config(stop="fixed", outer_iterations=1)}
TILINGS = (Tiling(), Tiling(256, 4), Tiling(128, 16), Tiling(512, 8))
Frames = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def moving(pairs: int, height: int, width: int, reach: float) -> Frames:
    """Pairs of frames of one smooth random texture, seen through a small rotation, scaling and shift, with noise."""
    random = np.random.default_rng(0)
    side = 2 * max(height, width)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij"))
    spectrum = np.fft.rfft2(random.standard_normal((side, side))) / (0.02 + frequency) ** 1.2
    texture = np.fft.irfft2(spectrum * np.exp(-((frequency / 0.2) ** 2)))
    texture = 127 + 45 * (texture - texture.mean()) / texture.std()
    y, x = np.mgrid[:height, :width] - np.array([height / 2, width / 2])[:, None, None]
    frames = np.empty((2, pairs, height, width), np.uint8)
    for pair in range(pairs):
        turn, grow, *shift = random.uniform(-1, 1, 4) * reach * np.array([1 / height, 1 / height, 0.7, 0.7])
        for i in range(2):
            to_y, to_x = y + i * (turn * x + grow * y + shift[0]), x + i * (grow * x - turn * y + shift[1])
            seen = _bilinear(texture, to_y + side / 2 + pair % 32, to_x + side / 2)
            frames[i, pair] = np.clip(np.rint(seen + random.normal(0, 1.5, seen.shape)), 0, 255)
    return frames[0], frames[1]


def _bilinear(
    image: npt.NDArray[np.float64], y: npt.NDArray[np.float64], x: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    fy, fx = y - top, x - left
    upper = image[top, left] * (1 - fx) + image[top, left + 1] * fx
    made: npt.NDArray[np.float64] = (
        upper * (1 - fy) + (image[top + 1, left] * (1 - fx) + image[top + 1, left + 1] * fx) * fy
    )
    return made


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def check(device: torch.device, size: tuple[int, int] = (96, 120)) -> None:
    """Print how far the kernels are from NumPy, for every preset and stop rule, on frames of several tiles."""
    frames = moving(4, *size, 1.5)
    for name, config in {**PRESETS, **FIXED}.items():
        solver = Solver(4, size, config, device, TILINGS[0])
        flow_2NHW, iterations_N = solver.solve(*(torch.from_numpy(f).to(device) for f in frames))
        same, errors = 0, []
        for pair in range(4):
            expected_HW2, iterations = solve_pair(frames[0][pair], frames[1][pair], config)
            difference = flow_2NHW[:, pair].permute(1, 2, 0).cpu().numpy() - expected_HW2
            errors.append(float(np.linalg.norm(difference, axis=-1).mean()))
            same += int(iterations_N[pair]) == iterations
        again_2NHW, _ = solver.solve(*(torch.from_numpy(f).to(device) for f in frames))
        alike = "the same bits" if torch.equal(flow_2NHW, again_2NHW) else "OTHER BITS"
        print(f"  {name:10} mean error {max(errors):.1e} px; iterations equal in {same} of 4; again: {alike}")


class Runner:
    """One preset and tiling with its solver and frames on the device."""

    def __init__(self, name: str, config: TvL1Config, tiling: Tiling, frames: Frames, device: torch.device) -> None:
        self.name, self.device, self.seconds = name, device, list[float]()
        self.solver = Solver(len(frames[0]), frames[0].shape[1:], config, device, tiling)
        self.frames = [torch.from_numpy(f).to(device) for f in frames]
        self.run()  # compiles, and records the graphs
        self.seconds.clear()
        # Pixel-iterations of the batch, level by level.
        totals_L = [0, *torch.stack(self.solver.totals).sum(1).tolist()]
        iterations_L = [after - before for before, after in pairwise(totals_L)]
        areas = [level.size[0] * level.size[1] for level in reversed(self.solver.levels)]
        self.work = sum(area * n for area, n in zip(areas, iterations_L, strict=True))

    def run(self) -> None:
        """Solve the batch once."""
        _wait(self.device)
        start = time.perf_counter()
        self.solver.solve(*self.frames)
        _wait(self.device)
        self.seconds.append(time.perf_counter() - start)

    def idle(self) -> float:
        """Seconds that the launches take when every pair sleeps."""
        _wait(self.device)
        start = time.perf_counter()
        self.solver.solve(*(f[:0] for f in self.frames))
        _wait(self.device)
        return time.perf_counter() - start


def copy_rate(device: torch.device) -> float:
    """Bytes a second that a large copy reads and writes."""
    source = torch.zeros(1 << 28, device=device)
    target, seconds = torch.empty_like(source), []
    for _ in range(10):
        _wait(device)
        start = time.perf_counter()
        target.copy_(source)
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(seconds)


def core_rate(frames: Frames, config: TvL1Config) -> float | None:
    """Pairs a second of one CPU core with numba; None without it."""
    some = frames[0][:4], frames[1][:4]
    try:
        solve(*some, config, backend="numba")
    except ImportError:
        return None
    start = time.process_time()
    solve(*some, config, backend="numba")
    return 4 / (time.process_time() - start)


def measure(
    size: tuple[int, int], arguments: argparse.Namespace, device: torch.device, copy: float, peak: float
) -> None:
    """Print a line for each preset and tiling at one size; `copy` in bytes and `peak` in operations a second."""
    frames = moving(arguments.batch, *size, arguments.pixels)
    tilings = TILINGS if arguments.tilings else TILINGS[:1]
    for preset in arguments.presets:
        config = PRESETS[preset]
        runners = [Runner(f"{preset} {t.block}x{t.blocks}", config, t, frames, device) for t in tilings]
        for _ in range(arguments.rounds):
            for runner in runners:
                runner.run()
        core = core_rate(frames, config) if arguments.core else None
        for runner in runners:
            seconds = statistics.median(runner.seconds)
            rate = runner.work / seconds
            print(
                f"  {size[1]}x{size[0]} {runner.name:17} {arguments.batch / seconds:8.0f} pairs/s"
                f"  {runner.work / arguments.batch / 1e6:6.1f} Mpx-iterations a pair, {rate / 1e9:6.1f} G/s"
                f"  memory {rate * BYTES / copy:4.0%}  arithmetic {rate * OPERATIONS / peak:4.0%}"
                f"  idle launches {runner.idle() / seconds:4.0%}"
                + (f"  {arguments.batch / seconds / core:5.0f} x one core ({core:.1f} pairs/s)" if core else "")
            )


def main() -> None:
    """Check, then measure; or without a GPU, compile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256, help="pairs at a time")
    parser.add_argument("--sizes", nargs="+", default=["340x256", "224x224", "112x112"], help="WIDTHxHEIGHT")
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=PRESETS, help="of the algorithm")
    parser.add_argument("--tilings", action="store_true", help="try other ways to deal pixels to programs, too")
    parser.add_argument("--rounds", type=int, default=5, help="of each preset and tiling")
    parser.add_argument("--pixels", type=float, default=2.0, help="largest motion, about")
    parser.add_argument("--core", action=argparse.BooleanOptionalAction, default=True, help="compare with a CPU core")
    parser.add_argument("--clock", type=float, default=1.98, help="of the multiprocessors in GHz; 1.98 is an H200's")
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, Triton {triton.__version__}, Python {platform.python_version()}")
    if not torch.cuda.is_available():
        print("No GPU here, so nothing is measured. What the kernels are on an H100 or H200 (sm_90):")
        for name, (kernel, constants) in variants().items():
            made = compiled(name, kernel, constants)
            print(f"  {name:20} {made.registers:3} registers, {made.spills} spills, {made.instructions} instructions")
        return
    device = torch.device("cuda")
    copy = copy_rate(device)
    peak = torch.cuda.get_device_properties(device).multi_processor_count * 128 * 2 * arguments.clock * 1e9
    print(f"{torch.cuda.get_device_name()}, a copy moves {copy / 1e12:.2f} TB/s. Against NumPy, 120x96:")
    check(device)
    for width, height in (map(int, size.split("x")) for size in arguments.sizes):
        measure((height, width), arguments, device, copy, peak)


if __name__ == "__main__":
    main()
