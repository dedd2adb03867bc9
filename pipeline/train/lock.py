"""One driver a run: a record in the run's folder says who drives it, and is refreshed while that driver lives.

Two drivers of one name would write each other's checkpoints. A driver that died leaves its record behind; it is taken
over at once where the process can be looked up and is gone, and elsewhere when it has not been refreshed for STALE_S.
"""

import contextlib
import fcntl
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline.core import storage
from pipeline.core.errors import UserError, problem

RECORD = "driver.json"
REFRESH_S = 20.0
"""Seconds between two refreshes of a living driver's record."""
STALE_S = 120.0
"""Seconds without a refresh after which the driver counts as dead. Machines' clocks may differ by less than this."""
SETTLE_S = 2.0
"""Seconds after which a record in an object store is read again: of two writers at the same time the later one wins."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process that drives a run, or holds a lease."""

    token: str
    """Random, of this driving alone."""
    host: str
    place: str
    """Boot and process namespace: in the same place, and only there, a process number means the same process."""
    pid: int
    process: str
    """When the process started, by the kernel's clock: numbers are used again."""
    since: str
    """UTC."""
    refreshed_s: float
    """Unix time."""

    def is_gone(self, place: str) -> bool:
        """True when the process is certainly gone: known only in its own place."""
        return self.place == place and _process(self.pid) != self.process

    def is_here(self, place: str) -> bool:
        """True when the process is certainly alive: likewise."""
        return self.place == place and not self.is_gone(place)


@contextlib.contextmanager
def driving(
    root: str, name: str, *, patience_s: float = 0.0, refresh_s: float = REFRESH_S, stale_s: float = STALE_S
) -> Iterator[Holder]:
    """Hold the run `name` below `root` for the length of the block.

    A record of another machine that was refreshed lately is watched: it changes within `refresh_s` when its driver
    lives, and the run is refused; otherwise it is taken over when it is `stale_s` old. A driver that certainly lives is
    given `patience_s` to end: one whose own parent has just been killed does.

    Raises:
        UserError: another driver has the run; names it.
    """
    uri, me = storage.join(root, name, RECORD), this_process()
    _take(uri, name, me, stale_s, patience_s)
    done = threading.Event()
    refresher = threading.Thread(target=_refresh, args=(uri, me, done, refresh_s), name="driver lock", daemon=True)
    refresher.start()
    try:
        yield me
    finally:
        done.set()
        refresher.join()
        with contextlib.suppress(OSError):  # it will be taken over
            if (found := _read(uri)) and found.token == me.token:
                storage.delete(uri)


def this_process() -> Holder:
    """Return the record of this process, now; another one every time."""
    return Holder(
        token=uuid.uuid4().hex,
        host=socket.gethostname(),
        place=_place(),
        pid=os.getpid(),
        process=_process(os.getpid()),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        refreshed_s=time.time(),
    )


def _take(uri: str, name: str, me: Holder, stale_s: float, patience_s: float) -> None:
    """Publish this driver's record, once no other driver has the run.

    Raises:
        UserError: another driver has it.
    """
    seen: Holder | None = None
    deadline_s = time.monotonic() + patience_s
    while True:
        with _alone(os.path.dirname(uri)) if storage.is_local(uri) else contextlib.nullcontext():
            holder = _read(uri)
            if holder is None or holder.is_gone(me.place) or time.time() - holder.refreshed_s >= stale_s:
                _write(uri, replace(me, refreshed_s=time.time()))
                break
        has_moved = seen is not None and (seen.token, seen.refreshed_s) != (holder.token, holder.refreshed_s)
        if (holder.is_here(me.place) or has_moved) and time.monotonic() >= deadline_s:
            raise _refusal(name, holder, stale_s)
        if seen is None:
            print(f"waiting: {_words(holder)} may still drive run {name}; taken over if it stays silent", flush=True)
        seen = holder
        time.sleep(min(1.0, stale_s / 10))
    if not storage.is_local(uri):
        time.sleep(SETTLE_S)
        winner = _read(uri)
        if winner is None or winner.token != me.token:
            raise _refusal(name, winner or me, stale_s)


def _refresh(uri: str, me: Holder, done: threading.Event, refresh_s: float) -> None:
    """Publish the record anew until the block ends, and say loudly when it is another's."""
    while not done.wait(refresh_s):
        try:
            found = _read(uri)
            if found is not None and found.token != me.token:
                print(f"WARNING {_words(found)} has taken this run over: stop this one, both write", flush=True)
                continue
            _write(uri, replace(me, refreshed_s=time.time()))
        except OSError as error:  # the storage may be back at the next refresh
            print(f"WARNING the driver's record {uri} could not be refreshed ({error})", flush=True)


def _refusal(name: str, holder: Holder, stale_s: float) -> UserError:
    return UserError(
        problem(
            f"Run {name} is being driven already",
            got=f"{_words(holder)}, last heard of {max(0.0, time.time() - holder.refreshed_s):.0f} s ago",
            allowed=f"one driver a run at a time; a dead one's place is free at once on its own machine, and after "
            f"{stale_s:.0f} s elsewhere",
            fix="wait for it or stop it, or give another --run",
        )
    )


def _words(holder: Holder) -> str:
    return f"process {holder.pid} on {holder.host}, since {holder.since}"


def _read(uri: str) -> Holder | None:
    """Return the record; None when there is none, or one that this version cannot read."""
    try:
        return Holder(**storage.read_json(uri))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _write(uri: str, holder: Holder) -> None:
    storage.write_json(uri, asdict(holder))


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Keep other drivers out between reading a local record and replacing it."""
    os.makedirs(folder, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _place() -> str:
    """Name the boot and the process namespace of this process; without Linux's files, the host alone."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _process(pid: int) -> str:
    """Return when a process started, in the kernel's ticks; "" when it is gone, "alive" where only that is known."""
    with contextlib.suppress(OSError):
        # The second field is the program's name in brackets, which may itself hold blanks and brackets.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else fields[18]  # a zombie is gone
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:  # it is another person's
        return "alive"
    return "alive"
