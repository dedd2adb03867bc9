"""A reproduction whose cells cost nothing: a shell's commands instead of trainings. Run as a program it runs them all.

python cheap_cells.py OUT LOG SECONDS AT_ONCE
"""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

from pipeline.reproduce.cells import Cell
from pipeline.reproduce.commands import Command
from pipeline.reproduce.launcher import Launcher
from pipeline.reproduce.plan import Desk
from pipeline.reproduce.running import run_cells
from pipeline.reproduce.world import PAPERS

CELLS = (
    Cell(name="ssv2", kind="data", title="frames", lane="data", data="ssv2"),
    Cell(name="net", kind="train", title="a network", lane="a", data="ssv2", needs=("ssv2",), recipe="small"),
    Cell(name="net-one", kind="test", title="its test", lane="a", data="ssv2", needs=("net", "ssv2"), results=("ok",)),
    Cell(name="other", kind="train", title="another", lane="b", data="ssv2", needs=("ssv2",), recipe="small"),
    Cell(name="other-one", kind="test", title="its test", lane="b", data="ssv2", needs=("other",), results=("ok",)),
)
RECIPE = {
    "name": "small",
    "clip": {"frames": 8},
    "data": {"root": "somewhere", "fold": 1},
    "train": {"epochs": 3, "log_every": 10},
    "compute": {"workers": 1},
    "expected": {"cost": ""},
}


def prepare(root, passport="p1"):
    """Let a folder look like a prepared data set."""
    Path(root).mkdir(parents=True, exist_ok=True)
    (Path(root) / "manifest.json").write_text(json.dumps({"passport": passport}))


def desk_at(out, recipe=RECIPE, cells=CELLS, **changed):
    """A desk on given data."""
    values = {
        "world": PAPERS,
        "cells": {cell.name: cell for cell in cells},
        "out": str(out),
        "recipe_of": lambda cell: recipe,
        "given": {"ssv2": f"{out}/given"},
    }
    return Desk(**(values | changed))


def shell(desk, log, seconds=0.0):
    """Commands that note when they begin, take a while, leave what they should, and note their end."""

    def commands_of(cell):
        folder = desk.folder(cell)
        script = f"echo begin {cell.name} >> {log}; mkdir -p {folder}; sleep {seconds}; touch {folder}/ok"
        return (Command(argv=("sh", "-c", f"{script}; echo end {cell.name} >> {log}"), submitted=False),)

    return commands_of


if __name__ == "__main__":
    out, log, seconds, at_once = sys.argv[1:]
    desk = desk_at(out)
    launcher = Launcher(on="here", logs=Path(out) / "logs", service=nullcontext)
    run_cells(desk, list(desk.cells), shell(desk, log, float(seconds)), launcher.start, at_once=int(at_once))
