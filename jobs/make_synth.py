#!/usr/bin/env python3
"""Make a synthetic video data set: real encoded files in an official layout, with the truth about their motion.

    python jobs/make_synth.py data/synth --size demo

The same arguments give the same bytes, whatever the number of processes; a finished data set is left as it is.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from jobs.cli import guarded, here, path
from pipeline.core.config import override
from pipeline.data.synth.config import PRESETS
from pipeline.data.synth.generate import TRUTH, SynthRequest, make
from pipeline.data.synth.layouts import LAYOUTS


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "out", type=path, metavar="DIR", help="folder to make; new, empty, or left unfinished by the same call"
    )
    parser.add_argument("--layout", choices=LAYOUTS, default="ssv2", help="whose files and names (default: ssv2)")
    parser.add_argument("--size", choices=list(PRESETS), default="demo", help="preset (default: demo)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything that is drawn (default: 0)")
    parser.add_argument("--faults", type=int, default=0, help="broken files of each of 8 kinds (default: 0)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2; below 2: this one alone)")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="dials, for example clutter=40")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the data set and say what it is; returns the exit status."""
    args = parse(arguments)
    out, config = Path(args.out), override(PRESETS[args.size], args.set)
    made = make(out, SynthRequest(args.layout, config, args.seed, args.faults), args.workers)
    print(summary(out) if made else f"{here(args.out)} is complete; nothing to do.")
    return 0


def summary(out: Path) -> str:
    """What was made, in a few lines for people."""
    truth = pq.read_table(out / TRUTH).to_pylist()
    frames = sorted(row["frames"] for row in truth)
    folds = ", ".join(f"{name} {count}" for name, count in Counter(row["split"][0] for row in truth).items())
    active = sum(sum(row["active"]) for row in truth) / sum(frames)
    faults = Counter(row["fault"] for row in truth if row["fault"])
    lines = [
        f"{here(str(out))}: {len(truth)} videos, {len({row['label'] for row in truth})} classes ({folds})",
        f"frames {frames[0]} to {frames[-1]}, median {frames[len(frames) // 2]}; the action fills {active:.0%} of them",
    ]
    if faults:
        lines.append("broken on purpose: " + ", ".join(f"{kind} {count}" for kind, count in faults.items()))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(guarded(main))
