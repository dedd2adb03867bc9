"""Commands that end with whoever started them."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline.core.processes import TIED, tied

PARENT = (
    "import subprocess, sys; from pipeline.core.processes import tied\n"
    "subprocess.run((*tied(), 'sh', '-c', 'echo $$; sleep 60; true'))"
)


@pytest.mark.skipif(not tied(), reason="the system has no setpriv")
def test_a_tied_command_ends_with_a_process_that_is_killed():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        child = f"/proc/{parent.stdout.readline().strip()}"
        assert os.path.exists(child)
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while os.path.exists(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_command_runs_untied_where_the_system_has_no_such_thing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tied() == ()
    (tmp_path / TIED[0]).touch(0o755)
    assert tied() == TIED
