"""Cells run once, after what they need, lanes side by side; and go on after SIGKILL."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.reproduce.commands import LINK, Command
from pipeline.reproduce.launcher import Launcher
from pipeline.reproduce.running import make_databases, run_cells


def launcher(tmp_path, service=nullcontext):
    return Launcher(on="here", logs=tmp_path / "logs", service=service)


def noted(log):
    return log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize("at_once", [1, 2])
def test_each_cell_runs_once_and_after_what_it_needs(desk, cheap, tmp_path, at_once):
    log = tmp_path / "log"
    commands_of = cheap.shell(desk, log)
    ran = run_cells(desk, list(desk.cells), commands_of, launcher(tmp_path).start, at_once=at_once)
    assert sorted(ran.done) == ["net", "net-one", "other", "other-one"]
    assert ran.unfinished == ()
    lines = noted(log)
    assert sorted(lines) == sorted(f"{word} {name}" for word in ("begin", "end") for name in ran.done)
    for first, second in (("net", "net-one"), ("other", "other-one")):
        assert lines.index(f"end {first}") < lines.index(f"begin {second}")
    assert run_cells(desk, list(desk.cells), commands_of, launcher(tmp_path).start, at_once=at_once).done == ()
    assert noted(log) == lines


def test_two_lanes_run_side_by_side_and_a_lane_never_with_itself(desk, cheap, tmp_path):
    log = tmp_path / "log"
    run_cells(desk, list(desk.cells), cheap.shell(desk, log, 0.5), launcher(tmp_path).start, at_once=4)
    running, most = set(), 0
    for word, name in (line.split() for line in noted(log)):
        running = running | {name} if word == "begin" else running - {name}
        most = max(most, len(running))
        assert len({one.removesuffix("-one") for one in running}) == len(running)
    assert most == 2


def test_a_failure_holds_up_what_needs_it_and_no_others(desk, cheap, tmp_path, capfd):
    log, whole = tmp_path / "log", cheap.shell(desk, tmp_path / "log")

    def commands_of(cell):
        broken = Command(argv=("sh", "-c", "echo why it broke; exit 3"), submitted=False)
        return (broken,) if cell.name == "net" else whole(cell)

    def refused(cell):
        if cell.name == "net":
            raise UserError("why no command can be given")
        return whole(cell)

    for way in (commands_of, refused):
        ran = run_cells(desk, list(desk.cells), way, launcher(tmp_path).start, at_once=2)
        assert (ran.failed, ran.not_begun) == (("net",), ("net-one",))
    assert {line.split()[1] for line in noted(log)} == {"other", "other-one"}
    shown = capfd.readouterr().out
    assert "why no command can be given" in shown
    assert "why it broke\nexit status 3" in shown
    assert run_cells(desk, list(desk.cells), whole, launcher(tmp_path).start).done == ("net", "net-one")
    assert noted(log).count("begin other") == 1


def test_what_waits_for_people_is_told_and_not_finished(cheap, tmp_path):
    desk, told = cheap.desk_at(tmp_path / "nowhere"), []
    ran = run_cells(desk, ["net-one"], cheap.shell(desk, tmp_path / "log"), launcher(tmp_path).start, say=told.append)
    assert (ran.done, ran.unfinished) == ((), ("net-one",))
    assert told == ["   net-one: not begun; its data are not given: --data ssv2=ROOT"]


def test_commands_that_end_well_without_their_result_have_failed(desk, tmp_path, capfd):
    def commands_of(cell):
        return (Command(argv=("true",), submitted=False),)

    ran = run_cells(desk, ["net-one"], commands_of, launcher(tmp_path).start)
    assert (ran.done, ran.failed) == (("net",), ("net-one",))
    assert "net-one has ended without ok" in capfd.readouterr().out
    assert not desk.is_done(desk.cells["net-one"])


def test_killed_three_times_the_same_command_goes_on(cheap, tmp_path):
    """What was done stays done, what was cut short begins again, and nothing that was started lives on."""
    cheap.prepare(tmp_path / "given")
    log = tmp_path / "log"
    command = [sys.executable, str(cheap.program), str(tmp_path), str(log), "1.0", "2"]
    for done in (0, 2, 0):  # cells that end before it is killed
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as program:
            begun = sum(line.startswith("begin") for line in noted(log))
            deadline = time.monotonic() + 60
            while sum(line.startswith("begin") for line in noted(log)) < begun + 2 + done and program.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            os.kill(program.pid, signal.SIGKILL)
        lines = noted(log)
        time.sleep(1.5)
        assert noted(log) == lines, "a command outlived whoever started it"
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    desk = cheap.desk_at(tmp_path)
    assert all(desk.is_done(cell) for cell in desk.cells.values())
    ends = [line for line in noted(log) if line.startswith("end")]
    assert sorted(ends) == ["end net", "end net-one", "end other", "end other-one"]


def test_a_service_is_up_while_its_command_runs(desk, tmp_path):
    seen = []

    @contextmanager
    def service(*argv):
        seen.append(("up", argv[-2:]))
        yield "http://127.0.0.1:1/#invite=token"
        seen.append(("down", tuple((tmp_path / "told").read_text().split())))

    told = Command(argv=("sh", "-c", f"echo $0 > {tmp_path}/told", LINK), submitted=False, beside=("serve", "it"))
    assert launcher(tmp_path, service).start(desk.cells["net"], told)
    assert seen == [("up", ("serve", "it")), ("down", ("http://127.0.0.1:1/#invite=token",))]


def test_commands_are_typed_for_where_they_run(tmp_path):
    command = Command(argv=("jobs/x.py", "--a"))
    ways = {
        on: Launcher(on=on, logs=Path(), service=nullcontext).typed(command) for on in ("laptop", "cluster", "here")
    }
    assert ways == {
        "laptop": ("cluster/laptop.sh", "submit", "jobs/x.py", "--a"),
        "cluster": ("ray", "job", "submit", "--working-dir", ".", "--", "jobs/x.py", "--a"),
        "here": ("jobs/x.py", "--a"),
    }
    local = Command(argv=("jobs/x.py",), submitted=False)
    assert Launcher(on="laptop", logs=Path(), service=nullcontext).typed(local) == ("jobs/x.py",)


# MLflow's own mapping of its tables uses what SQLAlchemy 2.1 deprecates.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
def test_the_lanes_that_train_have_mlflows_tables_before(desk, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    make_databases(desk, ["net-one"])
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("runs/*/*")] == ["runs/a/mlflow.db"]
    made = (tmp_path / "runs/a/mlflow.db").stat()
    make_databases(desk, ["net-one"])
    assert (tmp_path / "runs/a/mlflow.db").stat() == made


def test_with_a_server_no_table_is_made(desk, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    make_databases(desk, list(desk.cells))
    assert not (tmp_path / "runs").exists()
