"""What the demos share: steps that are printed before they run, a folder that may be emptied, a Ray cluster."""

import contextlib
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


def make_anew(out: Path) -> None:
    """Empty the folder of an earlier demo; refuse one that no demo made."""
    if out.exists() and any(out.iterdir()) and not (out / MARKER).exists():
        fix = "give another --out, or add --keep to use the folder as it is"
        raise UserError(problem("The folder is not a demo's", got=str(out), allowed="a new or empty folder", fix=fix))
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / MARKER).touch()


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


def network(out: Path, recipe: str, *dials: str) -> None:
    """Make videos, shards and a trained network below a folder, what is there already left as it is.

    Args:
        out: the folder; gets videos, prepared and runs.
        recipe: of the network, and the name of its run.
        dials: arguments of make_synth.
    """
    videos, prepared = out / "videos", out / "prepared"
    run("make real encoded videos", "jobs/make_synth.py", str(videos), *dials)
    source = ("--name", "ssv2", "--source", str(videos), "--out", str(prepared), "--short-side", "64")
    run("decode, check and shard them", LAPTOP, "submit", "jobs/prepare_data.py", *source)
    where = ("--data", str(prepared), "--storage", str(out / "runs"), "--run", recipe)
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
