#!/usr/bin/env python3
"""Make a checkpoint of ours out of a published one, so that it can be tested, explained and mined like any other.

    python jobs/import_published.py checkpoint-best.pt --data /data/ssv2 --out runs/authors
    python jobs/evaluate.py --checkpoint runs/authors --data /data/ssv2 --allow-other-data --no-mlflow

Takes the .pt files of the ST-ABN authors' second implementation (abn_resnet50, abn_resnet101). On which videos they
were trained is not known, so an evaluation has to allow other data, and says so.
"""

import argparse
import sys
from collections.abc import Sequence

from jobs.cli import guarded, here, path


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=path, metavar="FILE", help="the authors' checkpoint, path or URI")
    parser.add_argument(
        "--data", type=path, required=True, metavar="ROOT", help="prepared data set that names the classes"
    )
    parser.add_argument("--out", type=path, required=True, metavar="URI", help="folder of the checkpoint")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Import and say what it is; returns the exit status."""
    args = parse(arguments)

    # After parsing, so that --help does not wait for torch.
    from pipeline.data.store.prepared import PreparedDataset
    from pipeline.train.published import import_published

    dataset = PreparedDataset.open(args.data)
    config = import_published(args.file, dataset, args.out)
    print(f"ST-ABN-{config.depth}, {config.frames} frames, {config.classes} classes\n  checkpoint  {here(args.out)}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
