"""Run a function in a child process that can be killed: decoders hang and crash, and a signal cannot interrupt them.

The child is a fresh interpreter, not a fork (decoders inherited over fork hang), and serves many calls, so a call costs
a message and not a start. It is replaced after a kill, after a crash, and every `recycle_after` calls against leaks.
"""

import multiprocessing.connection
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import IO, Any, TypeVar

from pipeline.data.video.decode import DECODE_ERROR, TIMEOUT, DecodeError

R = TypeVar("R")

_START_LIMIT_S = 120.0


class Guard:
    """A reusable child process with a time limit a call. Use as a context manager, or `close` it; one thread at a time.

    Args:
        limit_s: seconds a call may take before the child is killed.
        recycle_after: calls after which the child is replaced.
        orphan_grace_s: how long after the limit a child ends itself whose parent died before it could end it.
    """

    def __init__(self, limit_s: float, recycle_after: int = 500, orphan_grace_s: float = 10.0) -> None:
        self.limit_s = limit_s
        self._recycle_after = recycle_after
        self._orphan_grace_s = orphan_grace_s
        self._child: _Child | None = None

    def __enter__(self) -> "Guard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the child; None before the first call and after a kill."""
        return self._child.pid if self._child else None

    def call(self, function: Callable[..., R], *arguments: Any) -> R:
        """Return `function(*arguments)` from the child; both must be importable or picklable there.

        Raises:
            DecodeError: timeout when the limit passed, decode_error when the child died; the child is gone then.
            Exception: what the function itself raised.
        """
        if self._child and self._child.calls >= self._recycle_after:
            self.close()
        if self._child is None:
            self._child = _Child()
        child = self._child
        child.calls += 1
        timer = threading.Timer(self.limit_s, child.kill_late)
        timer.start()
        try:
            child.pipe.send((self.limit_s + self._orphan_grace_s, function, arguments))
            returned, value = child.pipe.recv()
        except (EOFError, OSError) as error:  # the pipe broke, maybe in the middle of a message
            raise self._post_mortem(child) from error
        except BaseException:  # interrupted, or the arguments cannot be pickled: the pipe's state is unknown
            self.close()
            raise
        finally:
            timer.cancel()
            timer.join()
        if child.late.is_set():  # the answer came first, the kill just after it; the next call needs a new child
            self.close()
        if not returned:
            raise value
        result: R = value
        return result

    def close(self) -> None:
        """End the child, if there is one."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _post_mortem(self, child: "_Child") -> DecodeError:
        late = child.late.is_set()
        self._child = None
        code = child.kill()
        if late or -code == signal.SIGALRM:
            return DecodeError(TIMEOUT, f"no result after {self.limit_s:g} s; the decoding process was killed")
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return DecodeError(DECODE_ERROR, f"the decoding process {how}")


class _Child:
    """One child process and the pipe to it."""

    def __init__(self) -> None:
        self.calls = 0
        self.late = threading.Event()
        self.pipe, theirs = multiprocessing.connection.Pipe()
        # The modules must be found as they are here, also where Ray extended sys.path; "" is the working directory.
        paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
        with theirs, tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "pipeline.data.video.guard", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": paths},
            )
            theirs.close()
            self._await_start(errors)

    @property
    def pid(self) -> int:
        return self._process.pid

    def _await_start(self, errors: IO[bytes]) -> None:
        try:
            if self.pipe.poll(_START_LIMIT_S) and self.pipe.recv() == "ready":
                return
        except EOFError:
            pass
        code = self.kill()
        errors.seek(0)
        said = errors.read()[-2000:].decode(errors="replace")
        raise RuntimeError(f"the decoding process did not start (status {code}): {said}")

    def kill_late(self) -> None:
        """End the child because its time is up; a stopped or hanging process cannot refuse SIGKILL."""
        self.late.set()
        self._process.kill()

    def kill(self) -> int:
        """End the child, wait for it, and return its exit status (negative: the signal)."""
        # A child that is dying by itself is given a moment, so that its own status is the one that is seen.
        self.pipe.close()
        try:
            return self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def serve(pipe: Connection) -> None:
    """Answer calls until the parent closes the pipe; the child's whole life."""
    import cv2

    cv2.setNumThreads(0)  # the processes are the parallelism
    pipe.send("ready")
    # Decoders print the raw bytes of bad files; nobody reads them here.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process in the kernel, even while a decoder hangs
    while True:
        try:
            suicide_s, function, arguments = pipe.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, suicide_s)
        try:
            answer = (True, function(*arguments))
        except Exception as error:
            answer = (False, error)
        signal.setitimer(signal.ITIMER_REAL, 0)
        pipe.send(answer)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
