#!/usr/bin/env python3
"""Sweep fields of a recipe: of a fine-tuning on edits (--run and --batches), or of a training (RECIPE).

    python jobs/tune_stabn.py --run stabn_demo --batches batches/3f2a... --search 'edits.gamma_t=log(0.1,100)'
    python jobs/tune_stabn.py stabn_demo train.epochs=4 --data data/demo --scheduler asha
        --search 'optim.lr=log(1e-3,0.3)' 'optim.schedule=choice(multistep,cosine)' 'optim.milestones=choice([2,3],[3])'

Distributions are log(a,b), uniform(a,b), integers(a,b), choice(x,y,...); quote them for the shell. Every trial is an
ordinary run, trial 0 the control: without what people said, or the recipe as it is. The same command goes on with a
sweep that was killed, and with more --trials continues one that has ended. Leaves table.txt, results.json, pictures and
winner.sh in --out.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from jobs.cli import described, find_recipe, guarded, here, placed
from pipeline.core.errors import UserError, problem
from pipeline.tune.options import add_options, request_of


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", help="of a training, as jobs/train_stabn.py takes it")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="fields to change for all trials")
    parser.add_argument("--run", default="", metavar="NAME|ID|URI", help="base of a fine-tuning instead of a recipe")
    parser.add_argument("--which", choices=("best", "last"), default="best", help="checkpoint of the base (best)")
    parser.add_argument("--batches", default=[], nargs="+", metavar="URI", help="folders of sealed batches")
    parser.add_argument("--data", default="", metavar="ROOT", help="prepared data set (the base's)")
    parser.add_argument("--storage", default="runs", metavar="URI", help="run storage that all nodes reach (runs)")
    add_options(parser)
    args = parser.parse_intermixed_args(arguments)
    if args.run and args.recipe:  # the first positional argument is an override then
        args.overrides.insert(0, args.recipe)
        args.recipe = None
    if bool(args.run) != bool(args.batches) or not (args.run or args.recipe):
        parser.error("give a recipe, or --run with --batches")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Sweep, say what came out, and return the exit status."""
    args = parse(arguments)

    # After parsing, so that --help does not wait for Ray and MLflow.
    from pipeline.core.config import override
    from pipeline.tune.kinds import edits_target, recipe_target

    root, data = placed("--storage", args.storage), placed("--data", args.data)
    if args.run:
        batches = [placed("--batches", uri) for uri in args.batches]
        target = edits_target(args.run, root, args.which, batches, args.overrides, data=data)
    else:
        recipe = override(find_recipe(args.recipe)(), args.overrides)
        recipe = replace(recipe, data=replace(recipe.data, root=data or placed("data.root", recipe.data.root)))
        target = recipe_target(args.recipe, recipe, root, args.overrides)
    request = request_of(target, args, f"{target.recipe.name}-sweep")
    if args.describe:
        print(described(target.recipe, "\n".join(["searched:", *request.space.texts()])))
        return 0
    if not target.recipe.data.root:
        fix = "add --data ROOT, a folder or URI that jobs/prepare_data.py made"
        raise UserError(problem("No data set was given", got="no --data", allowed="a prepared data set", fix=fix))

    from pipeline.tune.run import sweep
    from pipeline.tune.summary import summarise

    out = placed("--out", args.out or f"evaluations/{request.name}")
    swept = sweep(request, root)
    print(f"\n{summarise(swept, out).text}\n", flush=True)
    print(f"  results  {here(out)}\n  MLflow   run {swept.mlflow_run_id or 'not recorded'} at {swept.tracking_uri}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
