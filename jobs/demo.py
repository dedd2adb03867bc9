#!/usr/bin/env python3
"""The whole of STAR in minutes on two cores: videos, shards, three networks, scores, and pictures of where they look.

    make demo                    everything below runs/demo, which is made anew
    python jobs/demo.py --keep   go on from what is there

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
from jobs.demo_steps import CHECKOUT, LAPTOP, claimed, cluster, network, run

RECIPES = ("stabn_demo", "baseline_demo", "oneframe_demo")
INVERTED = ("spatial", "temporal", "both")


def summary(out: Path, seconds: float) -> str:
    """Say what the demo measured, the good and the bad."""
    measured = {r: json.loads((out / "evaluations" / r / "metrics.json").read_text()) for r in RECIPES}

    def row(name: str, counts: dict[str, Any]) -> str:
        top1, low, high = (100 * counts["top1"][key] for key in ("value", "low", "high"))
        return f"  {name:42s}{top1:5.1f} %   (95 % {low:.1f} to {high:.1f})"

    st_abn = measured["stabn_demo"]
    table = (out / "evaluations" / "stabn_demo" / "table.txt").read_text()
    record = json.loads((out / "runs" / "stabn_demo" / "run.json").read_text())
    lines = (
        f"top-1 on {st_abn['videos']} validation videos that no network was trained on",
        row("ST-ABN", st_abn["perception"]["none"]),
        row("ST-ABN, attention branch", st_abn["attention"]["none"]),
        row("plain baseline, same backbone", measured["baseline_demo"]["perception"]["none"]),
        row("ST-ABN given one repeated frame", measured["oneframe_demo"]["perception"]["none"]),
        f"  {'chance':42s}{100 / st_abn['perception']['none']['classes_with_videos']:5.1f} %",
        *(row(f"ST-ABN, {how} attention inverted", st_abn["perception"][how]) for how in INVERTED),
        next(line for line in table.splitlines() if line.startswith("Temporal attention")),
        "",
        *(f"strip    {os.path.relpath(path)}" for path in sorted((out / "explanations").glob("*/strip-*.png"))),
        f"pages    {os.path.relpath(out / 'explanations')}/*/index.html",
        f"MLflow   run {record['mlflow_run_id']}; mlflow ui --backend-store-uri sqlite:///{out / 'runs' / 'mlflow.db'}",
        f"\nthe demo took {seconds / 60:.1f} minutes",
    )
    return "\n".join(lines)


def steps(out: Path) -> None:
    """Make, prepare, train, evaluate, explain."""
    videos, prepared, runs = out / "videos", out / "prepared", out / "runs"
    first, *others = RECIPES
    network(out, first, "--size", "demo")
    for recipe in others:
        where = ("--data", str(prepared), "--storage", str(runs), "--run", recipe)
        run(f"train {recipe}", LAPTOP, "submit", "jobs/train_stabn.py", recipe, *where)
    for recipe in RECIPES:
        extra = ("--invert", "all", "--truth", str(videos / "truth.parquet")) if recipe == "stabn_demo" else ()
        where = ("--run", recipe, "--storage", str(runs), "--out", str(out / "evaluations" / recipe), *extra)
        run(f"evaluate {recipe}", LAPTOP, "submit", "jobs/evaluate.py", *where)
    unseen = json.loads((videos / "something-something-v2-validation.json").read_text())[:3]
    chosen = [str(videos / "20bn-something-something-v2" / f"{video['id']}.webm") for video in unseen]
    where = ("--run", "stabn_demo", "--storage", str(runs), "--out", str(out / "explanations"))
    run("explain three videos", "jobs/explain.py", *chosen, *where, "--truth", str(videos / "truth.parquet"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps, stop the cluster that they needed, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=CHECKOUT / "runs" / "demo", help="folder (runs/demo)")
    parser.add_argument("--keep", action="store_true", help="keep what an earlier demo made, and go on from there")
    args = parser.parse_args(arguments)
    started_s, out = time.monotonic(), args.out.resolve()
    with claimed(out, keep=args.keep), cluster():
        steps(out)
    print("\n" + summary(out, time.monotonic() - started_s))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
