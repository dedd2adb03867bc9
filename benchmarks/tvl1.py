#!/usr/bin/env python3
"""Speed of TV-L1 on one CPU core against OpenCV's, and how far the two flows are apart.

    python benchmarks/tvl1.py [--clips FOLDER ...] [--pairs 4] [--rounds 3] [--sizes WxH ...] [--markdown FILE]

OpenCV and the numba backend take turns on the same pairs, round after round, each on one thread, so that a drifting
clock or a neighbour hurts both alike; ratios are medians of the rounds' ratios. Moving and nearly still pairs are
different work, many iterations against mostly warping, and are measured apart: from clips in folders those with a
mean flow of at least 0.5 and at most 0.1 pixels; without folders, textures that move by some pixels and by hundredths.

Columns: pairs a second of CPU time, OpenCV's and ours; their ratio by CPU time and by the clock; mean iterations; then
mean end-point error to OpenCV, and in brackets OpenCV's own with its vector code switched off; share of pixels within
0.1 px; share of 8-bit values (bound 20) within 1.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numba
import numpy as np
import numpy.typing as npt

from pipeline.flow.quantise import encode
from pipeline.flow.tvl1 import Backend, TvL1Config, TvL1Result, solve

CONFIGS = {"default": TvL1Config(), "denseflow": TvL1Config.denseflow()}
KINDS = {"moving": (0.5, np.inf), "still": (0.0, 0.1)}
"""Range of the mean flow of a pair, pixels."""
SUFFIXES = (".avi", ".mp4", ".webm", ".mkv", ".mov")
Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pairs:
    """Pairs of one kind at one size."""

    kind: str
    frames0_NHW: Grey
    frames1_NHW: Grey

    @property
    def size(self) -> str:
        """Width x height."""
        return f"{self.frames0_NHW.shape[2]}x{self.frames0_NHW.shape[1]}"

    def solve(self, config: TvL1Config, backend: Backend, threads: int = 1) -> TvL1Result:
        """Compute all of them."""
        return solve(self.frames0_NHW, self.frames1_NHW, config, backend=backend, threads=threads)


def candidates(folders: list[Path]) -> Iterator[tuple[str, Grey, Grey]]:
    """Yield pairs of colour or grey frames: neighbours from everywhere in the clips, or textures in motion."""
    if not folders:
        for seed, reach in enumerate([4.0, 0.04, 2.0, 0.02, 1.0, 0.03, 7.0, 0.05]):
            yield f"texture {reach} px", *moving_texture(seed, reach)
        return
    clips = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in SUFFIXES)
    for share in (0.5, 0.1, 0.8, 0.3, 0.65, 0.95):
        for path in clips:
            capture = cv2.VideoCapture(str(path))
            capture.set(cv2.CAP_PROP_POS_FRAMES, int(share * capture.get(cv2.CAP_PROP_FRAME_COUNT)))
            (ok0, frame0), (ok1, frame1) = capture.read(), capture.read()
            if ok0 and ok1:
                yield f"{path.name} at {share:.0%}", frame0, frame1


def moving_texture(seed: int, reach: float) -> tuple[Grey, Grey]:
    """Two frames of a texture that turns, grows and shifts by up to about `reach` pixels, with a little noise."""
    rng = np.random.default_rng(seed)
    height, width = 256, 340
    texture_HW = sum(
        cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), sigma) * sigma**1.5 for sigma in (1, 2.5, 6, 15)
    )
    texture_HW = np.clip(127 + 50 * texture_HW / np.std(texture_HW), 0, 255).astype(np.float32)
    turn, shift_2 = reach / width, rng.uniform(-0.5, 0.5, 2) * reach
    affine_23 = np.array([[1 + turn, -turn, shift_2[0]], [turn, 1 + turn, shift_2[1]]])
    moved_HW = cv2.warpAffine(
        texture_HW, affine_23, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    noisy = [frame_HW + rng.normal(0, min(1.0, reach), frame_HW.shape) for frame_HW in (texture_HW, moved_HW)]
    return tuple(np.clip(np.rint(frame_HW), 0, 255).astype(np.uint8) for frame_HW in noisy)


def choose(folders: list[Path], count: int) -> dict[str, list[tuple[str, Grey, Grey]]]:
    """Sort pairs by how much moves in them, up to `count` of a kind."""
    chosen: dict[str, list[tuple[str, Grey, Grey]]] = {kind: [] for kind in KINDS}
    for name, frame0, frame1 in candidates(folders):
        grey0_HW, grey1_HW = (resized(frame, 340, 256) for frame in (frame0, frame1))
        flow_HW2 = solve(grey0_HW[None], grey1_HW[None]).flow_NHW2[0]
        moved = float(np.linalg.norm(flow_HW2, axis=-1).mean())
        for kind, (low, high) in KINDS.items():
            if low <= moved <= high and len(chosen[kind]) < count:
                chosen[kind].append((f"{name}, {moved:.2f} px", frame0, frame1))
    return chosen


def resized(frame: Grey, width: int, height: int) -> Grey:
    """Grey, at this size."""
    grey_HW = frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    small_HW: Grey = cv2.resize(grey_HW, (width, height), interpolation=cv2.INTER_AREA)
    return small_HW


def timed(call: Callable[[], TvL1Result]) -> tuple[float, float]:
    """CPU seconds of the process and seconds by the clock."""
    start = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - start[0], time.perf_counter() - start[1]


def speed(pairs: Pairs, config: TvL1Config, rounds: int) -> str:
    """Measure one line of the table."""
    pairs.solve(config, "numba")
    theirs, ours = [], []
    for _ in range(rounds):
        theirs.append(timed(lambda: pairs.solve(config, "opencv")))
        ours.append(timed(lambda: pairs.solve(config, "numba")))
    count = len(pairs.frames0_NHW)
    cpu, clock = (statistics.median(t[i] / o[i] for t, o in zip(theirs, ours, strict=True)) for i in range(2))
    rates = [count / statistics.median(t[0] for t in times) for times in (theirs, ours)]
    return f"{rates[0]:6.2f} {rates[1]:7.2f} {cpu:6.1f} {clock:6.1f}"


def equality(pairs: Pairs, config: TvL1Config) -> str:
    """Compare the two flows."""
    ours, reference = pairs.solve(config, "numba"), pairs.solve(config, "opencv").flow_NHW2
    cv2.setUseOptimized(False)
    itself = pairs.solve(config, "opencv").flow_NHW2
    cv2.setUseOptimized(True)
    error_NHW, own_NHW = (np.linalg.norm(f - reference, axis=-1) for f in (ours.flow_NHW2, itself))
    levels = np.abs(encode(ours.flow_NHW2).astype(int) - encode(reference).astype(int))
    return (
        f"{ours.iterations_N.mean():6.0f} {error_NHW.mean():8.4f} ({own_NHW.mean():.4f}) "
        f"{(error_NHW < 0.1).mean():7.4f} {(levels <= 1).mean():7.4f}"
    )


def scaling(pairs: Pairs, config: TvL1Config, rounds: int) -> float:
    """How many times as many pairs two threads solve by the clock, best of the rounds."""
    many = Pairs(pairs.kind, *(np.concatenate([f] * 4) for f in (pairs.frames0_NHW, pairs.frames1_NHW)))
    clocks = [[timed(lambda n=n: many.solve(config, "numba", n))[1] for n in (1, 2)] for _ in range(max(rounds, 3))]  # type: ignore[misc]
    return max(one / two for one, two in clocks)


def hardware() -> str:
    """Where and when this was measured."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    versions = f"Python {platform.python_version()}, numba {numba.__version__}, OpenCV {cv2.__version__}"
    load = os.getloadavg()[0]
    return f"{datetime.now(UTC):%Y-%m-%d}, {len(names)} x {names[0]}, {versions}, load {load:.1f} at the start"


def report(folders: list[Path], sizes: list[str], count: int, rounds: int) -> Iterator[str]:
    """Yield the lines as they are measured."""
    yield hardware()
    start = time.process_time()
    solve(np.zeros((1, 16, 16), np.uint8), np.zeros((1, 16, 16), np.uint8))
    yield f"first call: {time.process_time() - start:.1f} CPU seconds (compiles once a machine, then loads)"
    chosen = choose(folders, count)
    for kind, found in chosen.items():
        yield f"{kind}: " + ("; ".join(name for name, *_ in found) or "no such pair in these clips")
    yield f"{'':29}opencv    ours  x cpu x clock  iter      EPE (itself)  <0.1px     +-1"
    for size in sizes:
        width, height = (int(side) for side in size.split("x"))
        for kind, found in chosen.items():
            if not found:
                continue
            frames0 = np.stack([resized(frame0, width, height) for _, frame0, _ in found])
            frames1 = np.stack([resized(frame1, width, height) for _, _, frame1 in found])
            pairs = Pairs(kind, frames0, frames1)
            for name, config in CONFIGS.items():
                yield f"{size:8} {kind:7} {name:10} {speed(pairs, config, rounds)} {equality(pairs, config)}"
            if kind == "moving" and (os.cpu_count() or 1) > 1:
                yield f"{size:8} {kind:7} two threads x{scaling(pairs, CONFIGS['default'], rounds):.2f} by the clock"


def main() -> None:
    """Print the report, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, nargs="+", default=[], help="folders of videos; textures without")
    parser.add_argument("--pairs", type=int, default=4, help="pairs of a kind")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", default=["340x256", "224x224", "112x112"], metavar="WxH")
    parser.add_argument("--markdown", type=Path, help="also write the report there")
    args = parser.parse_args()
    lines = []
    for line in report(args.clips, args.sizes, args.pairs, args.rounds):
        print(line, flush=True)
        lines.append(line)
    if args.markdown:
        args.markdown.write_text("# TV-L1\n\n```text\n" + "\n".join(lines) + "\n```\n")


if __name__ == "__main__":
    main()
