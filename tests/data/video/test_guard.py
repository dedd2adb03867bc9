import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from pipeline.data.prepare.ingest import IngestConfig, ingest
from pipeline.data.video.decode import DecodeError
from pipeline.data.video.guard import Guard


def gone(pid):
    """True once no process has this id (zombies of other parents count as gone)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(condition, limit_s=30.0):
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "it never happened"
        time.sleep(0.02)


PATIENT_S, SHORT_S = 60.0, 0.5


@pytest.fixture(scope="module")
def shared():
    with Guard(limit_s=PATIENT_S) as guard:
        yield guard


@pytest.fixture
def guard(shared):
    """One guard for all tests, since a child takes a second to start; a test may shorten its limit for a call."""
    shared.limit_s = PATIENT_S
    return shared


def call_shortly(guard, function, *arguments):
    guard.limit_s = SHORT_S
    try:
        return guard.call(function, *arguments)
    finally:
        guard.limit_s = PATIENT_S


def test_calls_share_one_child_that_is_not_this_process(guard):
    pids = {guard.call(os.getpid) for _ in range(5)}
    assert pids == {guard.pid}
    assert pids != {os.getpid()}


def test_what_the_function_raises_comes_back(guard):
    pid = guard.call(os.getpid)
    with pytest.raises(ZeroDivisionError, match="by zero"):
        guard.call(divmod, 1, 0)
    assert guard.call(os.getpid) == pid


def test_large_answers_come_back(guard):
    assert guard.call(bytes, 20_000_000) == bytes(20_000_000)


def test_a_decoder_that_hangs_is_killed(guard, tmp_path):
    """Opening a FIFO that nobody writes to blocks in the kernel, as a decoder's deadlock does."""
    fifo = tmp_path / "video.mp4"
    os.mkfifo(fifo)
    pid = guard.call(os.getpid)
    with pytest.raises(DecodeError, match=r"^timeout: no result after 0\.5 s"):
        call_shortly(guard, ingest, str(fifo), IngestConfig())
    assert gone(pid)
    assert guard.pid is None
    assert guard.call(os.getpid) != pid


def test_a_stopped_child_is_killed(guard):
    pid = guard.call(os.getpid)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(DecodeError, match=r"^timeout"):
        call_shortly(guard, os.getpid)
    assert gone(pid)


def test_a_child_that_stops_in_the_middle_of_its_answer_is_killed(guard):
    """The first bytes of an answer must not end the watch."""
    half_an_answer = """if True:
        import os, signal, struct, sys
        os.write(int(sys.argv[1]), struct.pack("!i", 1000) + b"ten bytes.")
        signal.raise_signal(signal.SIGSTOP)
    """
    with pytest.raises(DecodeError, match=r"^timeout"):
        call_shortly(guard, exec, half_an_answer)
    assert guard.call(divmod, 7, 2) == (3, 1)


@pytest.mark.parametrize(
    ("function", "argument", "said"),
    [(signal.raise_signal, signal.SIGSEGV, "died of SIGSEGV"), (os._exit, 3, "ended with status 3")],
)
def test_a_crash_is_an_error_of_the_video(guard, function, argument, said):
    with pytest.raises(DecodeError, match=rf"^decode_error: the decoding process {said}"):
        guard.call(function, argument)
    assert guard.call(divmod, 7, 2) == (3, 1)


def test_the_child_is_replaced_after_some_calls():
    with Guard(limit_s=30, recycle_after=2) as guard:
        pids = [guard.call(os.getpid) for _ in range(4)]
        assert pids[0] == pids[1] != pids[2] == pids[3]
        assert gone(pids[0])
        last = guard.pid
    assert gone(last)


def test_what_decoders_print_is_not_seen(capfd, guard):
    guard.call(os.write, 2, b"\xff\xfe raw bytes of a bad file\n")
    guard.call(os.write, 1, b"\xff\xfe raw bytes of a bad file\n")
    assert capfd.readouterr() == ("", "")


def test_a_child_that_cannot_start_says_why(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="did not start"):
        Guard(limit_s=5).call(os.getpid)


ORPHANS = """
    import os, sys, threading, time
    from pipeline.data.video.guard import Guard
    guard = Guard(limit_s=float(sys.argv[1]), orphan_grace_s=0.5)
    guard.call(os.getpid)
    print(guard.pid, flush=True)
    if sys.argv[2] == "busy":
        guard.call(time.sleep, 1000)
    time.sleep(1000)
"""


@pytest.mark.parametrize(("state", "limit_s"), [("idle", "1000"), ("busy", "1")])
def test_no_child_outlives_a_killed_parent(state, limit_s):
    program = [sys.executable, "-c", textwrap.dedent(ORPHANS), limit_s, state]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        time.sleep(0.2)
        parent.kill()
    wait_until(lambda: gone(child))
