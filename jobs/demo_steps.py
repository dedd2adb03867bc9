"""What the demos share: steps that are printed before they run, a folder that may be emptied, a Ray cluster."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from jobs import steps
from jobs.cli import here
from pipeline.core.errors import UserError, problem
from pipeline.core.processes import tied

CHECKOUT, LAPTOP = steps.CHECKOUT, "cluster/laptop.sh"
MARKER = ".star-demo"  # lies in a folder that a demo made, and may therefore delete


def run(title: str, *command: str, expected: int = 0) -> None:
    """Run one step, its output shown; the step's own message explains another exit status than the expected one."""
    started_s = time.monotonic()
    steps.show(title, *command)
    status = subprocess.run((*tied(), *command), cwd=CHECKOUT, check=False).returncode  # noqa: S603 (our own commands)
    if status != expected:
        fix = f"mend what the output above says, then: {_again()}"
        raise UserError(problem(f"'{title}' failed", got=f"exit status {status}", allowed=str(expected), fix=fix))
    print(f"   {time.monotonic() - started_s:.0f} s", flush=True)


def _again() -> str:
    return f"python {here(sys.argv[0])} --keep"


def claimed(out: Path, *, keep: bool) -> AbstractContextManager[None]:
    """Have a demo's folder for the steps inside, and nobody else at the same time.

    Args:
        out: the folder; made when there is none.
        keep: use what lies in it; False empties it first.

    Raises:
        UserError: another command has the folder now, or no demo made the folder that is to be emptied.
    """
    fix = "give another --out, or add --keep to use the folder as it is"
    return steps.claimed(out, marker=MARKER, keep=keep, fix=fix)


@contextlib.contextmanager
def cluster() -> Iterator[None]:
    """Have a Ray cluster on this machine for the steps inside; one that was up before stays up."""
    was_up = subprocess.run([LAPTOP, "status"], cwd=CHECKOUT, check=False).returncode == 0  # noqa: S603 (ours)
    try:
        run("start a Ray cluster on this machine", LAPTOP, "start")
        yield
    finally:
        if not was_up:
            subprocess.run([LAPTOP, "stop"], cwd=CHECKOUT, check=False)  # noqa: S603 (our own command)


def videos_and_shards(out: Path, *dials: str) -> Path:
    """Make videos and shards below a folder, what is there already left as it is.

    Args:
        out: the folder; gets videos and prepared.
        dials: arguments of make_synth.

    Returns:
        The prepared data set's folder.
    """
    videos, prepared = out / "videos", out / "prepared"
    run("make real encoded videos", "jobs/make_synth.py", str(videos), *dials)
    source = ("--name", "ssv2", "--source", str(videos), "--out", str(prepared), "--short-side", "64")
    run("decode, check and shard them", LAPTOP, "submit", "jobs/prepare_data.py", *source)
    return prepared


def network(out: Path, recipe: str, *dials: str) -> None:
    """Make videos, shards and a trained network below a folder, what is there already left as it is.

    Args:
        out: the folder; gets videos, prepared and runs.
        recipe: of the network, and the name of its run.
        dials: arguments of make_synth.
    """
    where = ("--data", str(videos_and_shards(out, *dials)), "--storage", str(out / "runs"), "--run", recipe)
    run(f"train {recipe}", LAPTOP, "submit", "jobs/train_stabn.py", recipe, *where)


def service(*command: str) -> AbstractContextManager[str]:
    """Serve the campaign while the steps inside run; gives the admin's link."""
    return steps.service(*command, again=_again())
