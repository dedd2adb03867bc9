"""What jobs that run other jobs share: steps printed as they can be typed, a folder of one's own, a service."""

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.errors import UserError, problem
from pipeline.core.processes import tied

CHECKOUT = Path(__file__).resolve().parents[1]
MARKERS = ".star-*"
"""Names of the files that say what made a folder; whatever made it may empty it."""


def show(title: str, *command: str) -> None:
    """Print a step as it can be typed."""
    print(f"\n== {title}\n$ {shlex.join(command)}", flush=True)


@contextlib.contextmanager
def claimed(out: Path, *, marker: str, keep: bool = True, fix: str = "give another --out") -> Iterator[None]:
    """Have a folder for the steps inside, and nobody else at the same time.

    Args:
        out: the folder; made when there is none. Loses the markers of others: it is no longer theirs alone.
        marker: name of the file that says what made a folder, one of `MARKERS`; put into a new or emptied one.
        keep: use what lies in it; False empties it first.
        fix: for the message when it may not be emptied.

    Raises:
        UserError: another command has the folder now, or it is to be emptied and has no such marker.
    """
    out.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(out, os.O_RDONLY)  # the kernel opens the lock again however this process ends
    try:
        _lock(descriptor, out)
        found = {path.name for path in out.iterdir()}
        if not keep and found and marker not in found:
            allowed = f"a new or empty folder, or one with a file {marker} in it"
            raise UserError(problem("The folder may not be emptied", got=str(out), allowed=allowed, fix=fix))
        others = [path for path in out.glob(MARKERS) if path.name != marker]
        for path in others if keep else list(out.iterdir()):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if not keep or not found:
            (out / marker).touch()
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, out: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fix = "wait for it or stop it, or give another --out"
        what = "Another command works in the folder"
        raise UserError(problem(what, got=str(out), allowed="one at a time", fix=fix)) from None


@contextlib.contextmanager
def service(*command: str, again: str = "the same command once more") -> Iterator[str]:
    """Serve the campaign while the steps inside run; gives the admin's link.

    Args:
        command: of jobs/serve_annotation.py, with --invite.
        again: what to type after its mistake is mended.

    Raises:
        UserError: it ended before it served.
    """
    show("serve the campaign", *command)
    with subprocess.Popen((*tied(), *command), cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 (ours)
        assert server.stdout is not None, "a pipe was asked for"
        try:
            link = ""
            for line in server.stdout:
                print(line, end="", flush=True)
                link = found[1] if (found := re.match(r"invitation for .*: (\S+)$", line)) else link
                if line.startswith("serving at"):
                    break
            else:
                fix = f"mend what it says, then: {again}"
                raise UserError(problem("The service ended", got=server.wait(), allowed="a running service", fix=fix))
            yield link
        finally:
            server.terminate()
