#!/usr/bin/env python3
"""Give the champion's place back to the version before it: one move of an alias, no GPU, seconds.

    python jobs/rollback.py --model star-ssv2 --by Ada --reason "worse on doors"
    python jobs/rollback.py --model star-ssv2 --leave-out 3f2a... --by Ada --reason "random scores"

The version that is rolled back is never promoted again without `jobs/retrain.py --override`, and the batches that it
added train no more until somebody takes them back with --take-back. --leave-out keeps any other batch away likewise.
Killed at any point, the same command finishes what it began.
"""

import argparse
import sys
from collections.abc import Sequence

from jobs.cli import address, guarded, path


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", required=True, help="registered model")
    add("--storage", type=path, default="runs", metavar="URI", help="run storage of jobs/retrain.py (runs)")
    add("--batches", type=path, default="batches", metavar="URI", help="folder of all sealed batches (batches)")
    add("--ledger", type=address, default="", metavar="PATH|URL", help="SQLite, PostgreSQL (STORAGE/retrain.db)")
    add("--mlflow", type=address, default="", metavar="URI", help="tracking and registry (MLFLOW_TRACKING_URI)")
    add("--version", type=int, default=0, help="version to roll back (the champion)")
    add("--by", required=True, metavar="NAME", help="who decides; stays on record")
    add("--reason", required=True, help="why; stays on record")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--leave-out", default="", metavar="BATCH", help="keep a batch out of coming plans instead")
    chosen.add_argument("--take-back", default="", metavar="BATCH", help="let coming plans train on a batch again")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Roll back, and return the exit status."""
    args = parse(arguments)

    # After parsing, so that --help does not wait for MLflow.
    from pipeline.core.errors import UserError, problem
    from pipeline.retrain.attempt import open_desk
    from pipeline.retrain.plan import sealed
    from pipeline.retrain.rollback import roll_back

    places = {"ledger": args.ledger, "mlflow": args.mlflow, "policy": "standard-1"}
    root, batches = args.storage, args.batches
    desk = open_desk(args.model, root, batches, **places, overrides=())
    ledger, champions = desk.ledger, desk.champions
    if batch := args.leave_out or args.take_back:
        known = sealed(batches) if args.leave_out else ledger.left_out(args.model)
        if batch not in known:
            what, allowed = "There is no such batch", ", ".join(sorted(known)) or "none"
            raise UserError(problem(what, got=batch, allowed=allowed, fix="write its whole id; check --batches"))
        act = ledger.leave_out if args.leave_out else ledger.take_back
        act(args.model, batch, args.by, args.reason)
        print(f"batch {batch} {'is left out' if args.leave_out else 'may train again'}, says {args.by}", flush=True)
        return 0
    done = roll_back(ledger, champions, args.version, args.by, args.reason)
    print(done.sentence(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
