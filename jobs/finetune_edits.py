#!/usr/bin/env python3
"""Fine-tune a trained ST-ABN on what people said of its clips, and say what it changed.

    python jobs/finetune_edits.py --run stabn_r50_ssv2-20260101-120000 --batches batches/3f2a... --control
    python jobs/finetune_edits.py --run NAME --batches s3://BUCKET/batches/A s3://BUCKET/batches/B --control

Trains from the run's best checkpoint, on the whole training split, with the base's own recipe at a rate of 1e-4;
overrides change its fields. --control trains once more without the temporal term and reports it beside. The same --name
goes on with runs that were killed. Leaves table.txt, metrics.json, predictions and before-and-after strips in --out.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from jobs.cli import described, guarded, here, placed


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="fields of the recipe to change")
    parser.add_argument("--run", required=True, metavar="NAME|ID|URI", help="base: run, MLflow id, checkpoint's folder")
    parser.add_argument("--which", choices=("best", "last"), default="best", help="checkpoint of every run (best)")
    parser.add_argument("--batches", required=True, nargs="+", metavar="URI", help="folders of sealed batches")
    parser.add_argument("--storage", default="runs", metavar="URI", help="run storage that all nodes reach (runs)")
    parser.add_argument("--data", default="", metavar="ROOT", help="prepared data set (the base's)")
    parser.add_argument("--name", default="", help="of the new run; an existing one is resumed")
    parser.add_argument("--gamma", type=float, default=10.0, help="weight of the temporal term (10)")
    parser.add_argument("--control", action="store_true", help="train the gamma = 0 control too")
    parser.add_argument("--truth", default="", metavar="FILE", help="truth.parquet of make_synth: where the action is")
    parser.add_argument("--out", default="", metavar="URI", help="folder of the results (evaluations/NAME)")
    parser.add_argument("--describe", action="store_true", help="print the recipe, train nothing")
    parser.add_argument("--batch", type=int, default=8, help="clips of a forward pass in the evaluation (8)")
    return parser.parse_intermixed_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, compare, and return the exit status."""
    args = parse(arguments)

    # After parsing, so that --help does not wait for Ray and MLflow.
    from pipeline.core import ray_session, storage
    from pipeline.core.config import override
    from pipeline.data.store.prepared import PreparedDataset
    from pipeline.eval.load import recipe_of
    from pipeline.eval.predict import PredictJob
    from pipeline.eval.protocol import protocol_of
    from pipeline.eval.truth import read_truth
    from pipeline.finetune.recipe import derive
    from pipeline.finetune.results import report
    from pipeline.finetune.task import EditTask
    from pipeline.registry.locate import find_checkpoint
    from pipeline.tracking.attach import attach
    from pipeline.train import checkpoint
    from pipeline.train.launch import train
    from pipeline.train.runs import fresh_name

    root = placed("--storage", args.storage)
    base = find_checkpoint(args.run, root, args.which)
    batches = [placed("--batches", uri) for uri in args.batches]
    recipe = derive(recipe_of(checkpoint.read(base)), base, batches, gamma_t=args.gamma)
    data = [f"data.root={placed('--data', args.data)}"] if args.data else []
    recipe = override(recipe, [*data, *args.overrides])
    if args.describe:
        print(described(recipe, ""))
        return 0
    active = read_truth(args.truth) if args.truth else None
    name = args.name or fresh_name(recipe)
    runs = {"after": train(recipe, root=root, open_task=EditTask, name=name)}
    if args.control:
        control = replace(recipe, name=f"{recipe.name}-control", edits=replace(recipe.edits, gamma_t=0.0))
        runs["control"] = train(control, root=root, open_task=EditTask, name=f"{name}-control")

    compute = recipe.compute
    job = PredictJob(
        checkpoint=base,
        split=recipe.data.test_split,
        fold=recipe.data.fold,
        protocol=protocol_of(recipe.clip),
        batch=args.batch,
        actors=compute.workers,
        gpu=compute.gpu,
        cpus_per_actor=compute.cpus_per_worker,
        data_cpus=compute.data_cpus or 1.0,
        threads=compute.threads,
        precision=recipe.train.precision,
    )
    out = storage.absolute(placed("--out", args.out) or storage.join("evaluations", name))
    ray_session.connect(sum(claim.count * claim.cpus for claim in job.claims()))
    found = {n: t.best_checkpoint if args.which == "best" else t.last_checkpoint for n, t in runs.items()}
    dataset = PreparedDataset.open(recipe.data.root)
    result = report({"before": base, **found}, EditTask(recipe).edits, dataset, job, out, active)
    print(f"{result.text}\n  results  {here(out)}", flush=True)
    for trained in runs.values():
        print(f"  run      {trained.name}, MLflow {trained.mlflow_run_id or 'not recorded'} at {trained.tracking_uri}")
        if trained.mlflow_run_id:
            uri, run_id, metrics = trained.tracking_uri, trained.mlflow_run_id, result.metrics
            attach(uri, run_id, folder=out, artifact_path="finetune", metrics=metrics, step=trained.steps)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
