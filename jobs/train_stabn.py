#!/usr/bin/env python3
"""Train a recipe: ST-ABN or its baseline.

    python jobs/train_stabn.py stabn_demo --data data/demo
    ray job submit --working-dir . -- jobs/train_stabn.py stabn_r50_ssv2 --data s3://BUCKET/ssv2 --storage s3://BUCKET/runs

A run that was killed goes on from its last checkpoint when its name is given again with --run.
"""

import argparse
import inspect
import sys
from collections.abc import Sequence
from dataclasses import replace

from jobs.cli import all_recipes, described, find_recipe, given_data, guarded, here, path, placed
from pipeline.core.config import override
from pipeline.train.recipe import Recipe
from pipeline.train.trained_on import TrainedOn


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", help=f"one of {', '.join(sorted(all_recipes()))}")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="fields of the recipe to change")
    parser.add_argument("--data", type=path, default="", metavar="ROOT", help="prepared data set (data.root)")
    parser.add_argument(
        "--storage", type=path, default="runs", metavar="URI", help="run storage that all nodes reach (runs)"
    )
    parser.add_argument("--run", default="", metavar="NAME", help="name of the run; an existing one is resumed")
    parser.add_argument("--repeat", default="", metavar="ID", help="MLflow run whose recipe and data are used again")
    parser.add_argument("--describe", action="store_true", help="print the recipe and what it costs, train nothing")
    args = parser.parse_intermixed_args(arguments)
    if args.repeat and args.recipe:  # the first positional argument is an override then
        args.overrides.insert(0, args.recipe)
        args.recipe = None
    if not (args.recipe or args.repeat):
        parser.error("give a recipe or --repeat")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and say what came out; returns the exit status."""
    args = parse(arguments)
    overrides = [*args.overrides, *([f"data.root={args.data}"] if args.data else [])]
    data_then: TrainedOn | None = None
    if args.repeat:
        from pipeline.train.runs import recorded  # MLflow takes seconds to import

        recipe, data_then = recorded(Recipe, args.repeat, args.storage, overrides)
    else:
        recipe = override(find_recipe(args.recipe)(), overrides)
    if args.describe:
        print(described(recipe, "" if args.repeat else inspect.getdoc(find_recipe(args.recipe)) or ""))
        return 0
    data = replace(recipe.data, root=given_data(recipe.data.root))
    recipe = replace(recipe, data=data, init=replace(recipe.init, path=placed("init.path", recipe.init.path)))

    from pipeline.train.launch import train  # so that --help and --describe need no cluster software

    trained = train(recipe, root=args.storage, name=args.run, same_data_as=data_then)
    again = args.recipe or f"--repeat {args.repeat}"
    best = "not validated" if trained.best_top1 is None else f"best validation top-1 {trained.best_top1:.2f} %"
    print(
        f"run {trained.name}: {trained.steps} steps, {trained.skipped} skipped, {best}\n"
        f"  best checkpoint  {here(trained.best_checkpoint)}\n"
        f"  last checkpoint  {here(trained.last_checkpoint)}\n"
        f"  MLflow           run {trained.mlflow_run_id or 'not recorded'} at {trained.tracking_uri}\n"
        f"  resume           jobs/train_stabn.py {again} --run {trained.name} --storage {here(args.storage)}",
        flush=True,
    )
    if recipe.tracking.registered_model and trained.mlflow_run_id:
        from pipeline.registry.registered import register_model

        name, uri = recipe.tracking.registered_model, trained.tracking_uri
        version = register_model(trained.mlflow_run_id, trained.best_checkpoint, name, tracking_uri=uri)
        print(f"  registered       {name}, version {version}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
