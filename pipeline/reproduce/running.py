"""Runs cells side by side: each after those that it needs, those of a lane one after another, done ones skipped."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.reproduce.cells import Cell
from pipeline.reproduce.commands import Command
from pipeline.reproduce.plan import Desk, left

CommandsOf = Callable[[Cell], tuple[Command, ...]]
"""What makes a cell; asked when all that it needs is done."""
Start = Callable[[Cell, Command], bool]
"""Runs a command to its end; returns whether it went well."""
NOBODY: Mapping[str, str] = MappingProxyType({})
TRACKED = ("train", "system")
"""Kinds of cells whose commands look for MLflow's tables in their lane's storage."""
STORE = ("annotations.db", "annotations.db-wal", "annotations.db-shm")


@dataclass(frozen=True)
class Ran:
    """How a reproduction went."""

    done: tuple[str, ...]
    failed: tuple[str, ...]
    not_begun: tuple[str, ...]
    """Cells that wait for a failed one."""
    blocked: tuple[str, ...]
    """Wanted cells that wait for what only people can bring."""

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Cells that have not been made, whatever the reason."""
        return (*self.failed, *self.not_begun, *self.blocked)


def run_cells(
    desk: Desk,
    wanted: Sequence[str],
    commands_of: CommandsOf,
    start: Start,
    *,
    at_once: int = 1,
    say: Callable[[str], None] = print,
    made_by: Mapping[str, str] = NOBODY,
) -> Ran:
    """Run what is left for the wanted cells.

    A cell that fails holds up those that need it, and no others; likewise one that waits for people.

    Args:
        desk: where it works.
        wanted: names of cells.
        commands_of: what makes a cell.
        start: runs a command.
        at_once: cells that may run at the same time.
        say: tells a person how it goes.
        made_by: machine and code, for the records of the cells.
    """
    waiting = list(left(desk, wanted))
    blocked = {name: lacks for name in wanted if (lacks := _lacked(desk, name))}
    total, done, failed = len(waiting), list[str](), list[str]()
    running: dict[Future[float | None], Cell] = {}
    with ThreadPoolExecutor(at_once) as pool:
        while waiting or running:
            for cell in _startable(desk, waiting, tuple(running.values()), at_once - len(running)):
                waiting.remove(cell)
                say(f"== {len(done) + len(failed) + len(running) + 1} of {total}: {cell.name}: {cell.title}")
                running[pool.submit(_attempt, desk, cell, commands_of, start, made_by)] = cell
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell, seconds = running.pop(future), future.result()
                (failed if seconds is None else done).append(cell.name)
                say(f"   {cell.name}: {'FAILED' if seconds is None else f'{seconds:.0f} s'}")
    for cell in waiting:
        say(f"   {cell.name}: not begun, since what it needs has failed")
    for name, lacks in blocked.items():
        say(f"   {name}: not begun; {lacks}")
    return Ran(tuple(done), tuple(failed), tuple(cell.name for cell in waiting), tuple(blocked))


def _lacked(desk: Desk, name: str) -> str:
    """Say what only people can bring for a cell; empty when it is done, or commands can do it."""
    cell = desk.cells[name]
    return "; ".join(desk.hindrances(cell)) if desk.state(cell) == "blocked" else ""


def _startable(desk: Desk, waiting: Sequence[Cell], running: Sequence[Cell], room: int) -> list[Cell]:
    """Return the cells to start now, at most one a lane."""
    busy, found = {cell.lane for cell in running}, list[Cell]()
    for cell in waiting:
        if len(found) < room and cell.lane not in busy and desk.is_ready(cell):
            busy.add(cell.lane)
            found.append(cell)
    return found


def make_databases(desk: Desk, wanted: Sequence[str]) -> None:
    """Make MLflow's tables for the lanes that will train, unless a server has them or storage is remote.

    Args:
        desk: where it works.
        wanted: names of cells.
    """
    if os.environ.get("MLFLOW_TRACKING_URI") or not storage.is_local(desk.out):
        return
    lanes = {desk.storage(cell) for cell in left(desk, wanted) if cell.kind in TRACKED}
    for folder in sorted(lanes):
        if not (file := Path(storage.local_path(folder)) / "mlflow.db").exists():
            from pipeline.tracking.run import make_database  # MLflow takes seconds to import

            make_database(file)


def _attempt(desk: Desk, cell: Cell, commands_of: CommandsOf, start: Start, made_by: Mapping[str, str]) -> float | None:
    """Run a cell; returns its seconds, or None when it failed, in whatever way: other cells do not depend on how."""
    try:
        return _run(desk, cell, commands_of(cell), start, made_by)
    except (UserError, OSError) as error:
        print(f"{cell.name}: {error}", flush=True)
        return None


def _run(
    desk: Desk, cell: Cell, commands: tuple[Command, ...], start: Start, made_by: Mapping[str, str]
) -> float | None:
    """Run a cell and record it; returns its seconds, or None when a command failed."""
    begun, started_s = datetime.now(UTC), time.monotonic()
    for command in commands:
        if command.beside:
            # People who were answering when they were killed would hold their clips until their leases end.
            for name in STORE:
                storage.delete(storage.join(desk.folder(cell), name))
        if not start(cell, command):
            return None
    if lacking := desk.lacking(cell):
        print(f"{cell.name} has ended without {', '.join(lacking)} in {desk.folder(cell)}", flush=True)
        return None
    seconds = time.monotonic() - started_s
    record = {
        "cell": cell.name,
        "key": desk.key(cell),
        "began": begun.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "commands": [list(command.argv) for command in commands],
        "made_by": dict(made_by),
    }
    storage.write_json(desk.record_uri(cell), record)
    return seconds
