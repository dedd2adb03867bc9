#!/usr/bin/env python3
"""The whole of STAR in minutes on two cores: videos, shards, three networks, scores, and pictures of where they look.

    make demo                    everything below runs/demo, which is made anew
    python jobs/demo.py --keep   go on from what is there: finished steps have nothing to do

Every step is a command that is printed before it runs and that works by itself. Preparing, training and evaluating go
through `ray job submit` to a cluster that cluster/laptop.sh starts and stops.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jobs.cli import guarded
from pipeline.core.errors import UserError, problem

CHECKOUT = Path(__file__).resolve().parents[1]
LAPTOP = "cluster/laptop.sh"
RECIPES = ("stabn_demo", "baseline_demo", "oneframe_demo")


def run(title: str, *command: str) -> None:
    """Run one step, its output shown; the step's own message explains a failure.

    Raises:
        UserError: the step failed.
    """
    started_s = time.monotonic()
    print(f"\n== {title}\n$ {' '.join(command)}", flush=True)
    status = subprocess.run(command, cwd=CHECKOUT, check=False).returncode  # noqa: S603 (our own commands)
    if status:
        fix = "mend what the output above says, then go on with: python jobs/demo.py --keep"
        raise UserError(problem(f"'{title}' failed", got=f"exit status {status}", allowed="0", fix=fix))
    print(f"   {time.monotonic() - started_s:.0f} s", flush=True)


def summary(out: Path, seconds: float) -> str:
    """Say what the demo measured, the good and the bad."""
    measured = {r: json.loads((out / "evaluations" / r / "metrics.json").read_text()) for r in RECIPES}
    classes = measured["stabn_demo"]["perception"]["none"]["classes_with_videos"]

    def row(name: str, counts: dict[str, Any]) -> str:
        top1 = counts["top1"]
        shares = (f"{100 * top1[key]:5.1f}" for key in ("value", "low", "high"))
        return "  {:42s}{} %   (95 % {} to {})".format(name, *shares)

    lines = [
        f"top-1 on {measured['stabn_demo']['videos']} validation videos that no network was trained on",
        row("ST-ABN", measured["stabn_demo"]["perception"]["none"]),
        row("ST-ABN, attention branch", measured["stabn_demo"]["attention"]["none"]),
        row("plain baseline, same backbone", measured["baseline_demo"]["perception"]["none"]),
        row("ST-ABN given one repeated frame", measured["oneframe_demo"]["perception"]["none"]),
        f"  {'chance':42s}{100 / classes:5.1f} %",
    ]
    for invert, name in (("spatial", "spatial"), ("temporal", "temporal"), ("both", "both")):
        lines.append(row(f"ST-ABN, {name} attention inverted", measured["stabn_demo"]["perception"][invert]))
    strips = sorted((out / "explanations").glob("*/strip-*.png"))
    record = json.loads((out / "runs" / "stabn_demo" / "run.json").read_text())
    lines += [
        (out / "evaluations" / "stabn_demo" / "table.txt").read_text().splitlines()[-1],
        "",
        *(f"strip    {os.path.relpath(path)}" for path in strips),
        f"pages    {os.path.relpath(out / 'explanations')}/*/index.html",
        f"MLflow   run {record['mlflow_run_id']}; mlflow ui --backend-store-uri sqlite:///{out / 'runs' / 'mlflow.db'}",
        f"\nthe demo took {seconds / 60:.1f} minutes",
    ]
    return "\n".join(lines)


def steps(out: Path) -> None:
    """Make, prepare, train, evaluate, explain."""
    videos, prepared, runs = out / "videos", out / "prepared", out / "runs"
    run("make real encoded videos", "jobs/make_synth.py", str(videos), "--size", "demo")
    run("start a Ray cluster on this machine", LAPTOP, "start")
    source = ("--name", "ssv2", "--source", str(videos), "--out", str(prepared), "--short-side", "64")
    run("decode, check and shard them", LAPTOP, "submit", "jobs/prepare_data.py", *source)
    for recipe in RECIPES:
        where = ("--data", str(prepared), "--storage", str(runs), "--run", recipe)
        run(f"train {recipe}", LAPTOP, "submit", "jobs/train_stabn.py", recipe, *where)
    for recipe in RECIPES:
        extra = ("--invert", "all", "--truth", str(videos / "truth.parquet")) if recipe == "stabn_demo" else ()
        where = ("--run", recipe, "--storage", str(runs), "--out", str(out / "evaluations" / recipe), *extra)
        run(f"evaluate {recipe}", LAPTOP, "submit", "jobs/evaluate.py", *where)
    unseen = json.loads((videos / "something-something-v2-validation.json").read_text())[:3]
    chosen = [videos / "20bn-something-something-v2" / f"{video['id']}.webm" for video in unseen]
    where = ("--run", "stabn_demo", "--storage", str(runs), "--out", str(out / "explanations"))
    truth = ("--truth", str(videos / "truth.parquet"))
    run("explain three videos", "jobs/explain.py", *map(str, chosen), *where, *truth)


def main(arguments: list[str] | None = None) -> int:
    """Run the steps, stop the cluster whatever happens, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=CHECKOUT / "runs" / "demo", help="folder (runs/demo)")
    parser.add_argument("--keep", action="store_true", help="keep what an earlier demo made, and go on from there")
    args = parser.parse_args(arguments)
    started_s = time.monotonic()
    if not args.keep:
        shutil.rmtree(args.out, ignore_errors=True)
    try:
        steps(args.out.resolve())
    finally:
        subprocess.run([LAPTOP, "stop"], cwd=CHECKOUT, check=False)  # noqa: S603 (our own command)
    print("\n" + summary(args.out.resolve(), time.monotonic() - started_s))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
