#!/usr/bin/env python3
"""Show what a trained network attended to in video files: strips, animations, arrays, and a page for each video.

    python jobs/explain.py clips/*.webm --run stabn_demo-20260101-120000
    python jobs/explain.py push.mp4 --checkpoint runs/NAME/step-00000010 --label "Pushing it from left to right"

The whole video is shown in windows as long as the network's clip, the last one ending with the video; --centre shows
the one clip in the middle, as an evaluation sees it. Each video gets a folder in --out: index.html, and for each window
strip-N.png, clip-N.webp (or .gif) and arrays-N.npz (spatial, temporal, idx, valid, logits, att_logits, fps, classes).
Pages and strips are also logged to the MLflow run of the training.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.cli import guarded, here, path, trained


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=path, nargs="+", metavar="VIDEO", help="video files, paths or URIs")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", type=trained, metavar="NAME|ID", help="a run by name, by folder, or by MLflow id")
    what.add_argument("--checkpoint", type=path, metavar="URI", help="a checkpoint's folder")
    parser.add_argument("--which", choices=("best", "last"), default="best", help="checkpoint of the run (best)")
    parser.add_argument("--storage", type=path, default="runs", metavar="URI", help="run storage (runs)")
    parser.add_argument("--label", default="", metavar="TEXT|INDEX", help="true class of the videos")
    parser.add_argument(
        "--truth", type=path, default="", metavar="FILE", help="make_synth's truth.parquet: class and action"
    )
    parser.add_argument("--centre", action="store_true", help="only the clip in the middle of the video")
    parser.add_argument("--stride", type=int, help="distance between frames (the recipe's); longer windows")
    parser.add_argument("--stretch", action="store_true", help="stretch attention to the full colours, for display")
    parser.add_argument("--animation", choices=("webp", "gif"), default="webp", help="format of the animations (webp)")
    parser.add_argument("--out", type=path, default="explanations", metavar="URI", help="folder (explanations)")
    parser.add_argument("--no-mlflow", action="store_true", help="do not log to the training's MLflow run")
    parser.add_argument("--gpu", action="store_true", help="run the network on the GPU")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Explain every video and say where the results are; returns the exit status."""
    args = parse(arguments)

    # After parsing, so that --help does not wait for MLflow.
    from pipeline.core import storage
    from pipeline.eval.load import load
    from pipeline.explain.explain import explain_video, with_stride
    from pipeline.explain.gallery import Known, folder_names, known_of, write_explanation
    from pipeline.explain.strip import StripStyle
    from pipeline.registry import locate
    from pipeline.tracking.attach import attach

    network = load(locate.find_checkpoint(args.checkpoint or args.run, args.storage, args.which), gpu=args.gpu)
    if args.stride is not None:
        network = with_stride(network, args.stride)
    known = known_of(args.truth, args.label, network.classes)
    style = StripStyle(stretch=args.stretch, note=f"{network.recipe.name}, step {network.step}")
    uri = "" if args.no_mlflow else locate.mlflow_of(network)
    for video, name in zip(args.videos, folder_names(args.videos), strict=True):
        facts: Known = known(video)
        windows = explain_video(
            network, video, Path(video).name, whole=not args.centre, label=facts.label, active_V=facts.active_V
        )
        page = write_explanation(storage.join(args.out, name), network, windows, style, args.animation)
        print(f"{here(video)}: {len(windows)} windows, {here(page)}", flush=True)
        path, files = f"explanation/{network.recipe.name}-step{network.step}/{name}", ("strip-*.png", "index.html")
        if uri and not attach(
            uri, network.run_id, folder=storage.join(args.out, name), artifact_path=path, files=files
        ):
            uri = ""  # said once, not waited for with every video
    if uri:
        print(f"MLflow run {network.run_id} at {uri}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
