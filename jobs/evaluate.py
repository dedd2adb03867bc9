#!/usr/bin/env python3
"""Evaluate a trained network on a split: accuracies with intervals, per class, and with its attention inverted.

    python jobs/evaluate.py --run stabn_demo-20260101-120000 --invert all
    python jobs/evaluate.py --checkpoint runs/NAME/step-00000010 --protocol 32x2 --split validation
    ray job submit --working-dir . -- jobs/evaluate.py --run NAME --storage s3://BUCKET/runs --gpu --out s3://BUCKET/results

Leaves in --out: predictions.parquet, metrics.json, per_class.csv, confusion.csv, confusion.png, explanations.png,
table.txt. A submitted job runs in a scratch folder: give it an absolute --out or a URI.
"""

import argparse
import sys
from collections.abc import Sequence

from jobs.cli import guarded, here, path, placed, trained
from pipeline.eval.load import INVERSIONS


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", type=trained, metavar="NAME|ID", help="a run by name, by folder, or by MLflow id")
    what.add_argument("--checkpoint", type=path, metavar="URI", help="a checkpoint's folder")
    parser.add_argument("--which", choices=("best", "last"), default="best", help="checkpoint of the run (best)")
    parser.add_argument("--storage", type=path, default="runs", metavar="URI", help="run storage (runs)")
    parser.add_argument("--data", type=path, default="", metavar="ROOT", help="prepared data set (the training's)")
    parser.add_argument("--split", default="", help="split to evaluate (the recipe's test split)")
    parser.add_argument("--fold", type=int, help="official fold (the recipe's)")
    parser.add_argument(
        "--protocol", default="", metavar="T|TxN", help="frames, or frames x clips: 32, 32x2 (one clip)"
    )
    parser.add_argument("--stride", type=int, help="distance between frames (the recipe's)")
    parser.add_argument("--crops", type=int, choices=(1, 3, 10), default=1, help="crops in space (1)")
    parser.add_argument("--invert", choices=(*INVERSIONS, "all"), default="none", help="attention to invert (none)")
    parser.add_argument("--maps", choices=("none", "temporal", "all"), default="all", help="attention kept (all)")
    parser.add_argument(
        "--truth", type=path, default="", metavar="FILE", help="make_synth's truth.parquet: where the action is"
    )
    parser.add_argument(
        "--explanations", type=int, default=8, metavar="N", help="clips whose explanations are judged (8; 0: none)"
    )
    parser.add_argument("--allow-other-data", action="store_true", help="accept videos that are not the training's")
    parser.add_argument("--out", type=path, default="", metavar="URI", help="folder of the results (evaluations/...)")
    parser.add_argument("--no-mlflow", action="store_true", help="do not log to the training's MLflow run")
    parser.add_argument("--actors", type=int, default=1, help="processes that run the network (1)")
    parser.add_argument("--cpus-per-actor", type=float, default=1.0, help="logical CPUs of each (1)")
    parser.add_argument("--data-cpus", type=float, default=1.0, help="logical CPUs for decoding (1)")
    parser.add_argument("--batch", type=int, default=8, help="clips of a forward pass (8)")
    parser.add_argument("--gpu", action="store_true", help="one GPU for each actor")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of an actor (1)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="precision (the recipe's)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate, print the table, and return the exit status."""
    args = parse(arguments)

    # After parsing, so that --help does not wait for Ray and MLflow.
    from pipeline.core import ray_session, storage
    from pipeline.data.store.prepared import PreparedDataset
    from pipeline.eval.evaluate import check_data, evaluate
    from pipeline.eval.faithful import measure
    from pipeline.eval.load import load
    from pipeline.eval.predict import PredictJob, predict
    from pipeline.eval.protocol import protocol_of
    from pipeline.explain.results import Results, judge, write_results
    from pipeline.registry import locate
    from pipeline.tracking.attach import attach

    checkpoint = locate.find_checkpoint(args.checkpoint or args.run, args.storage, args.which)
    network = load(checkpoint)
    dataset = PreparedDataset.open(args.data or network.recipe.data.root)
    differences = check_data(network, dataset, allow_other=args.allow_other_data)
    job = PredictJob(
        checkpoint=checkpoint,
        split=args.split or network.recipe.data.test_split,
        fold=args.fold or network.recipe.data.fold,
        protocol=protocol_of(network.recipe.clip, args.protocol, stride=args.stride, crops=args.crops),
        inversions=INVERSIONS if args.invert == "all" else (args.invert,),
        maps=args.maps,
        batch=args.batch,
        actors=args.actors,
        gpu=args.gpu,
        cpus_per_actor=args.cpus_per_actor,
        data_cpus=args.data_cpus,
        threads=args.threads,
        precision=args.precision or network.precision,
    )
    for invert in job.inversions:
        network.check_inversion(invert)
    results = Results(network=network, dataset=dataset, job=job, differences=differences)
    out = args.out or placed("--out", storage.join("evaluations", results.name))
    ray_session.connect(job.cpus())
    rows = predict(dataset, job)
    predictions = storage.join(out, "predictions.parquet")
    evaluation = evaluate(rows, len(dataset.classes), job.inversions, predictions, results.about())
    judged = None
    if args.explanations > 0:
        judged = judge(results, evaluation, measure(dataset, job, args.explanations), args.truth)
    print(write_results(results, evaluation, out, args.truth, judged), flush=True)
    print(f"  results  {here(out)}", flush=True)
    uri = "" if args.no_mlflow else locate.mlflow_of(network)
    if uri:
        metrics = results.flat_metrics(evaluation, judged)
        path = f"evaluation/{results.name}"
        if attach(uri, network.run_id, folder=out, artifact_path=path, metrics=metrics, step=network.step):
            print(f"  MLflow   run {network.run_id} at {uri}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
