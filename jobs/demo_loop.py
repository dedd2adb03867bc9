#!/usr/bin/env python3
"""The annotation loop in minutes on two cores: a network, the clips it gets wrong, eight annotators, what they teach.

    make demo-loop                       everything below runs/demo-loop, which is made anew
    python jobs/demo_loop.py --keep      go on from what is there
    python jobs/demo_loop.py --spatial   people also say where, and the network learns it: runs/demo-loop-spatial

Every step is a command that is printed before it runs and works by itself. The annotators are programs that know the
truth of the synthetic videos, err on some frames, and answer through the service like people.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from jobs.cli import guarded
from jobs.demo_steps import CHECKOUT, LAPTOP, claimed, cluster, network, run, service

RECIPE, CAMPAIGN = "stabn_loop_demo", "loop"
VIDEOS = ("train=960", "validation=480", "classes=4", "frames=[12,28]", "active=[0.3,0.4]", "decoy=1")
"""After the movement that counts follows another one, which means nothing."""
CALM = ("distractors=0", "shake=0", "clutter=5", "radius=[0.25,0.32]")
"""What a network this narrow learns in a few hundred steps."""
RULE = ("--below", "0.8", "--most", "2", "--heldout-share", "0.15")
"""The two worst of the four classes; how far a training that stops so early gets differs between machines."""
TAUGHT = ("optim.name=sgd", "optim.lr=0.02", "optim.weight_decay=5e-4", "train.epochs=4", "train.eval_every=4")
"""The published rate of 1e-4 is for 150 epochs. Without a validation on the way the last checkpoint is the best."""


def annotate(out: Path, truth: str) -> str:
    """Have the campaign annotated and sealed, if it is not yet; returns the batch's folder."""
    batches = out / "batches"
    if not list(batches.glob("*/manifest.json")):
        campaign = str(out / "campaign")
        store = ("--database", str(out / "annotations.db"), "--batches", str(batches), "--port", "0")
        asked = ("--run", RECIPE, "--storage", str(out / "runs"), "--invite", "Grace", "--role", "admin")
        with service("jobs/serve_annotation.py", "--campaign", campaign, *store, *asked) as link:
            told = ("--invitation", link, "--campaign", campaign, "--truth", truth, "--people", "8")
            run("annotate as eight people, and seal", "jobs/simulate_annotators.py", *told)
    return str(next(batches.glob("*/manifest.json")).parent)


def steps(out: Path, *, spatial: bool = False) -> None:
    """Make, train, mine, annotate, fine-tune beside the control; people point at the object where `spatial` says so."""
    layer, term = (("--spatial",), ("--gamma-s", "10")) if spatial else ((), ())
    truth, runs = str(out / "videos" / "truth.parquet"), str(out / "runs")
    network(out, RECIPE, "--set", *VIDEOS, *CALM)
    if not (out / "campaign" / "campaign.json").exists():
        where = ("--run", RECIPE, "--storage", runs, "--out", str(out / "campaign"), "--name", CAMPAIGN)
        mined = ("jobs/mine_misclassified.py", *where, *RULE, *layer, "--truth", truth)
        run("mine the clips that it gets wrong", LAPTOP, "submit", *mined)
    batch = annotate(out, truth)
    edited = ("--run", RECIPE, "--storage", runs, "--batches", batch, "--name", f"{RECIPE}-edits", "--control")
    measured = ("--truth", truth, "--out", str(out / "finetune"))
    run("fine-tune on the edits", LAPTOP, "submit", "jobs/finetune_edits.py", *edited, *term, *measured, *TAUGHT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps, stop the cluster that they needed, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder (runs/demo-loop, -spatial with that option)")
    parser.add_argument("--spatial", action="store_true", help="people also say where to look")
    parser.add_argument("--keep", action="store_true", help="keep what an earlier demo made, and go on from there")
    args = parser.parse_args(arguments)
    folder = args.out or CHECKOUT / "runs" / ("demo-loop-spatial" if args.spatial else "demo-loop")
    started_s, out = time.monotonic(), folder.resolve()
    with claimed(out, keep=args.keep), cluster():
        steps(out, spatial=args.spatial)
    print((out / "finetune" / "table.txt").read_text())
    print(f"strips   {os.path.relpath(out / 'finetune')}/strip-*.png")
    print(f"MLflow   mlflow ui --backend-store-uri sqlite:///{out / 'runs' / 'mlflow.db'}")
    print(f"\nthe demo took {(time.monotonic() - started_s) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
