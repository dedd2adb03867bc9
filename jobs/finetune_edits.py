#!/usr/bin/env python3
"""Fine-tune a trained ST-ABN on what people said of its clips, and say what it changed.

    python jobs/finetune_edits.py --run stabn_r50_ssv2-20260101-120000 --batches batches/3f2a... --control
    python jobs/finetune_edits.py --run models:/star@champion --batches s3://BUCKET/batches/A s3://BUCKET/batches/B

Trains from the run's best checkpoint, on the whole training split, with the base's own recipe at a rate of 1e-4;
overrides change its fields. --gamma-s also learns from where people pointed, in campaigns mined with --spatial.
--control trains once more without what people said and reports it beside. The same --name goes on with runs that were
killed. Leaves table.txt, metrics.json, predictions and before-and-after strips in --out.
--register NAME makes the result a version of that model; jobs know it as models:/NAME/VERSION.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from jobs.cli import described, guarded, here, path, placed, trained


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("overrides", nargs="*", metavar="section.key=value", help="fields of the recipe to change")
    add(
        "--run",
        type=trained,
        required=True,
        metavar="NAME|ID|URI",
        help="base: run, MLflow id, folder, models:/NAME@ALIAS",
    )
    add("--which", choices=("best", "last"), default="best", help="checkpoint of every run (best)")
    add("--batches", type=path, required=True, nargs="+", metavar="URI", help="folders of sealed batches")
    add("--storage", type=path, default="runs", metavar="URI", help="run storage that all nodes reach (runs)")
    add("--data", type=path, default="", metavar="ROOT", help="prepared data set (the base's)")
    add("--name", default="", help="name of the new run; an existing one is resumed")
    add("--gamma", type=float, default=10.0, help="weight of the temporal term (10)")
    add("--gamma-s", type=float, default=0.0, help="weight of the spatial term (0: off)")
    add("--control", action="store_true", help="train the gamma = 0 control too")
    add("--register", default="", metavar="NAME", help="model that the result becomes a version of")
    add("--truth", type=path, default="", metavar="FILE", help="make_synth's truth.parquet: where the action is")
    add("--explanations", type=int, default=8, metavar="N", help="clips whose explanations are judged (8; 0: none)")
    add("--out", type=path, default="", metavar="URI", help="folder of the results (evaluations/NAME)")
    add("--describe", action="store_true", help="print the recipe, train nothing")
    add("--batch", type=int, default=8, help="clips of a forward pass in the evaluation (8)")
    return parser.parse_intermixed_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, compare, and return the exit status."""
    args = parse(arguments)

    # After parsing, so that --help does not wait for Ray and MLflow.
    from pipeline.core import ray_session, storage
    from pipeline.core.config import override
    from pipeline.data.store.prepared import PreparedDataset
    from pipeline.eval.load import recipe_of
    from pipeline.eval.place import read_known
    from pipeline.eval.truth import read_truth
    from pipeline.finetune.recipe import control_of, derive
    from pipeline.finetune.results import job_for, report
    from pipeline.finetune.task import EditTask
    from pipeline.registry.locate import find_checkpoint
    from pipeline.tracking.attach import attach
    from pipeline.train import checkpoint
    from pipeline.train.launch import train
    from pipeline.train.runs import fresh_name

    root, batches = args.storage, args.batches
    base = find_checkpoint(args.run, root, args.which)
    recipe = derive(recipe_of(checkpoint.read(base)), base, batches, gamma_t=args.gamma, gamma_s=args.gamma_s)
    data = [f"data.root={args.data}"] if args.data else []
    named = [f"tracking.registered_model={args.register}"] if args.register else []
    recipe = override(recipe, [*data, *named, *args.overrides])
    if args.describe:
        print(described(recipe, ""))
        return 0
    recipe = replace(recipe, data=replace(recipe.data, root=placed("data.root", recipe.data.root)))
    edits = EditTask(recipe).edits
    active = read_truth(args.truth) if args.truth else None
    known = read_known(args.truth) if args.truth and edits.maps else None
    name = args.name or fresh_name(recipe)
    out = args.out or placed("--out", storage.join("evaluations", name))
    runs = {"after": train(recipe, root=root, open_task=EditTask, name=name)}
    if args.control:
        runs["control"] = train(control_of(recipe), root=root, open_task=EditTask, name=f"{name}-control")

    found = {n: run.best_checkpoint if args.which == "best" else run.last_checkpoint for n, run in runs.items()}
    job = job_for(recipe, base, args.batch)
    ray_session.connect(job.cpus())
    dataset = PreparedDataset.open(recipe.data.root)
    result = report({"before": base, **found}, edits, dataset, job, out, active, known, args.explanations)
    print(f"{result.text}\n  results  {here(out)}", flush=True)
    for run in runs.values():
        uri, run_id = run.tracking_uri, run.mlflow_run_id
        print(f"  run      {run.name}, MLflow {run_id or 'not recorded'} at {uri}", flush=True)
        if run_id:
            attach(uri, run_id, folder=out, artifact_path="finetune", metrics=result.metrics, step=run.steps)
    if (model := recipe.tracking.registered_model) and runs["after"].mlflow_run_id:
        from pipeline.registry.registered import register_model

        run = runs["after"]
        version = register_model(run.mlflow_run_id, found["after"], model, tracking_uri=run.tracking_uri)
        print(f"  registered  models:/{model}/{version}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
