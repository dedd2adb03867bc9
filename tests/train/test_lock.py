"""One driver a run: real processes hold, die, hang and come back."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace

import pyarrow.fs as pafs
import pytest

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.train import lock
from pipeline.train.lock import RECORD, Holder, driving

HOLD = """
import sys, time
from pipeline.train.lock import driving
with driving(sys.argv[1], "r"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that drives run r."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def record(folder):
    return json.loads((folder / "r" / RECORD).read_text())


def test_a_run_that_another_process_drives_is_refused_with_its_name(tmp_path, other):
    with (
        pytest.raises(UserError, match=rf"process {other.pid} on {socket.gethostname()}, since .*give another --run"),
        driving(str(tmp_path), "r"),
    ):
        raise AssertionError("held")
    assert record(tmp_path)["pid"] == other.pid
    with driving(str(tmp_path), "another"):
        pass


def test_a_dead_driver_on_this_machine_is_replaced_at_once(tmp_path, other):
    other.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet buried
    with driving(str(tmp_path), "r", stale_s=1e9):
        assert record(tmp_path)["pid"] == os.getpid()


def test_a_process_number_that_is_used_again_is_not_the_driver(tmp_path, other):
    values = record(tmp_path)
    other.kill()
    other.wait()
    (tmp_path / "r" / RECORD).write_text(json.dumps(values | {"pid": os.getppid()}))
    with driving(str(tmp_path), "r", stale_s=1e9):
        pass


def test_the_record_goes_when_the_block_ends_however_it_ends(tmp_path):
    def fail():
        with driving(str(tmp_path), "r"):
            assert record(tmp_path)["pid"] == os.getpid()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not (tmp_path / "r" / RECORD).exists()


def test_the_record_is_refreshed_while_the_driver_lives(tmp_path):
    with driving(str(tmp_path), "r", refresh_s=0.05):
        first = record(tmp_path)
        while record(tmp_path)["refreshed_s"] == first["refreshed_s"]:
            time.sleep(0.01)
        assert record(tmp_path) == first | {"refreshed_s": record(tmp_path)["refreshed_s"]}


def elsewhere(**changes):
    """A driver on another machine."""
    holder = Holder(
        token="t", host="far", place="another boot", pid=1, process="5", since="then", refreshed_s=time.time()
    )
    return replace(holder, **changes)


def put(folder, holder):
    storage.write_json(str(folder / "r" / RECORD), asdict(holder))


def test_a_silent_driver_elsewhere_is_replaced_after_the_time(tmp_path, capsys):
    put(tmp_path, elsewhere(refreshed_s=time.time() - 100))
    with driving(str(tmp_path), "r", stale_s=99):
        pass
    assert capsys.readouterr().out == ""
    put(tmp_path, elsewhere())
    with driving(str(tmp_path), "r", stale_s=1.0):
        assert record(tmp_path)["pid"] == os.getpid()
    assert "waiting: process 1 on far, since then may still drive run r" in capsys.readouterr().out


def test_a_driver_elsewhere_that_refreshes_is_alive(tmp_path):
    put(tmp_path, elsewhere())
    living = threading.Timer(0.5, lambda: put(tmp_path, elsewhere(refreshed_s=time.time())))
    living.start()
    with pytest.raises(UserError, match="process 1 on far"), driving(str(tmp_path), "r", stale_s=60):
        raise AssertionError("held")
    living.join()
    assert record(tmp_path)["token"] == "t"


def test_of_many_drivers_at_the_same_time_one_begins(tmp_path):
    held, refused, together = [], [], threading.Barrier(6)

    def begin():
        together.wait()
        try:
            with driving(str(tmp_path), "r"):
                held.append(1)
                together.wait()
        except UserError:
            refused.append(1)
            together.wait()

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 5)


def test_a_driver_whose_run_was_taken_says_so_and_leaves_the_others_record(tmp_path, capsys):
    with driving(str(tmp_path), "r", refresh_s=0.05):
        put(tmp_path, elsewhere())
        shown = ""
        while "has taken this run over" not in shown:
            shown += capsys.readouterr().out
            time.sleep(0.01)
    assert record(tmp_path)["token"] == "t"


def test_in_an_object_store_the_later_writer_wins(monkeypatch):
    store = pafs._MockFileSystem()
    monkeypatch.setattr(storage, "_connect", lambda scheme, authority, query: (store, f"{authority}/"))
    monkeypatch.setattr(lock, "SETTLE_S", 0.3)
    uri = storage.join("s3://b/runs", "r", RECORD)
    with driving("s3://b/runs", "r"):
        assert storage.read_json(uri)["pid"] == os.getpid()
    assert not storage.exists(uri)
    late = threading.Timer(0.1, lambda: storage.write_json(uri, asdict(elsewhere())))
    late.start()
    with pytest.raises(UserError, match="process 1 on far"), driving("s3://b/runs", "r"):
        raise AssertionError("held")
    late.join()
    assert storage.read_json(uri)["token"] == "t"


def test_a_record_that_cannot_be_read_holds_nothing(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / RECORD).write_text("{half")
    with driving(str(tmp_path), "r"):
        assert record(tmp_path)["pid"] == os.getpid()


def test_a_driver_that_is_about_to_end_is_waited_for(tmp_path, other):
    threading.Timer(1.5, other.kill).start()
    with driving(str(tmp_path), "r", patience_s=60.0):
        assert record(tmp_path)["pid"] == os.getpid()
