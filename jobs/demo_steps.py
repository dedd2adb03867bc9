"""What the demos share: steps that are printed before they run, a folder that may be emptied, a Ray cluster."""

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from jobs.cli import here
from pipeline.core.errors import UserError, problem

CHECKOUT, LAPTOP = Path(__file__).resolve().parents[1], "cluster/laptop.sh"
MARKER = ".star-demo"  # lies in a folder that a demo made, and may therefore delete


def show(title: str, *command: str) -> None:
    """Print a step as it can be typed."""
    print(f"\n== {title}\n$ {shlex.join(command)}", flush=True)


def run(title: str, *command: str, expected: int = 0) -> None:
    """Run one step, its output shown; the step's own message explains another exit status than the expected one."""
    started_s = time.monotonic()
    show(title, *command)
    status = subprocess.run(command, cwd=CHECKOUT, check=False).returncode  # noqa: S603 (our own commands)
    if status != expected:
        fix = f"mend what the output above says, then: python {here(sys.argv[0])} --keep"
        raise UserError(problem(f"'{title}' failed", got=f"exit status {status}", allowed=str(expected), fix=fix))
    print(f"   {time.monotonic() - started_s:.0f} s", flush=True)


@contextlib.contextmanager
def claimed(out: Path, *, keep: bool) -> Iterator[None]:
    """Have a demo's folder for the steps inside, and nobody else at the same time.

    Args:
        out: the folder; made when there is none.
        keep: use what lies in it; False empties it first.

    Raises:
        UserError: another demo has the folder now, or no demo made the folder that is to be emptied.
    """
    out.mkdir(parents=True, exist_ok=True)
    found = {path.name for path in out.iterdir()}
    if not keep and found and MARKER not in found:
        fix = "give another --out, or add --keep to use the folder as it is"
        raise UserError(problem("The folder is not a demo's", got=str(out), allowed="a new or empty folder", fix=fix))
    descriptor = os.open(out, os.O_RDONLY)  # the kernel opens the lock again however this process ends
    try:
        _lock(descriptor, out)
        if not keep:
            for path in out.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if not keep or not found:
            (out / MARKER).touch()
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, out: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fix = "wait for it or stop it, or give another --out"
        raise UserError(problem("A demo runs in the folder", got=str(out), allowed="one at a time", fix=fix)) from None


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


@contextlib.contextmanager
def service(*command: str) -> Iterator[str]:
    """Serve the campaign while the steps inside run; gives the admin's link."""
    show("serve the campaign", *command)
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 (ours)
        assert server.stdout is not None, "a pipe was asked for"
        try:
            link = ""
            for line in server.stdout:
                print(line, end="", flush=True)
                link = found[1] if (found := re.match(r"invitation for .*: (\S+)$", line)) else link
                if line.startswith("serving at"):
                    break
            else:
                fix = f"mend what it says, then: python {sys.argv[0]} --keep"
                raise UserError(problem("The service ended", got=server.wait(), allowed="a running service", fix=fix))
            yield link
        finally:
            server.terminate()
