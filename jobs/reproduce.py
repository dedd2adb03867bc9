#!/usr/bin/env python3
"""Fill the papers' tables: run what is missing, then print paper, ours, difference, protocol and passport.

    python jobs/reproduce.py all --data synth                        # the synth bench: small networks, synthetic videos
    python jobs/reproduce.py s0-table-1 --data ssv2=s3://BUCKET/ssv2 --storage s3://BUCKET/reproduce --on cluster
    python jobs/reproduce.py all --dry-run                           # what every row still needs

Tables: {tables}. Every cell is a few commands, printed before they run; each works by itself. Killed anywhere, the same
command goes on; done cells are skipped. --document PATH writes tables, claims, costs and commands as Markdown.
"""

import argparse
import contextlib
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jobs.cli import find_recipe, guarded, placed
from jobs.steps import claimed, service
from pipeline.core.config import override, to_dict
from pipeline.reproduce import written
from pipeline.reproduce.catalogue import TABLES, Chosen, choose, world_of
from pipeline.reproduce.cells import Cell
from pipeline.reproduce.commands import Machines, commands
from pipeline.reproduce.launcher import Launcher, cluster, made_in
from pipeline.reproduce.machine import made_by
from pipeline.reproduce.needs import needs_text
from pipeline.reproduce.plan import Desk
from pipeline.reproduce.published import authors_in, weights_in
from pipeline.reproduce.running import make_databases, run_cells
from pipeline.train.recipe import Recipe
from pipeline.two_stream.recipe import TwoStreamRecipe


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    text = (__doc__ or "").format(tables=", ".join(TABLES))
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", metavar="TABLE", help="tables by name, or all")
    parser.add_argument("--data", nargs="+", default=[], metavar="NAME=ROOT", help="prepared data sets; or: synth")
    parser.add_argument("--batches", nargs="+", default=[], metavar="URI", help="sealed batches of edits")
    parser.add_argument("--checkpoints", default="", metavar="URI", help="folder of authors' .pt, torchvision's .pth")
    parser.add_argument("--out", type=Path, default=Path("runs/reproduce"), help="folder of outputs (runs/reproduce)")
    parser.add_argument("--storage", default="", metavar="URI", help="where what is made goes; shared by nodes (--out)")
    parser.add_argument("--dry-run", action="store_true", help="say what every row needs, and run nothing")
    parser.add_argument("--collect", action="store_true", help="print what has been measured, and run nothing")
    parser.add_argument("--beyond", action="store_true", help="all: with the costly rows beyond the papers")
    parser.add_argument("--document", type=Path, metavar="PATH", help="write the document there, pictures beside it")
    parser.add_argument("--on", choices=("laptop", "cluster", "here"), default="laptop", help="where jobs run (laptop)")
    parser.add_argument("--at-once", type=int, default=0, help="cells side by side (2 on the synth bench, else 1)")
    parser.add_argument("--gpus", type=int, default=8, help="of a training or a test; the synth bench uses none (8)")
    parser.add_argument("--tflops", type=float, default=100.0, help="TFLOP/s that a GPU keeps up, for --dry-run (100)")
    return parser.parse_args(arguments)


def recipe_of(cell: Cell) -> Mapping[str, Any]:
    """Return a cell's recipe as nested dictionaries."""
    kind = TwoStreamRecipe if cell.kind == "system" else Recipe
    return to_dict(override(find_recipe(cell.recipe, kind)(), cell.overrides))


def ask(args: argparse.Namespace) -> tuple[Desk, Chosen]:
    """Return where it works, and what is asked for.

    Raises:
        UserError: no such data, or no such table.
    """
    world, given = world_of(args.data, partial(placed, "--data"))
    checkpoints = placed("--checkpoints", args.checkpoints)
    chosen = choose(world, args.tables, costly=args.beyond, authors=authors_in(checkpoints), given=given)
    desk = Desk(
        world=world,
        cells=chosen.cells,
        out=made_in(args.on, placed("--storage", args.storage), args.out),
        recipe_of=recipe_of,
        given=given,
        batches=tuple(placed("--batches", batch) for batch in args.batches),
        weights=weights_in(checkpoints),
    )
    return desk, chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, print the tables, write the document; returns the exit status."""
    args = parse(arguments)
    desk, chosen = ask(args)
    if args.dry_run:
        print(needs_text(desk, chosen, args.tflops, Machines(gpus=args.gpus)))
        return 0
    unfinished = () if args.collect else run(args, desk, chosen.wanted(desk.world.first))
    typed = ["python", "jobs/reproduce.py", *(sys.argv[1:] if arguments is None else arguments)]
    report = written.report_of(desk, chosen, " ".join(typed))
    print(written.screen(report))
    if args.document:
        print(f"document  {written.write(report, args.document)}")
    return 1 if unfinished else 0


def run(args: argparse.Namespace, desk: Desk, wanted: Sequence[str]) -> tuple[str, ...]:
    """Run what is missing; returns the cells that failed, and those that nothing here can make."""
    from pipeline.train.runs import software as code  # here, since MLflow takes seconds to import

    out, synth = args.out.resolve(), desk.world.is_synth
    at_once = args.at_once or (2 if synth else 1)
    launcher = Launcher(on=args.on, logs=out / "logs", service=service)
    with contextlib.ExitStack() as stack:
        stack.enter_context(claimed(out, marker=".star-reproduction"))
        if any(desk.state(desk.cells[name]) in ("to run", "waits") for name in wanted):
            stack.enter_context(cluster(args.on, out, desk.out, at_once))
        make_databases(desk, wanted)
        commands_of = partial(commands, desk, machines=Machines() if synth else Machines(gpus=args.gpus))
        by = made_by(args.on == "cluster", code())
        return run_cells(desk, wanted, commands_of, launcher.start, at_once=at_once, made_by=by).unfinished


if __name__ == "__main__":
    sys.exit(guarded(main))
