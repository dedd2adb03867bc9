#!/usr/bin/env python3
"""Say where a registered version comes from, or which versions saw a clip; check the one, write pages anew.

    python jobs/lineage.py --model star-ssv2 --version 18                 plan, code, batches, people, training list
    python jobs/lineage.py --model star-ssv2 --version 18 --list v18.txt  and the list itself, one video a line
    python jobs/lineage.py --model star-ssv2 --clip 78687                 every version, and what it did with the clip
    python jobs/lineage.py --model star-ssv2 --pages                      history and every plan's page, from the ledger

The training list is rebuilt from the run's own catalog and the sealed batches. Needs no GPU.

exit status: 0; 1 the rebuilt list is not the recorded one; 2 a wrong request.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs.cli import address, guarded, here, path
from pipeline.core import storage

if TYPE_CHECKING:
    from pipeline.retrain.attempt import Desk

ANOTHER_LIST = 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", required=True, help="registered model")
    add("--batches", type=path, default="batches", metavar="URI", help="folder of all sealed batches (batches)")
    add("--storage", type=path, default="runs", metavar="URI", help="run storage (runs)")
    add("--ledger", type=address, default="", metavar="PATH|URL", help="SQLite, PostgreSQL (STORAGE/retrain.db)")
    add("--mlflow", type=address, default="", metavar="URI", help="registry (MLFLOW_TRACKING_URI)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--version", type=int, metavar="N", help="a registered version")
    what.add_argument("--clip", metavar="ID", help="a video's id")
    what.add_argument("--pages", action="store_true", help="write the history page and every plan's anew")
    add("--list", type=path, default="", metavar="FILE", help="with --version: gets the training list")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer, and return the exit status."""
    args = parse(arguments)

    # After parsing, so that --help does not wait for MLflow.
    from pipeline.retrain.attempt import open_desk
    from pipeline.retrain.policy import STANDARD

    root, batches = args.storage, args.batches
    places = {"ledger": args.ledger, "mlflow": args.mlflow, "policy": STANDARD}
    desk = open_desk(args.model, root, batches, **places, overrides=())
    if args.pages:
        from pipeline.retrain.history import write_pages

        keys = [row.plan.plan_key for row in desk.ledger.rows(args.model)]
        print(f"{len(keys)} plans, {here(write_pages(desk.ledger, args.model, root, keys))}", flush=True)
        return 0
    return clip(desk, args.clip) if args.clip else version(desk, args.version, args.list)


def clip(desk: "Desk", video: str) -> int:
    """Print what every version had to do with a clip."""
    from pipeline.retrain.lineage import of_clip

    for seen in of_clip(video, desk.champions, folders(desk)):
        where = f", split {seen.split}" if seen.split else ""
        batch = f", batch {seen.batch}" if seen.batch else ""
        print(f"version {seen.version}: {seen.use}{where}{batch}", flush=True)
    return 0


def version(desk: "Desk", number: int, out: str) -> int:
    """Print where a version comes from, and rebuild its training list."""
    from pipeline.retrain.lineage import canonical, of_version, rebuild

    found = desk.champions.version(number)
    lineage = of_version(found, desk.champions, desk.ledger, folders(desk))
    before = f", after {', '.join(map(str, lineage.ancestors))}" if lineage.ancestors else ", registered by people"
    print(f"{desk.champions.model} version {number}{before}", flush=True)
    for name, value in {"plan": lineage.plan_key, **lineage.facts}.items():
        print(f"  {name}: {value or 'none'}", flush=True)
    for share in lineage.batches:
        counts = f"{len(share.trained)} trained on, {len(share.held_out)} held out, {len(share.superseded)} superseded"
        print(f"  batch {share.batch}: {counts}; of plan {share.added_by}, at {share.uri}", flush=True)
    print(f"  annotators: {', '.join(lineage.annotators) or 'none'}", flush=True)
    if not lineage.plan_key:
        return 0
    rebuilt = rebuild(found, folders(desk))
    print(f"  training list: {rebuilt.sentence()}", flush=True)
    if out:
        storage.publish_bytes(out, canonical(rebuilt.rows))
    return 0 if rebuilt.same else ANOTHER_LIST


def folders(desk: "Desk") -> dict[str, str]:
    """Return the folder of every batch: where it lies now, else where it lay when it was planned."""
    from pipeline.retrain.plan import sealed

    planned = [row.plan.batch_uris for row in desk.ledger.rows(desk.champions.model)]
    return {batch: uri for uris in [*planned, sealed(desk.batches)] for batch, uri in uris.items()}


if __name__ == "__main__":
    sys.exit(guarded(main))
