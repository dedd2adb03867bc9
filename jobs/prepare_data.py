#!/usr/bin/env python3
"""Prepare a video data set: decode every listed video once, store its frames in shards, quarantine what is unreadable.

    python jobs/prepare_data.py --name ssv2 --source /videos/ssv2 --out s3://bucket/ssv2
    ray job submit --working-dir . -- jobs/prepare_data.py (the same arguments)

Run it again after anything - new videos, a kill, a lost node - and it does what is left. Shards whose videos did not
change stay as they are; what was killed ends with the bytes of an undisturbed run.

Exit status: 0 prepared; 1 an unexpected error; 2 the request is wrong (the message says how to mend it);
3 prepared, but more videos are quarantined than --allow-quarantine permits.
"""

import argparse
import sys
from collections.abc import Sequence

from jobs.cli import TOO_MANY_QUARANTINED, allowed_of, guarded, path
from pipeline.core import ray_session
from pipeline.data.listing.sources import LOADERS, load_listing
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.on_ray import on_ray
from pipeline.data.prepare.progress import Progress, summary, too_many
from pipeline.data.prepare.run import PrepareConfig, Tell, prepare
from pipeline.data.prepare.shard_task import ShardTask
from pipeline.data.store.shards import Codec
from pipeline.data.video import decode


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what")
    what.add_argument("--name", required=True, choices=sorted(LOADERS), help="the data set")
    what.add_argument(
        "--source", type=path, required=True, metavar="URI", help="folder of its videos; every node must reach it"
    )
    what.add_argument(
        "--out", type=path, required=True, metavar="URI", help="the prepared data set; every node must reach it"
    )
    what.add_argument(
        "--metadata", type=path, metavar="URI", help="folder of the official files, when they are not beside the videos"
    )
    how = parser.add_argument_group("how")
    how.add_argument("--short-side", type=int, default=256, help="pixels; smaller videos keep their size (256)")
    how.add_argument("--quality", type=int, default=95, help="JPEG quality (95: 41 dB and more)")
    how.add_argument("--min-frames", type=int, default=2, help="videos with fewer are quarantined (2)")
    how.add_argument("--shard-videos", type=int, default=64, help="listed videos of a shard and of a task (64)")
    how.add_argument("--limit-s", type=float, default=120.0, help="seconds after which a decoder is killed (120)")
    how.add_argument("--one-decoder", action="store_true", help="skip PyAV's second opinion on decord's pixels")
    how.add_argument("--cpus", type=float, default=1.0, help="logical CPUs of a task; fractions run more of them (1)")
    bad = parser.add_argument_group("what to do about trouble")
    bad.add_argument("--quarantine-missing", action="store_true", help="record absent files instead of refusing")
    bad.add_argument(
        "--allow-quarantine", default="0", help="quarantined videos that are fine: 12, or a share 0.001 (0)"
    )
    bad.add_argument("--replace", action="store_true", help="let --out lose what looks like another data set")
    bad.add_argument("--retry", nargs="+", default=[], choices=decode.REASONS, help="try videos of these reasons again")
    bad.add_argument("--verify", action="store_true", help="hash every source and shard again, redo what differs")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare, print the summary, and return the exit status."""
    args = parse(arguments)
    listing = load_listing(args.name, args.source, metadata=args.metadata)
    allowed = allowed_of(args.allow_quarantine, len(listing.records))
    codec, compare = Codec(quality=args.quality), not args.one_decoder
    config = PrepareConfig(
        ingest=IngestConfig(codec=codec, short_side=args.short_side, min_frames=args.min_frames, compare=compare),
        shard_videos=args.shard_videos,
        limit_s=args.limit_s,
        quarantine_missing=args.quarantine_missing,
        replace=args.replace,
        verify=args.verify,
        retry=tuple(args.retry),
    )

    def engine(tasks: Sequence[ShardTask], tell: Tell) -> None:
        ray_session.connect(args.cpus)  # only now: a run without work needs no cluster
        on_ray(args.cpus)(tasks, tell)

    print(f"{listing.name}: {len(listing.records):,} videos listed", flush=True)
    report = prepare(listing, args.out, config, engine, lambda total: Progress(total, _say))
    print(summary(report, args.out), flush=True)
    if report.counts.quarantined > allowed:
        print(f"exit status {TOO_MANY_QUARANTINED}: {too_many(report, allowed, args.out)}", file=sys.stderr)
        return TOO_MANY_QUARANTINED
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(guarded(main))
