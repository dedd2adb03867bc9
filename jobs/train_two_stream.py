#!/usr/bin/env python3
"""Train a two-stream system, or one of its baselines: both streams in rounds, maps between them, attention nets.

    python jobs/train_two_stream.py two_stream_demo --data data/demo
    ray job submit --working-dir . -- jobs/train_two_stream.py two_stream_ucf101 --data s3://BUCKET/ucf101
        --storage s3://BUCKET/runs --run ucf101

Frames come from jobs/prepare_data.py, flow from jobs/extract_flow.py. Every stage is a run of its own, named
NAME-STAGE. Give the same --run again and what is done is skipped, what was killed goes on.
"""

import argparse
import inspect
import sys
from collections.abc import Sequence
from dataclasses import replace

from jobs.cli import all_recipes, described, find_recipe, given_data, guarded, here, path, placed
from pipeline.core.config import override
from pipeline.two_stream.recipe import TwoStreamRecipe, part_of
from pipeline.two_stream.samples import STREAMS
from pipeline.two_stream.stages import stages


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help=f"one of {', '.join(sorted(all_recipes(TwoStreamRecipe)))}")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="fields of the recipe to change")
    parser.add_argument("--data", type=path, default="", metavar="ROOT", help="prepared data set (data.root)")
    parser.add_argument(
        "--flow", type=path, default="", metavar="ROOT", help="flow set (flow_root, else that beside the data)"
    )
    parser.add_argument(
        "--storage", type=path, default="runs", metavar="URI", help="run storage that all nodes reach (runs)"
    )
    parser.add_argument("--run", default="", metavar="NAME", help="name of the system (the recipe's)")
    parser.add_argument("--until", default="", metavar="STAGE", help="stop after this stage; see --describe")
    parser.add_argument("--describe", action="store_true", help="print the recipe and its stages, train nothing")
    return parser.parse_intermixed_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and say what came out; returns the exit status."""
    args = parse(arguments)
    places = {"data.root": args.data, "flow_root": args.flow}
    given = [f"{key}={value}" for key, value in places.items() if value]
    function = find_recipe(args.recipe, TwoStreamRecipe)
    recipe = override(function(), [*args.overrides, *given])
    if args.describe:
        print(described(recipe, inspect.getdoc(function) or ""))
        print("stages: " + ", ".join(stage.name for stage in stages(recipe)))
        return 0
    recipe = _placed(recipe)
    name = args.run or recipe.name

    from pipeline.two_stream.procedure import train_system  # so that --help and --describe need no cluster software

    system = train_system(recipe, root=args.storage, name=name, until=args.until)
    if system is None:
        print(f"stopped after {args.until}, as asked; the same command without --until goes on", flush=True)
        return 0
    print(f"system {name} in {here(args.storage)}", flush=True)
    for stage, (checkpoint, digest) in system.checkpoints.items():
        print(f"  {stage:20s} {checkpoint}  {digest[:12]}", flush=True)
    return 0


def _placed(recipe: TwoStreamRecipe) -> TwoStreamRecipe:
    """Return the recipe with paths that mean the same for workers, which have other working directories."""
    recipe = replace(
        recipe,
        data=replace(recipe.data, root=given_data(recipe.data.root)),
        flow_root=placed("flow_root", recipe.flow_root),
    )
    for stream in STREAMS:
        part = part_of(recipe, stream)
        path = placed(f"{stream}.init.path", part.init.path)
        recipe = replace(recipe, **{stream: replace(part, init=replace(part.init, path=path))})  # type: ignore[arg-type]
    return recipe


if __name__ == "__main__":
    sys.exit(guarded(main))
