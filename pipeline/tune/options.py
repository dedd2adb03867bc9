"""The options that every sweeping job has, and the request that they make."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.tune.kinds import Target
    from pipeline.tune.run import Request

TRIALS = 12


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a sweep to a job's parser."""
    add = parser.add_argument
    add("--search", default=[], nargs="+", metavar="section.key=DISTRIBUTION", help="fields to search; see above")
    add("--searcher", choices=("random", "grid", "optuna"), default="random", help="who proposes values (random)")
    add("--scheduler", choices=("fifo", "asha", "pbt"), default="fifo", help="who stops or changes trials early (fifo)")
    add("--trials", type=int, default=0, help=f"trials besides the control ({TRIALS}; of a grid all of it)")
    add("--at-once", type=int, default=1, help="trials that train at the same time (1)")
    add("--seed", type=int, default=0, help="of the proposed values (0)")
    add("--points", type=int, default=4, help="grid: values of a continuous field (4)")
    add("--margin", type=float, default=1.0, help="points that other classes may lose against the control (1)")
    add("--grace", type=int, default=1, help="asha: epochs that every trial gets; pbt: between two exchanges (1)")
    add("--reduction", type=float, default=3.0, help="asha: one trial in so many goes on at each rung (3)")
    add("--name", default="", help="of the sweep (the recipe's, -sweep); one that exists goes on")
    add("--out", default="", metavar="URI", help="folder of the results (evaluations/NAME)")
    add("--describe", action="store_true", help="print the recipe and what is searched, train nothing")


def request_of(target: Target, args: argparse.Namespace, name: str) -> Request:
    """Return what the options ask for.

    Args:
        target: what is swept.
        args: parsed by a parser with the options above.
        name: of a sweep that has not been given one.

    Raises:
        UserError: a space that cannot be read, or does not fit the target; numbers that make no sweep.
    """
    from pipeline.tune.draw import grid_size
    from pipeline.tune.run import Request
    from pipeline.tune.space import parse

    space = parse(args.search, target.recipe)
    all_of_grid = grid_size(space, args.points) if args.searcher == "grid" else TRIALS
    return Request(
        name=args.name or name,
        target=target,
        space=space,
        searcher=args.searcher,
        scheduler=args.scheduler,
        trials=args.trials or all_of_grid,
        at_once=args.at_once,
        seed=args.seed,
        points=args.points,
        margin=args.margin,
        grace=args.grace,
        reduction=args.reduction,
    )
