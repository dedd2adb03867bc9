#!/usr/bin/env python3
"""Fine-tune on new sealed batches, compare with the champion, and promote or refuse: for a schedule, nobody watching.

    python jobs/retrain.py --model star-ssv2 --bootstrap RUN          a trained run becomes version 1, the champion
    python jobs/retrain.py --model star-ssv2 --batches batches        plan, train, compare, judge, promote or refuse
    python jobs/retrain.py --model star-ssv2 --batches batches --dry-run
    python jobs/retrain.py --model star-ssv2 --hold "audit" --by Ada  (and --release "audit done" --by Ada)
    python jobs/retrain.py --model star-ssv2 --batches batches --override PLAN --by Ada --reason "seen the page"

Killed at any point, the same command goes on. Without a new batch it ends in seconds, before torch, Ray or a GPU.

exit status: 0 promoted, or nothing to do, or no benefit shown and no harm either: the champion stays; 10 refused;
11 superseded, the champion has changed meanwhile; 12 on hold; 13 another job is at work, or has taken over; 14 the work
failed, and the next call goes on; 2 a wrong request; 130 interrupted; 1 an unforeseen error, with its trace.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs.cli import address, guarded, path, trained
from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from pipeline.retrain.attempt import Desk
    from pipeline.retrain.work import Training

REFUSED, SUPERSEDED, ON_HOLD, LEASED, FAILED = 10, 11, 12, 13, 14


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("overrides", nargs="*", metavar="section.key=value", help="fields of the recipe to change")
    add("--model", required=True, help="registered model")
    add("--batches", type=path, default="batches", metavar="URI", help="folder of all sealed batches (batches)")
    add("--storage", type=path, default="runs", metavar="URI", help="run storage that all nodes reach (runs)")
    add("--ledger", type=address, default="", metavar="PATH|URL", help="SQLite, PostgreSQL (STORAGE/retrain.db)")
    add("--mlflow", type=address, default="", metavar="URI", help="tracking and registry (MLFLOW_TRACKING_URI)")
    add("--policy", default="standard-1", metavar="NAME|FILE", help="limits of the gates (standard-1)")
    add("--batch", type=int, default=8, help="clips of a forward pass when networks are asked (8)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="print plan, limits and, once scored, the gates' table")
    what.add_argument(
        "--bootstrap", type=trained, default="", metavar="RUN", help="register a run as the first champion"
    )
    what.add_argument("--watch", type=float, default=0.0, metavar="SECONDS", help="look again and again, until Ctrl-C")
    what.add_argument("--hold", default="", metavar="REASON", help="stop retraining before its next step")
    what.add_argument("--release", default="", metavar="REASON", help="let it go on")
    what.add_argument("--override", default="", metavar="PLAN", help="promote a refused or rolled-back plan")
    add("--by", default="", metavar="NAME", help="who decides; stays on record")
    add("--reason", default="", help="reason of --override; stays on record")
    return parser.parse_intermixed_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked for, and return the exit status."""
    args = parse(arguments)

    # After parsing, so that --help does not wait for MLflow. Nothing here brings torch or Ray before they are needed.
    from pipeline.retrain import attempt

    places = {"ledger": args.ledger, "mlflow": args.mlflow, "policy": args.policy}
    desk = attempt.open_desk(args.model, args.storage, args.batches, **places, overrides=args.overrides)
    if args.hold or args.release:
        (desk.ledger.hold if args.hold else desk.ledger.release_hold)(args.by, args.hold or args.release)
        print(f"{args.model} is {'on hold' if args.hold else 'released'}, says {args.by}", flush=True)
        return 0
    if args.bootstrap:
        print(f"{args.model}: version {attempt.bootstrap(desk, args.bootstrap)} is champion", flush=True)
        return 0
    if args.dry_run:
        print(attempt.preview(desk), flush=True)
        return 0
    if args.override:
        desk.ledger.override(args.override, args.by, args.reason)
    while True:
        status = once(desk, args.batch)
        if not args.watch:
            return status
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()  # a cluster of this process's own is not kept for the wait
        time.sleep(args.watch)


def once(desk: Desk, batch: int) -> int:
    """Do what there is to do, say how it ended, and return the exit status."""
    from pipeline.retrain.attempt import attempt, told
    from pipeline.retrain.errors import HeldError, LeaseLostError, OnHoldError

    def open_work() -> Training:
        from pipeline.retrain.work import Training

        return Training(root=desk.root, ledger=desk.ledger, batch=batch)

    try:
        outcome = attempt(desk, open_work)
        if isinstance(outcome, str):
            print(f"nothing to do: {outcome}", flush=True)
            return ON_HOLD if desk.ledger.held() else 0
        print(told(desk, outcome), flush=True)
        return SUPERSEDED if outcome.end == "superseded" else REFUSED if outcome.is_alarm else 0
    except (HeldError, LeaseLostError, OnHoldError) as error:
        print(f"stopped: {error}", file=sys.stderr, flush=True)
        return ON_HOLD if isinstance(error, OnHoldError) else LEASED
    except UserError as error:
        print(f"failed: {error}", file=sys.stderr, flush=True)
        return FAILED


if __name__ == "__main__":
    sys.exit(guarded(main))
