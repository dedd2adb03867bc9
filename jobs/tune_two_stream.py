#!/usr/bin/env python3
"""Sweep a two-stream system: the weight of its fusion over stored predictions, or the training of one stage.

    python jobs/tune_two_stream.py --predictions evaluations/NAME/predictions.parquet
    python jobs/tune_two_stream.py two_stream_demo --data data/demo --run NAME --stage r1-temporal
        --search 'temporal.optim.lr=log(1e-4,1e-1)' 'temporal.optim.schedule=choice(multistep,cosine)'

The fusion needs no training: every weight is scored on the predictions of jobs/evaluate_two_stream.py. A stage is
trained once for every trial, on what the earlier stages of --run left; trial 0 is the recipe as it is. The same command
goes on with a sweep that was killed. Leaves table.txt, results.json, pictures and winner.sh in --out.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs.cli import described, find_recipe, guarded, here, placed
from pipeline.core.errors import UserError, problem
from pipeline.tune.options import add_options, request_of

if TYPE_CHECKING:
    from pipeline.tune.kinds import Target


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", help="of the system whose stage is swept")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="fields to change for all trials")
    parser.add_argument("--predictions", default="", metavar="FILE", help="sweep the fusion of this test instead")
    parser.add_argument("--variant", choices=("without", "with", "blind"), help="answers that are fused (with)")
    parser.add_argument("--data", default="", metavar="ROOT", help="prepared data set, path or URI (data.root)")
    parser.add_argument("--flow", default="", metavar="ROOT", help="flow set (flow_root); the only one beside the data")
    parser.add_argument("--storage", default="runs", metavar="URI", help="run storage that all nodes reach (runs)")
    parser.add_argument("--run", default="", metavar="NAME", help="system with the earlier stages (the recipe's name)")
    parser.add_argument("--stage", default="", metavar="STAGE", help="of jobs/train_two_stream.py --describe")
    add_options(parser)
    args = parser.parse_intermixed_args(arguments)
    if bool(args.predictions) == bool(args.recipe and args.stage):
        parser.error("give --predictions, or a recipe and --stage")
    return args


def fusion(args: argparse.Namespace) -> int:
    """Sweep the weight of the fusion."""
    from pipeline.tune.fusion import read_stored, sweep_fusion, write_fusion

    stored = read_stored(placed("--predictions", args.predictions), args.variant)
    found, system = sweep_fusion(stored), stored.about.get("system", "NAME")
    weights = [f"{weight:g}" for weight in found.weights]
    again = ["python", "jobs/evaluate_two_stream.py", system, "--storage", args.storage, "--fusion", *weights]
    out = placed("--out", args.out or f"evaluations/{system}-fusion")
    print(write_fusion(stored, found, shlex.join(again), out), f"\n  results  {here(out)}", flush=True)
    return 0


def target_of(args: argparse.Namespace) -> "Target":
    """Return the stage that is swept."""
    from pipeline.core.config import override
    from pipeline.tune.kinds import stage_target
    from pipeline.two_stream.recipe import TwoStreamRecipe

    places = {"data.root": placed("--data", args.data), "flow_root": placed("--flow", args.flow)}
    given = [f"{key}={value}" for key, value in places.items() if value]
    recipe = override(find_recipe(args.recipe, TwoStreamRecipe)(), [*args.overrides, *given])
    if not recipe.data.root:
        fix = "add --data ROOT, a folder or URI that jobs/prepare_data.py made"
        raise UserError(problem("No data set was given", got="no --data", allowed="a prepared data set", fix=fix))
    root = placed("--storage", args.storage)
    return stage_target(args.recipe, recipe, root, args.run or recipe.name, args.stage, args.overrides)


def main(arguments: Sequence[str] | None = None) -> int:
    """Sweep, say what came out, and return the exit status."""
    args = parse(arguments)
    if args.predictions:
        return fusion(args)
    target = target_of(args)
    request = request_of(target, args, f"{args.run or target.recipe.name}-{args.stage}-sweep")
    if args.describe:
        print(described(target.recipe, "\n".join(["searched:", *request.space.texts()])))
        return 0

    from pipeline.tune.run import sweep
    from pipeline.tune.summary import summarise

    out = placed("--out", args.out or f"evaluations/{request.name}")
    swept = sweep(request, placed("--storage", args.storage))
    print(f"\n{summarise(swept, out).text}\n\n  results  {here(out)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
