#!/usr/bin/env python3
"""Two nights of retraining in minutes on two cores: good batches promote, bad ones are refused, a rollback undoes.

    make demo-retrain                    everything below runs/demo-retrain, which is made anew
    python jobs/demo_retrain.py --keep   go on from what is there

Night zero is a network trained for half as long as the demo's. Before night one, programs that know the truth annotate
clips that it gets wrong; before night two, programs that answer at random and leave a whole class blank. Both batches
are sealed like people's. Videos and shards are `make demo`'s, made when absent. Every step is a printed command.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.cli import guarded
from jobs.demo_steps import CHECKOUT, LAPTOP, claimed, cluster, run, service, videos_and_shards
from jobs.retrain import REFUSED
from pipeline.annotate.campaign import read_campaign
from pipeline.retrain.ledger import Ledger

RECIPE, ZERO, MODEL = "stabn_demo", "night-zero", "star-demo"
TAUGHT = ("optim.lr=0.02", "train.epochs=3", "train.eval_every=0")
WORST = ("--below", "1", "--most", "3")
"""A network of the demo gets most clips right: the published rule, below one half, would choose no class."""


def zero(demo: Path, runs: Path) -> None:
    """Make what night one starts from: videos, shards, a trained network."""
    prepared = demo / "prepared"
    if not (prepared / "manifest.json").exists():
        with claimed(demo, keep=True):
            videos_and_shards(demo, "--size", "demo")
    where = ("--data", str(prepared), "--storage", str(runs), "--run", ZERO, "train.epochs=4", "train.eval_every=4")
    run("train night zero's network", LAPTOP, "submit", "jobs/train_stabn.py", RECIPE, *where)


def annotated(out: Path, name: str, truth: Path, believed: Path, *habits: str) -> None:
    """Have clips that the champion gets wrong annotated through the service, and sealed, if that is not done yet."""
    if any(json.loads(m.read_text())["campaign"] == name for m in (out / "batches").glob("*/manifest.json")):
        return
    asked = ("--run", f"models:/{MODEL}@champion", "--storage", str(out / "runs"), "--truth", str(truth), *WORST)
    told = ("--out", str(out / name), "--name", name, "--heldout-share", "0.2")
    with cluster():
        run(
            "mine the clips that the champion gets wrong", LAPTOP, "submit", "jobs/mine_misclassified.py", *asked, *told
        )
    if believed != truth:
        print(f"\n'{spoil(truth, out / name, believed)}' will be left blank, all else is random.", flush=True)
    campaign = ("--campaign", str(out / name))
    store = ("--database", str(out / f"{name}.db"), "--batches", str(out / "batches"), "--port", "0")
    with service("jobs/serve_annotation.py", *campaign, *store, "--invite", "Grace", "--role", "admin") as link:
        said = ("--invitation", link, *campaign, "--truth", str(believed), *habits)
        run("annotate as eight people, and seal", "jobs/simulate_annotators.py", *said)


def spoil(truth: Path, campaign: Path, false: Path) -> str:
    """Write what careless annotators believe: activity at random, and none in one class; returns its name."""
    (about, _), rng = read_campaign(str(campaign)), np.random.default_rng(0)
    erased = Counter(item.label for item in about.items if item.kind == "work").most_common(1)[0][0]
    blank = {item.video for item in about.items if item.label == erased}
    rows = pq.read_table(truth, columns=["id", "active"]).to_pylist()
    drawn = [[bool(one) and row["id"] not in blank for one in rng.random(len(row["active"])) < 0.5] for row in rows]
    pq.write_table(pa.table({"id": [row["id"] for row in rows], "active": drawn}), false)
    return about.classes[erased]


def steps(demo: Path, out: Path) -> None:
    """Night zero, a promotion, a refusal, a rollback; what the ledger has already is not done again."""
    truth, runs = demo / "videos" / "truth.parquet", out / "runs"
    where = ("--model", MODEL, "--storage", str(runs), "--batches", str(out / "batches"))
    night = ("jobs/retrain.py", *where, *TAUGHT)
    with cluster():
        zero(demo, runs)
    said = {one.detail.get("outcome", one.action) for one in Ledger(str(runs / "retrain.db")).events()}
    if "promoted" not in said:
        run("make it the champion", "jobs/retrain.py", *where, "--bootstrap", ZERO)
        annotated(out, "campaign-1", truth, truth, "--errors", "0.05")
        run("night one: good batches", *night)
        run("the same once more: nothing to do", *night)
    if "refused" not in said:
        annotated(out, "campaign-2", truth, out / "false-truth.parquet", "--errors", "0")
        run("night two: bad batches", *night, expected=REFUSED)
    if "roll_back" not in said:
        why = ("--by", "Ada", "--reason", "to show that it can be undone")
        run("roll back to night zero", "jobs/rollback.py", *where, *why)
    run("rebuild what version 2 was trained on", "jobs/lineage.py", *where, "--version", "2")
    run("write the history and all pages anew", "jobs/lineage.py", *where, "--pages")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps and say where to look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=CHECKOUT / "runs" / "demo", help="folder of a demo (runs/demo)")
    parser.add_argument("--out", type=Path, default=CHECKOUT / "runs" / "demo-retrain", help="(runs/demo-retrain)")
    parser.add_argument("--keep", action="store_true", help="keep what an earlier demo made, and go on from there")
    args = parser.parse_args(arguments)
    started_s, out, runs = time.monotonic(), args.out.resolve(), os.path.relpath(args.out / "runs")
    with claimed(out, keep=args.keep):
        steps(args.demo.resolve(), out)
    print(f"\nhistory  {runs}/history-{MODEL}.html\npages    {runs}/plans/*/report.html")
    print(f"\nthe demo took {(time.monotonic() - started_s) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
