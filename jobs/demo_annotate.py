#!/usr/bin/env python3
"""The annotation page with something to annotate: a campaign mined from the demo's network, served on this machine.

    make demo-annotate                    serves until Ctrl-C; uses what make demo left in runs/demo, or makes it
    python jobs/demo_annotate.py --keep   goes on with the answers of an earlier one

Every step is a command that is printed before it runs and works by itself. The last two print links for an annotator
and an admin, and serve. The network answers what-ifs; clips of known truth explain the levels.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.cli import guarded
from jobs.demo_steps import CHECKOUT, LAPTOP, claimed, cluster, network, run
from jobs.steps import show

RECIPE = "stabn_demo"
GUIDE = (
    "The class is a movement. 0.0: nothing of it can be seen. 0.5: the movement goes on. 1.0: its middle, which shows "
    "it best. Look at the examples, whose levels come from the truth."
)
RULE = ("--below", "1", "--most", "3")
"""The demo's network is right nine times in ten, so the published rule, below one half, would choose no class."""


def mine(demo: Path, campaign: Path) -> None:
    """Write the campaign; what the demo has not made yet is made first."""
    with claimed(demo, keep=True), cluster():
        if not (demo / "evaluations" / RECIPE).exists():  # which follows training
            network(demo, RECIPE, "--size", "demo")
        said = ("--truth", str(demo / "videos" / "truth.parquet"), "--guide", GUIDE, "--name", "demo")
        where = ("--run", RECIPE, "--storage", str(demo / "runs"), "--out", str(campaign))
        run("mine the clips that it gets wrong", LAPTOP, "submit", "jobs/mine_misclassified.py", *where, *RULE, *said)


def main(arguments: Sequence[str] | None = None) -> int:
    """Mine, invite, and become the service."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=CHECKOUT / "runs" / "demo", help="folder of a demo (runs/demo)")
    parser.add_argument("--out", type=Path, default=CHECKOUT / "runs" / "demo-annotate", help="(runs/demo-annotate)")
    parser.add_argument("--keep", action="store_true", help="keep campaign and answers of an earlier one")
    parser.add_argument("--port", type=int, default=8765, help="port of the page (8765)")
    args = parser.parse_args(arguments)
    demo, out = args.demo.resolve(), args.out.resolve()
    campaign = out / "campaign"
    with claimed(out, keep=args.keep):
        if not (campaign / "campaign.json").exists():
            mine(demo, campaign)
    store = ("--database", str(out / "annotations.db"), "--batches", str(out / "batches"), "--port", str(args.port))
    serve = ("jobs/serve_annotation.py", "--campaign", str(campaign), *store)
    run("invite an annotator", *serve, "--invite", "Ada", "--no-serve")
    last = (*serve, "--run", RECIPE, "--storage", str(demo / "runs"), "--invite", "Grace", "--role", "admin")
    show("serve the page until Ctrl-C", *last)
    os.chdir(CHECKOUT)
    os.execv(last[0], last)  # noqa: S606 (ours); the service is then what Ctrl-C and signals reach


if __name__ == "__main__":
    sys.exit(guarded(main))
