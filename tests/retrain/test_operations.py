"""The runbook speaks of the commands as they are."""

import re
import shlex
from pathlib import Path

import pytest

from jobs import cli, lineage, retrain, rollback

TEXT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
JOBS = {"jobs/retrain.py": retrain, "jobs/rollback.py": rollback, "jobs/lineage.py": lineage}
COMMANDS = re.findall(r"`(jobs/(?:retrain|rollback|lineage)\.py [^`]+)`", TEXT)


def test_every_exit_status_is_explained():
    told = {int(status) for status in re.findall(r"^\| (\d+) \|", TEXT, re.M)}
    ours = {retrain.REFUSED, retrain.SUPERSEDED, retrain.ON_HOLD, retrain.LEASED, retrain.FAILED}
    assert told == {0, 1, cli.WRONG_REQUEST, cli.INTERRUPTED} | ours


def test_there_are_commands_to_check():
    assert len(COMMANDS) >= 8
    assert {command.split()[0] for command in COMMANDS} == JOBS.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command):
    job, *arguments = shlex.split(command.replace(" ...", ""))
    numbers = {"N": "1", "SECONDS": "60"}
    arguments = [numbers.get(argument, argument) for argument in arguments]
    needed = ["--model=m"] if "--model" not in arguments else []
    needed += ["--ledger=l"] if job == "jobs/rollback.py" and "--ledger" not in arguments else []
    JOBS[job].parse([*arguments, *needed])


def test_the_line_for_cron_is_understood():
    (line,) = re.findall(r"^    (30 1 \* \* \* .*)$", TEXT, re.M)
    minute, hour, *_, command = line.split(maxsplit=5)
    assert (minute, hour) == ("30", "1")
    words = shlex.split(command)
    start = words.index("jobs/retrain.py") + 1
    retrain.parse(words[start : words.index(">>")])
