"""The commands of a cell: jobs with their arguments, each of which works by itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core import storage
from pipeline.reproduce.cells import Cell, Kind
from pipeline.reproduce.plan import Desk

LINK = "LINK"
"""Stands for the invitation that a service prints."""
TRUTH = "truth.parquet"
EXPLANATIONS = "--explanations"


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command."""

    argv: tuple[str, ...]
    submitted: bool = True
    """False: runs where it is typed, without a cluster."""
    beside: tuple[str, ...] = ()
    """A service that has to run meanwhile; it prints an invitation, which stands for LINK."""


@dataclass(frozen=True)
class Machines:
    """What commands may use."""

    gpus: int = 0
    threads: int = 1
    """torch threads of a process without a GPU."""

    @property
    def training(self) -> tuple[str, ...]:
        """Overrides of a recipe."""
        if self.gpus:
            return (f"compute.workers={self.gpus}", "compute.gpu=true")
        return ("compute.workers=1", "compute.gpu=false", f"compute.threads={self.threads}")

    def asked(self, compute: Mapping[str, Any]) -> str:
        """Say what a training holds on a cluster.

        Args:
            compute: that section of its recipe, which `training` overrides.
        """
        cpus = compute["data_cpus"] + (self.gpus or 1) * compute["cpus_per_worker"]
        return f"{self.gpus or 'no'} GPU{'' if self.gpus == 1 else 's'} and {cpus:g} CPUs"

    @property
    def testing(self) -> tuple[str, ...]:
        """Arguments of a job that asks a network."""
        if self.gpus:
            return ("--gpu", "--actors", str(self.gpus), "--data-cpus", str(8 * self.gpus))
        return ("--threads", str(self.threads))


def commands(desk: Desk, cell: Cell, machines: Machines) -> tuple[Command, ...]:
    """Return what makes a cell, in order; all that it needs must be done.

    Args:
        desk: where it works.
        cell: which.
        machines: what it may use.
    """
    return _OF_KIND[cell.kind](desk, cell, machines)


def _first(desk: Desk, cell: Cell, kind: Kind) -> Cell:
    """The first of the cells that it needs of a kind."""
    return next(desk.cells[name] for name in cell.needs if desk.cells[name].kind == kind)


def _truth(desk: Desk, cell: Cell) -> tuple[str, ...]:
    """Where the truth about the videos lies, if there is one."""
    if not desk.world.is_synth:
        return ()
    return ("--truth", storage.join(storage.parent(desk.data_root(cell.data)), "videos", TRUTH))


def _data(desk: Desk, cell: Cell, machines: Machines) -> tuple[Command, ...]:
    prepared = desk.data_root(cell.name)
    videos = storage.join(storage.parent(prepared), "videos")
    made = ("jobs/make_synth.py", videos, *desk.world.made[cell.name])
    stored = ("--source", videos, "--out", prepared, "--short-side", desk.world.short_side)
    return (
        Command(argv=made, submitted=False),
        Command(argv=("jobs/prepare_data.py", "--name", cell.name, *stored)),
    )


def _flow(desk: Desk, cell: Cell, machines: Machines) -> tuple[Command, ...]:
    gpus = ("--gpus", str(machines.gpus)) if machines.gpus else ()
    return (Command(argv=("jobs/extract_flow.py", "--data", desk.data_root(cell.data), *cell.options, *gpus)),)


def _train(desk: Desk, cell: Cell, machines: Machines) -> tuple[Command, ...]:
    first = tuple(f"init.path={file}" for file in desk.files_of(cell))
    where = ("--data", desk.data_root(cell.data), "--storage", desk.storage(cell), "--run", desk.run(cell))
    return (Command(argv=("jobs/train_stabn.py", cell.recipe, *cell.overrides, *first, *machines.training, *where)),)


def _test(desk: Desk, cell: Cell, machines: Machines) -> tuple[Command, ...]:
    asked = desk.cells[cell.needs[0]]
    if asked.kind == "import":
        what: tuple[str, ...] = ("--checkpoint", desk.folder(asked), "--allow-other-data", "--no-mlflow")
    else:
        what = ("--run", desk.run(asked), "--storage", desk.storage(cell))
    explained = _truth(desk, cell) if EXPLANATIONS in cell.options else ()
    told = (*cell.options, "--maps", "temporal", *explained, "--out", desk.folder(cell))
    return (Command(argv=("jobs/evaluate.py", *what, "--data", desk.data_root(cell.data), *told, *machines.testing)),)


def _mine(desk: Desk, cell: Cell, machines: Machines) -> tuple[Command, ...]:
    run = desk.run(_first(desk, cell, "train"))
    where = ("--run", run, "--storage", desk.storage(cell), "--data", desk.data_root(cell.data))
    told = (*cell.options, *_truth(desk, cell), "--name", desk.run(cell), "--out", desk.folder(cell))
    return (Command(argv=("jobs/mine_misclassified.py", *where, *told, *machines.testing)),)


def _annotate(desk: Desk, cell: Cell, machines: Machines) -> tuple[Command, ...]:
    run, folder = desk.run(_first(desk, cell, "train")), desk.folder(cell)
    campaign = desk.folder(_first(desk, cell, "mine"))
    kept = ("--database", storage.join(folder, "annotations.db"), "--batches", storage.join(folder, "batches"))
    asked = ("--run", run, "--storage", desk.storage(cell), "--invite", "Grace", "--role", "admin", "--port", "0")
    served = ("jobs/serve_annotation.py", "--campaign", campaign, *kept, *asked)
    told = ("--invitation", LINK, "--campaign", campaign, *_truth(desk, cell), "--people", "8")
    return (Command(argv=("jobs/simulate_annotators.py", *told), submitted=False, beside=served),)


def _finetune(desk: Desk, cell: Cell, machines: Machines) -> tuple[Command, ...]:
    run, annotated = desk.run(_first(desk, cell, "train")), _first(desk, cell, "annotate")
    where = ("--run", run, "--storage", desk.storage(cell), "--data", desk.data_root(cell.data))
    edits = ("--batches", *desk.batch_folders(annotated), *cell.options, "--name", desk.run(cell), "--control")
    told = (*edits, *_truth(desk, cell), "--out", desk.folder(cell))
    return (Command(argv=("jobs/finetune_edits.py", *cell.overrides, *machines.training, *where, *told)),)


def _system(desk: Desk, cell: Cell, machines: Machines) -> tuple[Command, ...]:
    first = tuple(f"{part}.init.path={file}" for file in desk.files_of(cell) for part in ("spatial", "temporal"))
    where = ("--data", desk.data_root(cell.data), "--storage", desk.storage(cell), "--run", desk.run(cell))
    given = (*cell.overrides, *first, *machines.training)
    return (Command(argv=("jobs/train_two_stream.py", cell.recipe, *given, *where)),)


def _test_system(desk: Desk, cell: Cell, machines: Machines) -> tuple[Command, ...]:
    system = _first(desk, cell, "system")
    recipe = desk.recipe_of(system)
    has_maps = recipe["network"]["attention_channel"] and len(recipe["rounds"]) > 1
    known = _truth(desk, cell) if has_maps else ()
    told = ("--storage", desk.storage(cell), *cell.options, *known, "--out", desk.folder(cell))
    return (Command(argv=("jobs/evaluate_two_stream.py", desk.run(system), *told, *machines.testing)),)


def _shown(desk: Desk, cell: Cell, machines: Machines) -> tuple[Command, ...]:
    systems = [desk.run(desk.cells[name]) for name in cell.needs if desk.cells[name].kind == "system"]
    told = ("--storage", desk.storage(cell), *cell.options, "--out", desk.folder(cell))
    return (Command(argv=("jobs/explain_two_stream.py", *systems, *told), submitted=False),)


def _import(desk: Desk, cell: Cell, machines: Machines) -> tuple[Command, ...]:
    where = ("--data", desk.data_root(cell.data), "--out", desk.folder(cell))
    return (Command(argv=("jobs/import_published.py", cell.options[0], *where)),)


_OF_KIND: Mapping[Kind, Callable[[Desk, Cell, Machines], tuple[Command, ...]]] = {
    "data": _data,
    "flow": _flow,
    "train": _train,
    "test": _test,
    "mine": _mine,
    "annotate": _annotate,
    "finetune": _finetune,
    "system": _system,
    "test-system": _test_system,
    "curves": _shown,
    "layers": _shown,
    "import": _import,
}
