"""The runbook speaks of the commands as they are."""

import re
import shlex
from pathlib import Path

import pytest

from jobs import cli, lineage, retrain, rollback
from pipeline.retrain.evidence import Attention, BatchHealth, Evidence, Integrity, Scored
from pipeline.retrain.gates import judge
from pipeline.retrain.policy import read_policy

TEXT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
JOBS = {"jobs/retrain.py": retrain, "jobs/rollback.py": rollback, "jobs/lineage.py": lineage}
KINDS = ("harm", "benefit")
COMMANDS = re.findall(r"`(jobs/(?:retrain|rollback|lineage)\.py [^`]+)`", TEXT)


def test_every_exit_status_is_explained():
    told = {int(status) for status in re.findall(r"^\| (\d+) \|", TEXT, re.M)}
    ours = {retrain.REFUSED, retrain.SUPERSEDED, retrain.ON_HOLD, retrain.LEASED, retrain.FAILED}
    assert told == {0, 1, cli.WRONG_REQUEST, cli.INTERRUPTED} | ours


def test_every_gate_is_explained_and_no_other():
    """Whatever the evidence, all gates answer: those with nothing to judge say so."""
    evidence = Evidence(
        scored=Scored(ids=("v",), classes=("c",), label_N=(0,), champion_N=(True,), candidate_N=(True,)),
        edited=(),
        attention=Attention(
            heldout_videos=0, heldout_before=None, heldout_after=None, inversion_before=0.0, inversion_after=0.0,
            spread_before=0.1, spread_after=0.1,
        ),
        health=BatchHealth(clips=0, kappa=None, doubled=0, flagged=0.0, levels=(1.0, 0.0, 0.0), unset=0.0, by_class={}),
        integrity=Integrity(
            finite=True, extractor_identical=True, parameters_before=1, parameters_after=1,
            latency_before_ms=1.0, latency_after_ms=1.0,
        ),
    )  # fmt: skip
    asked = {kind: {r.gate for r in judge(evidence, read_policy()).results if r.kind == kind} for kind in KINDS}
    (benefit,) = re.findall(r"^- Two gates ask for a \*benefit\*:(.*?)\n(?! )", TEXT, re.M | re.S)
    told = {"harm": set(re.findall(r"^\| `(\w+)` \|", TEXT, re.M)), "benefit": set(re.findall(r"`(\w+)`", benefit))}
    assert told == asked


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
