"""Starts commands: printed as they can be typed, their output in a file, tied to the life of whoever started them."""

import contextlib
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.core.processes import tied
from pipeline.reproduce.cells import Cell
from pipeline.reproduce.commands import LINK, Command

CHECKOUT, LAPTOP = Path(__file__).resolve().parents[2], "cluster/laptop.sh"
On = Literal["laptop", "cluster", "here"]
"""laptop: a cluster of this machine, started when it is not up. cluster: the one that RAY_ADDRESS names. here: none is
shared; every job starts its own Ray in its own process."""
SUBMIT = {"laptop": (LAPTOP, "submit"), "cluster": ("ray", "job", "submit", "--working-dir", ".", "--"), "here": ()}
TAIL = 30
"""Last lines of a failed command's output that are shown."""
MINE = ".cluster"
"""Lies in the folder while a cluster is up that a reproduction there has started."""


@dataclass(frozen=True, kw_only=True)
class Launcher:
    """Runs commands of cells."""

    on: On
    logs: Path
    """Folder of the outputs, a file a cell."""
    service: Callable[..., AbstractContextManager[str]]
    """Has a service up for a while, tied to our life like every command; gives the invitation that it prints."""

    def typed(self, command: Command) -> tuple[str, ...]:
        """Return a command as a person types it."""
        return (*(SUBMIT[self.on] if command.submitted else ()), *command.argv)

    def start(self, cell: Cell, command: Command) -> bool:
        """Run a command to its end; returns whether it went well."""
        argv = self.typed(command)
        print(f"$ {shlex.join(argv)}", flush=True)
        if not command.beside:
            return self._run(cell, argv)
        with self.service(*command.beside) as link:
            return self._run(cell, tuple(link if word == LINK else word for word in argv))

    def _run(self, cell: Cell, argv: tuple[str, ...]) -> bool:
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{cell.name}.log"
        with log.open("a") as output:
            output.write(f"$ {shlex.join(argv)}\n")
            output.flush()
            command = (*tied(), *argv)
            done = subprocess.run(command, cwd=CHECKOUT, stdout=output, stderr=subprocess.STDOUT, check=False)  # noqa: S603 (ours)
        if done.returncode:
            last = log.read_text(errors="replace").splitlines()[-TAIL:]
            print("\n".join([*last, f"exit status {done.returncode}; all of it: {log}"]), flush=True)
        return done.returncode == 0


def made_in(on: On, storage_uri: str, out: Path) -> str:
    """Return the folder or URI of all that is made, absolute.

    Args:
        on: where commands run.
        storage_uri: as it was given; empty when it was not.
        out: folder of the reproduction on this machine.

    Raises:
        UserError: a cluster, and nobody has said which place its nodes share.
    """
    if on == "cluster" and not storage_uri:
        what, got = "Nodes of a cluster have no place that they share", f"--on cluster, and --out {out} of this machine"
        fix = "give --storage s3://BUCKET/reproduce, or the path of a file system that this machine has, too"
        raise UserError(problem(what, got=got, allowed="--storage that all nodes and this machine reach", fix=fix))
    return storage.absolute(storage_uri or str(out))


@contextlib.contextmanager
def cluster(on: On, folder: Path, made: str, at_once: int = 1) -> Iterator[None]:
    """Have the cluster that commands are submitted to, without jobs that an earlier, killed reproduction left on it.

    Args:
        on: which; the laptop's is started when it is not up, and stopped if a reproduction in the folder started it.
        folder: of the reproduction on this machine.
        made: folder or URI of what it makes, which is in every command of ours.
        at_once: cells that run side by side. Each holds a logical CPU and feeds itself from another one; with fewer
            they would wait for each other for ever.
    """
    mine = folder / MINE
    if on == "laptop":
        if subprocess.run([LAPTOP, "status"], cwd=CHECKOUT, check=False).returncode:  # noqa: S603 (our own command)
            mine.touch()
            os.environ.setdefault("STAR_LAPTOP_CPUS", str(2 * max(at_once, os.cpu_count() or 1)))
            subprocess.run([LAPTOP, "start"], cwd=CHECKOUT, check=True)  # noqa: S603 (our own command)
        os.environ.update(_reaching())
    try:
        if on != "here":
            stop_leftovers(made)
        yield
    finally:
        if on == "laptop" and mine.exists():
            subprocess.run([LAPTOP, "stop"], cwd=CHECKOUT, check=False)  # noqa: S603 (our own command)
            mine.unlink()


def _reaching() -> dict[str, str]:
    """The variables by which a process reaches the laptop's cluster."""
    told = subprocess.run([LAPTOP, "env"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return dict(re.findall(r"(\w+)=(\S+)", told))


def stop_leftovers(made: str) -> None:
    """Stop jobs of the cluster whose command names something in a folder or URI, and wait for their end."""
    from ray.job_submission import JobSubmissionClient

    client, inside = JobSubmissionClient(), f"{made.rstrip('/')}/"
    while found := [job for job in client.list_jobs() if not job.status.is_terminal() and inside in job.entrypoint]:
        for job in found:
            print(f"stopping what an earlier reproduction left: {job.submission_id}", flush=True)
            client.stop_job(str(job.submission_id))
        time.sleep(2.0)
