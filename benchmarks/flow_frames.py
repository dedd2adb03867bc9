#!/usr/bin/env python3
"""What it changes that flow is computed from the stored frames (JPEG) and not from the original video.

    python benchmarks/flow_frames.py CLIP [CLIP ...] [--pairs 8] [--short-side 256] [--backend opencv] [--markdown FILE]

Both flows come from the same reduced frames; only the JPEG of the shards lies between them. Beside them stands what
does not come from the frames at all: OpenCV against itself with its vector code switched off, on the original frames.
The last two columns are about storing flow: size of a pair in both codecs, and what JPEG does to its levels.
Neighbouring pairs from the middle of each clip. Nothing here is a clock.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.core.storage import publish_bytes
from pipeline.data.prepare.ingest import shrink
from pipeline.data.records import EncodedVideo
from pipeline.data.store.shards import Codec, decode_frames, encode_frame
from pipeline.data.video.decode import decode_video
from pipeline.flow.config import FlowCodec
from pipeline.flow.quantise import encode
from pipeline.flow.store import decode_plane, encode_plane
from pipeline.flow.tvl1 import Backend, TvL1Config, solve_frames

Flow = npt.NDArray[np.float32]
HEAD = (
    "| clip | size | mean motion, px | EPE, px: mean / median / p95 | pixels within 0.1 px | levels equal / within 1 "
    "| OpenCV against itself, mean EPE | kB a pair: JPEG / PNG | JPEG's error, levels: mean / largest |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def main() -> int:
    """Measure every clip and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--short-side", type=int, default=256)
    parser.add_argument("--backend", choices=("opencv", "numba"), default="opencv")
    parser.add_argument("--markdown", help="also write the table there")
    args = parser.parse_args()
    lines = [HEAD]
    print(HEAD, flush=True)
    for clip in args.clips:
        lines.append(measure(Path(clip), args.pairs, args.short_side, args.backend))
        print(lines[-1], flush=True)
    if args.markdown:
        publish_bytes(args.markdown, ("\n".join(lines) + "\n").encode())
    return 0


def measure(clip: Path, pairs: int, short_side: int, backend: Backend) -> str:
    """Return a line of the table."""
    frames_VHWC = decode_video(str(clip)).frames_VHWC
    start = max(0, (len(frames_VHWC) - pairs - 1) // 2)
    original_THWC = np.stack([shrink(frame, short_side) for frame in frames_VHWC[start : start + pairs + 1]])
    height, width = original_THWC.shape[1:3]
    jpeg = tuple(memoryview(encode_frame(frame, Codec())) for frame in original_THWC)
    stored_THWC = decode_frames(EncodedVideo(clip.stem, 0, 0.0, height, width, jpeg), range(len(jpeg)))
    first, second = (flow_of(x_THWC, backend) for x_THWC in (original_THWC, stored_THWC))
    far = np.linalg.norm(first - second, axis=-1)
    levels = np.abs(encode(first).astype(int) - encode(second))
    return (
        f"| {clip.name} | {width} x {height} | {np.linalg.norm(first, axis=-1).mean():.2f} "
        f"| {far.mean():.3f} / {np.median(far):.3f} / {np.quantile(far, 0.95):.3f} | {(far < 0.1).mean():.1%} "
        f"| {(levels == 0).mean():.1%} / {(levels <= 1).mean():.1%} | {itself(original_THWC):.3f} "
        f"| {storage_of(encode(first))} |"
    )


def storage_of(levels_NHW2: npt.NDArray[np.uint8]) -> str:
    """Return what a pair weighs in each codec, and how far JPEG's levels are from the true ones."""
    planes = [np.ascontiguousarray(level_HW2[..., axis]) for level_HW2 in levels_NHW2 for axis in (0, 1)]
    jpeg, png = ([encode_plane(p, FlowCodec(format=f)) for p in planes] for f in ("jpeg", "png"))
    decoded = [decode_plane(data) for data in jpeg]
    far = np.stack([np.abs(p.astype(int) - d) for p, d in zip(planes, decoded, strict=True) if d is not None])
    sizes = " / ".join(f"{sum(map(len, stored)) / len(levels_NHW2) / 1000:.1f}" for stored in (jpeg, png))
    return f"{sizes} | {far.mean():.2f} / {far.max()}"


def flow_of(x_THWC: npt.NDArray[np.uint8], backend: Backend) -> Flow:
    """Return the flow of consecutive frames with the default settings, pixels."""
    grey_THW = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in x_THWC])
    return solve_frames(grey_THW, TvL1Config(), backend=backend).flow_NHW2


def itself(x_THWC: npt.NDArray[np.uint8]) -> float:
    """Return OpenCV's mean difference to itself without vector code: rounding alone, grown by the iterations."""
    fast = flow_of(x_THWC, "opencv")
    cv2.setUseOptimized(False)
    try:
        plain = flow_of(x_THWC, "opencv")
    finally:
        cv2.setUseOptimized(True)
    return float(np.linalg.norm(fast - plain, axis=-1).mean())


if __name__ == "__main__":
    sys.exit(main())
