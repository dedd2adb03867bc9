#!/usr/bin/env python3
"""A sweep in minutes on two cores: a small network, edits of two classes, and twelve fine-tunings beside the control.

    make demo-sweep                    everything below runs/demo-sweep; killed, the same command goes on
    python jobs/demo_sweep.py --anew   make all of it anew

What is done is not done again as long as the plan is the same: this file's settings, and the network that is tuned.
Takes the network and the edits of make demo-loop where they are there. Otherwise it trains the same network, and a
program that knows the truth of the synthetic videos makes the edits. Every step is a command that is printed before it
runs and works by itself.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from jobs.cli import guarded, here
from jobs.demo_loop import CALM, RECIPE, VIDEOS
from jobs.demo_plan import OWN, PLAN, plan_of, plan_to_go_on
from jobs.demo_steps import CHECKOUT, claimed, cluster, network, run
from pipeline.core import storage

EDITED = (0, 1)
"""Classes whose training videos all get an edit; of five one is held out."""
HELD_OUT = 5
TRIAL = ("optim.name=sgd", "optim.lr=0.02", "optim.weight_decay=5e-4", "train.epochs=2", "train.eval_every=2")
SPACE = ("edits.gamma_t=log(0.1,300)", "optim.schedule=choice(multistep,cosine)")
GRID = ("--searcher", "grid", "--points", "6")
STEPS = (RECIPE, *VIDEOS, *CALM, *EDITED, HELD_OUT, *TRIAL, *SPACE, *GRID)  # all that decides the result


def edit(prepared: str, truth: str, batches: Path) -> str:
    """Seal a batch of edits made from the truth, if there is none yet; returns its folder."""
    if found := sorted(batches.glob("*/manifest.json")):
        return str(found[0].parent)

    from pipeline.annotate.batches import BatchRow, write_batch
    from pipeline.annotate.simulate import levels_of
    from pipeline.data.store.prepared import PreparedDataset
    from pipeline.eval.truth import read_truth

    dataset, active = PreparedDataset.open(prepared), read_truth(truth)
    fps = {row.id: row.fps for row in dataset.rows}
    videos = [video for video in dataset.videos("train") if video.label in EDITED]
    rows = [
        BatchRow(
            video_id=video.id,
            dataset=dataset.name,
            label=video.label,
            num_frames=video.frames,
            fps=fps[video.id],
            scores=tuple(float(level) for level in levels_of(active[video.id])),
            source=(0,) * video.frames,
            init="blank",
            annotators=("truth",),
            n_annotators=1,
            kappa=None,
            decision="imported",
            model_version_shown="",
            editor_version="",
            submitted_at=0.0,
            seconds_spent=0.0,
            split="heldout_edit" if number % HELD_OUT == 0 else "train",
        )
        for number, video in enumerate(videos)
    ]
    batch = write_batch(str(batches), rows, {"passport": dataset.passport})["batch"]
    print(f"\n== edits of {len(rows)} videos from the truth\n   {here(str(batches / batch))}", flush=True)
    return str(batches / batch)


def base(out: Path, loop: Path | None) -> tuple[str, str]:
    """Return the run that is fine-tuned and the batch of edits: the loop's, or made below `out` where it is None."""
    if loop:
        print(f"network and edits of {here(str(loop))}", flush=True)
        return str(loop / "runs" / RECIPE), str(min((loop / "batches").glob("*/manifest.json")).parent)
    with cluster():
        network(out, RECIPE, "--set", *VIDEOS, *CALM)
    batch = edit(str(out / "prepared"), str(out / "videos" / "truth.parquet"), out / "batches")
    return str(out / "runs" / RECIPE), batch


def sweep(out: Path, trained: str, batch: str) -> None:
    """Train the control and every combination of the grid."""
    where = ("--run", trained, "--batches", batch, "--storage", str(out / "runs"), "--name", "demo-sweep")
    asked = ("--search", *SPACE, *GRID, "--out", str(out / "sweep"))
    run("sweep: 12 trials and the control", "jobs/tune_stabn.py", *TRIAL, "compute.data_cpus=0", *where, *asked)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps and print where the results lie."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=CHECKOUT / "runs" / "demo-sweep", help="folder (runs/demo-sweep)")
    loop = CHECKOUT / "runs" / "demo-loop"
    parser.add_argument("--loop", type=Path, default=loop, help="folder of the loop's demo (runs/demo-loop)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--anew", action="store_true", help="empty the folder first, whatever is in it")
    which.add_argument("--keep", action="store_true", help="use the folder as it is, whatever the plan was")
    args = parser.parse_args(arguments)
    started_s, out, plan = time.monotonic(), args.out.resolve(), plan_of(STEPS, args.loop, RECIPE)
    old = None if args.anew else plan_to_go_on(out, plan)
    with claimed(out, keep=args.keep or old is not None):
        print(f"{'going on with' if old else 'starting'} the demo in {here(str(out))}", flush=True)
        storage.write_json(str(out / PLAN), old or plan)
        sweep(out, *base(out, None if (old or plan)["base"] == OWN else args.loop))
    found = json.loads((out / "sweep" / "results.json").read_text())
    ended = [trial for trial in found["trials"] if trial["state"] == "finished"]
    print(f"\n{len(ended) - 1} trials and the control have ended; the winner is trial {found['winner']}")
    for picture in ("fields.png", "parallel.png"):
        print(f"figure   {here(str(out / 'sweep' / picture))}")
    print(f"MLflow   mlflow ui --backend-store-uri sqlite:///{out / 'runs' / 'mlflow.db'}")
    print(f"\nthe demo took {(time.monotonic() - started_s) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
