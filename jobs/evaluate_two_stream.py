#!/usr/bin/env python3
"""Test trained two-stream systems: spatial, temporal and fused accuracy, with and without attention.

    python jobs/evaluate_two_stream.py NAME
    python jobs/evaluate_two_stream.py FOLD1 FOLD2 FOLD3 --storage s3://BUCKET/runs --gpu --actors 4 --out s3://BUCKET/test

One system for each official fold; of several the mean is given too. Attention comes from the attention nets: no test
label reaches a map. Each system's folder in --out holds predictions.parquet, metrics.json, table.txt, per_class.csv,
confusion.csv, confusion.png, not_scored.csv; several systems also leave folds.txt and folds.json. A submitted job runs
in a scratch folder: give it an absolute --out or a URI.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from jobs.cli import guarded, here, path

VARIANTS = ("without", "with", "blind")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="+", metavar="NAME", help="systems by the --run name of their training")
    parser.add_argument("--storage", type=path, default="runs", metavar="URI", help="run storage (runs)")
    parser.add_argument("--data", type=path, default="", metavar="ROOT", help="prepared data set (the training's)")
    parser.add_argument("--flow", type=path, default="", metavar="ROOT", help="flow set (the training's)")
    parser.add_argument("--split", default="", help="split to test on (the recipe's test split)")
    parser.add_argument("--places", type=int, default=25, help="frames and stacks of a video (25)")
    parser.add_argument("--crops", type=int, choices=(1, 10), default=1, help="crops of each (1)")
    parser.add_argument("--fusion", type=float, nargs=2, default=(1.0, 1.5), metavar=("S", "T"), help="weights (1 1.5)")
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, help="without, with attention, or blind: 0.1 for maps (all)"
    )
    parser.add_argument(
        "--truth", type=path, default="", metavar="FILE", help="make_synth's truth.parquet: where the object is"
    )
    parser.add_argument("--allow-other-data", action="store_true", help="accept videos that are not the training's")
    parser.add_argument(
        "--out", type=path, default="evaluations", metavar="URI", help="folder of results (evaluations)"
    )
    parser.add_argument("--no-mlflow", action="store_true", help="do not log to the training's MLflow runs")
    parser.add_argument("--actors", type=int, default=1, help="processes that hold the networks (1); 0: no Ray at all")
    parser.add_argument("--cpus-per-actor", type=float, default=1.0, help="logical CPUs of each (1)")
    parser.add_argument("--data-cpus", type=float, default=1.0, help="logical CPUs for decoding (1)")
    parser.add_argument("--batch", type=int, default=16, help="crops of a forward pass (16)")
    parser.add_argument("--gpu", action="store_true", help="one GPU for each actor")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of an actor (1)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="precision (the recipe's)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Test, print the tables, and return the exit status."""
    args = parse(arguments)

    # After parsing, so that --help does not wait for Ray, torch and MLflow.
    from pipeline.core import ray_session, storage
    from pipeline.registry.locate import mlflow_uri
    from pipeline.two_stream import results as two_stream_results
    from pipeline.two_stream.testing import TestRequest, log, score_system, systems_of

    request = TestRequest(
        data=args.data,
        flow=args.flow,
        split=args.split,
        places=args.places,
        crops=args.crops,
        variants=tuple(args.variants or ()),
        fusion=tuple(args.fusion),
        allow_other=args.allow_other_data,
        batch=args.batch,
        actors=args.actors,
        cpus_per_actor=args.cpus_per_actor,
        data_cpus=args.data_cpus,
        gpu=args.gpu,
        threads=args.threads,
        precision=args.precision,
        truth=args.truth,
    )
    systems = systems_of(args.storage, args.systems)
    if args.actors:
        ray_session.connect(args.actors * args.cpus_per_actor + args.data_cpus)
    folds = []
    for system in systems:
        folder = storage.join(args.out, system.name)
        results, tested = score_system(system, request, folder)
        folds.append((results, tested))
        print(two_stream_results.write_results(results, tested, folder), flush=True)
        print(f"  results  {here(folder)}", flush=True)
        if not args.no_mlflow:
            log(results, tested, folder, system.recipe.tracking.uri or mlflow_uri(args.storage))
    if len(folds) > 1:
        text = two_stream_results.folds_table(folds)
        print(f"\n{text}", flush=True)
        numbers = json.dumps(two_stream_results.folds_metrics(folds), indent=1) + "\n"
        for name, data in (("folds.txt", text + "\n"), ("folds.json", numbers)):
            storage.publish_bytes(storage.join(args.out, name), data.encode())
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
