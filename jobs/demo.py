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
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.cli import guarded, here
from pipeline.core.errors import UserError, problem

CHECKOUT, LAPTOP = Path(__file__).resolve().parents[1], "cluster/laptop.sh"
MARKER = ".star-demo"  # lies in a folder that a demo made, and may therefore delete
RECIPES = ("stabn_demo", "baseline_demo", "oneframe_demo")
INVERTED = ("spatial", "temporal", "both")


def run(title: str, *command: str) -> None:
    """Run one step, its output shown; the step's own message explains a failure."""
    started_s = time.monotonic()
    print(f"\n== {title}\n$ {' '.join(command)}", flush=True)
    status = subprocess.run(command, cwd=CHECKOUT, check=False).returncode  # noqa: S603 (our own commands)
    if status:
        fix = f"mend what the output above says, then: python {here(sys.argv[0])} --keep"
        raise UserError(problem(f"'{title}' failed", got=f"exit status {status}", allowed="0", fix=fix))
    print(f"   {time.monotonic() - started_s:.0f} s", flush=True)


def summary(out: Path, seconds: float) -> str:
    """Say what the demo measured, the good and the bad."""
    measured = {r: json.loads((out / "evaluations" / r / "metrics.json").read_text()) for r in RECIPES}

    def row(name: str, counts: dict[str, Any]) -> str:
        top1, low, high = (100 * counts["top1"][key] for key in ("value", "low", "high"))
        return f"  {name:42s}{top1:5.1f} %   (95 % {low:.1f} to {high:.1f})"

    st_abn = measured["stabn_demo"]
    record = json.loads((out / "runs" / "stabn_demo" / "run.json").read_text())
    lines = (
        f"top-1 on {st_abn['videos']} validation videos that no network was trained on",
        row("ST-ABN", st_abn["perception"]["none"]),
        row("ST-ABN, attention branch", st_abn["attention"]["none"]),
        row("plain baseline, same backbone", measured["baseline_demo"]["perception"]["none"]),
        row("ST-ABN given one repeated frame", measured["oneframe_demo"]["perception"]["none"]),
        f"  {'chance':42s}{100 / st_abn['perception']['none']['classes_with_videos']:5.1f} %",
        *(row(f"ST-ABN, {how} attention inverted", st_abn["perception"][how]) for how in INVERTED),
        (out / "evaluations" / "stabn_demo" / "table.txt").read_text().splitlines()[-1],
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
    run("make real encoded videos", "jobs/make_synth.py", str(videos), "--size", "demo")
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
    chosen = [str(videos / "20bn-something-something-v2" / f"{video['id']}.webm") for video in unseen]
    where = ("--run", "stabn_demo", "--storage", str(runs), "--out", str(out / "explanations"))
    run("explain three videos", "jobs/explain.py", *chosen, *where, "--truth", str(videos / "truth.parquet"))


def make_anew(out: Path) -> None:
    """Empty the folder of an earlier demo; refuse one that no demo made."""
    if out.exists() and any(out.iterdir()) and not (out / MARKER).exists():
        fix = "give another --out, or add --keep to use the folder as it is"
        raise UserError(problem("The folder is not a demo's", got=str(out), allowed="a new or empty folder", fix=fix))
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / MARKER).touch()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps, stop the cluster that they needed, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=CHECKOUT / "runs" / "demo", help="folder (runs/demo)")
    parser.add_argument("--keep", action="store_true", help="keep what an earlier demo made, and go on from there")
    args = parser.parse_args(arguments)
    started_s, out = time.monotonic(), args.out.resolve()
    if not args.keep:
        make_anew(out)
    was_up = subprocess.run([LAPTOP, "status"], cwd=CHECKOUT, check=False).returncode == 0  # noqa: S603 (ours)
    try:
        run("start a Ray cluster on this machine", LAPTOP, "start")
        steps(out)
    finally:
        if not was_up:
            subprocess.run([LAPTOP, "stop"], cwd=CHECKOUT, check=False)  # noqa: S603 (our own command)
    print("\n" + summary(out, time.monotonic() - started_s))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
