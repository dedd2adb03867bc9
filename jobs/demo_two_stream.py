#!/usr/bin/env python3
"""The two-stream system in minutes on two cores: videos, shards, flow, both rounds, attention nets, test, pictures.

    make demo-two-stream                                 everything below runs/demo-two-stream, which is made anew
    python jobs/demo_two_stream.py --label appearance    the reverse: the class is a shape, and motion says nothing
    python jobs/demo_two_stream.py --keep                go on from what is there

Every step is a command that is printed before it runs and works by itself. Most go through `ray job submit` to a
cluster that cluster/laptop.sh starts and stops.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.cli import guarded
from jobs.demo_steps import CHECKOUT, LAPTOP, claimed, cluster, run

RECIPE = "two_stream_demo"
VIDEOS = ("train=720", "validation=240", "test=0", "classes=4", "frames=[10,22]", "active=[0.9,1.0]")
"""In UCF-101's layout two groups of three train and the third is tested, whatever part a video was drawn for."""
CALM = ("distractors=0", "shake=0", "clutter=5", "radius=[0.28,0.36]")
"""What a network this narrow learns in a few hundred steps."""
PLACES = "5"


def summary(out: Path, label: str, seconds: float) -> str:
    """Say what the demo measured, the good and the bad."""
    measured = json.loads((out / "test" / RECIPE / "metrics.json").read_text())

    def row(name: str, found: dict[str, Any]) -> str:
        top1, low, high = (100 * found["top1"][key] for key in ("value", "low", "high"))
        return f"  {name:35s}{top1:5.1f} %   (95 % {low:.1f} to {high:.1f})"

    def added(name: str, pair: dict[str, Any]) -> str:
        points, low, high = (100 * pair["difference"][key] for key in ("value", "low", "high"))
        changed = f"{pair['gained']} videos gained, {pair['lost']} lost, McNemar p = {pair['mcnemar_p']:.2g}"
        return f"  {name:35s}{points:+5.1f} points (95 % {low:+.1f} to {high:+.1f}; {changed})"

    parts = {"spatial": "spatial", "temporal": "temporal", "fused": "fusion 1 : 1.5"}
    lines = [f"classes by {label}: top-1 on {measured['videos']} test videos that no network was trained on"]
    for variant, words in (("without", "without attention"), ("with", "with attention")):
        lines += [row(f"{name}, {words}", measured[variant][part]) for part, name in parts.items()]
    lines.append(f"  {'chance':35s}{100 / measured['without']['fused']['classes_with_videos']:5.1f} %")
    lines.append("what the second round added to the first, its maps and its longer training together:")
    lines += [added(name, measured["with_against_without"][part]) for part, name in parts.items()]
    lines.append("what the maps alone added, the same networks shown 0.1 instead:")
    lines += [added(name, measured["with_against_blind"][part]) for part, name in parts.items()]
    lines += ["", *(f"figure   {os.path.relpath(path)}" for path in sorted((out / "figures").glob("*.png")))]
    lines.append(f"table    {os.path.relpath(out / 'test' / RECIPE / 'table.txt')}")
    lines.append(f"MLflow   mlflow ui --backend-store-uri sqlite:///{out / 'runs' / 'mlflow.db'}")
    return "\n".join([*lines, f"\nthe demo took {seconds / 60:.1f} minutes"])


def steps(out: Path, label: str) -> None:
    """Make, prepare, compute flow, train, test, show."""
    videos, prepared, runs = str(out / "videos"), str(out / "prepared"), str(out / "runs")
    dials = (*VIDEOS, *CALM, f"label={label}")
    run("make real encoded videos", "jobs/make_synth.py", videos, "--layout", "ucf101", "--set", *dials)
    source = ("--name", "ucf101", "--source", videos, "--out", prepared, "--short-side", "64")
    run("decode, check and shard them", LAPTOP, "submit", "jobs/prepare_data.py", *source)
    quick = ("--tvl1", "scales=3", "warps=3", "--cpus", "1")
    run("compute their optical flow", LAPTOP, "submit", "jobs/extract_flow.py", "--data", prepared, *quick)
    where = ("--storage", runs, "--run", RECIPE)
    trained = ("--data", prepared, *where)
    run("train both rounds and the attention nets", LAPTOP, "submit", "jobs/train_two_stream.py", RECIPE, *trained)
    tested = (RECIPE, "--storage", runs, "--places", PLACES, "--out", str(out / "test"))
    run("test", LAPTOP, "submit", "jobs/evaluate_two_stream.py", *tested)
    shown = (RECIPE, "--storage", runs, "--out", str(out / "figures"))
    run("show where the streams look", "jobs/explain_two_stream.py", *shown)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps, stop the cluster that they needed, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--label", choices=("motion", "appearance"), default="motion", help="what the class is (motion)"
    )
    parser.add_argument("--out", type=Path, help="folder (runs/demo-two-stream, -appearance with that label)")
    parser.add_argument("--keep", action="store_true", help="keep what an earlier demo made, and go on from there")
    args = parser.parse_args(arguments)
    suffix = "-appearance" if args.label == "appearance" else ""
    started_s, out = time.monotonic(), (args.out or CHECKOUT / "runs" / f"demo-two-stream{suffix}").resolve()
    with claimed(out, keep=args.keep), cluster():
        steps(out, args.label)
    print("\n" + summary(out, args.label, time.monotonic() - started_s))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
