"""A night in real processes: killed at every boundary it ends as if nobody had touched it; two at once are one."""

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.annotate.batches import BatchRow, write_batch
from pipeline.registry.registered import register_model
from pipeline.retrain.attempt import attempt
from pipeline.retrain.champions import Champions
from pipeline.retrain.errors import HeldError, LeaseLostError, OnHoldError
from pipeline.retrain.ledger import Ledger
from pipeline.retrain.night import BOUNDARIES, STEPS, UNRECORDED, keeping
from pipeline.tracking.run import TrackedRun

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # MLflow leaves connections to the interpreter's end
]
PROGRAM = Path(__file__).parent / "programs" / "nights.py"
MODEL = "star-tiny"
STORIES = {
    "promoted": [s for s in STEPS if s not in ("refused", "superseded")],
    "refused": ["refused", "finished"],
    "superseded": ["superseded", "finished"],
}
"""Steps whose boundaries are tried in each story; what the stories share is tried in the first."""
TRIED = [
    (story, step + mark)
    for story, steps in STORIES.items()
    for step in steps
    for mark in ("", UNRECORDED)
    if step + mark in BOUNDARIES
]
IDLE = 3
KILLED, UNDISTURBED = [-signal.SIGKILL, IDLE, 0], {"none": [0, IDLE, 0], "once": [0, 0, 0]}
"""How the first process and the last that was started end, then the one that looks."""
QUICK = [("promoted", step) for step in ("trained", "judged", "registered", "promoted", "finished")]
"""Tried always; the others among the slow tests, since every one is two processes."""


def test_every_boundary_is_tried():
    assert {boundary for _, boundary in TRIED} == set(BOUNDARIES)
    assert {boundary.removesuffix(UNRECORDED) for boundary in BOUNDARIES} == set(STEPS)


def row(video, frames, label, split="train"):
    """What one person said of a tiny video."""
    return BatchRow(
        video_id=video,
        dataset="folder",
        label=label,
        num_frames=frames,
        fps=12.0,
        scores=tuple(float(t >= frames // 2) for t in range(frames)),
        source=(0,) * frames,
        init="blank",
        annotators=("p1",),
        n_annotators=1,
        kappa=None,
        decision="single",
        model_version_shown="m",
        editor_version="1",
        submitted_at=1.0,
        seconds_spent=20.0,
        split=split,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_checkpoint):
    """A folder with `template`: a registry whose version 1 is champion, another version, and a sealed batch."""
    base = tmp_path_factory.mktemp("nights")
    night = base / "night"
    runs = night / "runs"
    runs.mkdir(parents=True)
    uri = f"sqlite:///{runs}/mlflow.db"
    for number in (1, 2):
        tracked = TrackedRun(uri, "star", f"base {number}", f"key {number}", str(runs / "mlflow-artifacts"))
        run_id = tracked.begin({}, {}, {})
        made = make_checkpoint(mlflow_run_id=run_id, step=number)
        shutil.copytree(made, runs / f"base-{number}")
        assert register_model(run_id, str(runs / f"base-{number}"), MODEL, tracking_uri=uri) == number
    write_batch(str(night / "batches"), [row("train-0", 12, 0), row("train-1", 9, 1, split="heldout_edit")], {})
    Champions(MODEL, uri).adopt(1)
    night.rename(base / "template")
    return base


def told(folder, tried):
    """What the program says of each story and boundary: how both processes ended, and what is left."""
    asked = [f"{story}:{boundary}" for story, boundary in tried]
    command = [sys.executable, str(PROGRAM), str(folder), *asked]
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('["')]
    assert [line[0] for line in lines] == asked, done.stdout[-3000:] + done.stderr[-3000:]
    ends = {tuple(line[0].split(":")): line[1:4] for line in lines}
    expected = {one: KILLED if one[1] in BOUNDARIES else UNDISTURBED.get(one[1], [0, 0, 0]) for one in ends}
    assert ends == expected, done.stderr[-5000:]
    return {one: json.loads(line[4]) for one, line in zip(ends, lines, strict=True)}


@pytest.fixture(scope="module")
def left(folder):
    """What undisturbed nights leave, and some that were killed."""
    return told(folder, [("superseded", "once"), *((story, "none") for story in STORIES), *QUICK])


ENDS = [("promoted", 3, "no batch is new"), ("refused", 1, "tried these batches")]


@pytest.mark.parametrize(("story", "version", "reason"), ENDS)
def test_undisturbed_it_promotes_or_refuses(left, story, version, reason):
    found = left[story, "none"]
    assert found["aliases"]["champion"] == version
    assert [row["outcome"] for row in found["rows"]] == [story]
    assert reason in found["next"]
    assert len(found["versions"]) == (3 if story == "promoted" else 2)
    use = {"promoted": "consumed", "refused": "evaluated"}[story]
    assert set(found["uses"][0].values()) == {use}
    done = {"planned", "trained", "scored", "judged", "reported", story}
    assert set(found["facts"][0]) == done | {"told"} | ({"registered", "challenged"} if story == "promoted" else set())
    assert any(file.endswith("report.html") for file in found["files"])


def test_a_champion_that_changed_meanwhile_stays_and_the_batches_are_new_again(left):
    found = left["superseded", "once"]
    assert found["aliases"]["champion"] == 2
    assert [row["outcome"] for row in found["rows"]] == ["superseded"]
    assert found["uses"] == [{}]
    assert "1 new batches for version 2" in found["next"]
    after = left["superseded", "none"]  # called again until nothing is new
    assert [row["outcome"] for row in after["rows"]] == ["superseded", "promoted"]
    assert (after["aliases"]["champion"], after["aliases"]["previous"]) == (4, 2)


@pytest.mark.parametrize(("story", "boundary"), QUICK)
def test_killed_at_a_boundary_it_ends_as_if_undisturbed(left, story, boundary):
    assert left[story, boundary] == left[story, "none"]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # some seconds a boundary
def test_killed_at_any_other_boundary_it_ends_as_if_undisturbed(left, folder):
    found = told(folder, [one for one in TRIED if one not in QUICK])
    for (story, boundary), what in found.items():
        assert what == left[story, "none"], (story, boundary)


def test_of_two_that_start_together_one_works_and_the_other_names_it(folder):
    left = told(folder, [("together", "once")])["together", "once"]
    first, second = left["first"], left["second"]
    assert first.endswith("promoted\n")
    assert "star-tiny is being retrained already" in second
    assert re.search(rf"process {left['pid']} of \S+ on \S+, since \d{{4}}-\d\d-\d\d", second)
    assert left["aliases"]["champion"] == 3


@pytest.fixture
def nights(monkeypatch):
    """The program as a module."""
    monkeypatch.syspath_prepend(PROGRAM.parent)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return importlib.import_module("nights")


@pytest.fixture
def desk(nights, folder, tmp_path):
    """A fresh copy of the template, under a name that no open database of this process has."""
    shutil.rmtree(folder / "night", ignore_errors=True)
    shutil.copytree(folder / "template", folder / "night")
    (tmp_path / "night").symlink_to(folder / "night")
    return nights.desk_of(tmp_path / "night")


def test_work_that_fails_ends_the_plan_and_the_next_call_takes_it_up(nights, desk):
    class Failing(nights.LightWork):
        def score(self, plan, trained):
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="disk is full"):
        attempt(desk, lambda: Failing(desk, "promoted"))
    (row,) = desk.ledger.rows()
    assert (row.outcome, desk.ledger.uses(row.plan.plan_key)) == ("failed", {})
    assert set(desk.look().batches.values()) == {"new"}
    trained = desk.ledger.facts(row.plan.plan_key)["trained"]
    outcome = attempt(desk, lambda: nights.LightWork(desk, "promoted"))
    assert (outcome.end, outcome.plan_key) == ("promoted", row.plan.plan_key)
    assert desk.ledger.facts(row.plan.plan_key)["trained"] == trained


def test_a_hold_stops_the_work_before_its_next_step_and_a_release_lets_it_go_on(nights, desk):
    def at(boundary):
        if boundary == "trained":
            desk.ledger.hold("Ada", "audit")

    with pytest.raises(OnHoldError, match="audit, says Ada"):
        attempt(desk, lambda: nights.LightWork(desk, "promoted"), at)
    (row,) = desk.ledger.rows()
    assert (row.outcome, row.verdict) == (None, None)
    assert attempt(desk, lambda: nights.LightWork(desk, "promoted")).startswith("on hold")
    desk.ledger.release_hold("Ada", "done")
    assert attempt(desk, lambda: nights.LightWork(desk, "promoted")).end == "promoted"


def test_a_refused_plan_is_promoted_on_a_persons_word(nights, desk):
    refused = attempt(desk, lambda: nights.LightWork(desk, "refused"))
    assert (refused.end, refused.version, refused.is_alarm) == ("refused", None, True)
    assert attempt(desk, lambda: nights.LightWork(desk, "refused")).startswith(f"plan {refused.plan_key} tried these")
    desk.ledger.override(refused.plan_key, "Ada", "seen the clips")
    # Limits may have changed since: what is decided is not judged again.
    other = replace(desk, policy=replace(desk.policy, name="other-1"))
    promoted = attempt(other, lambda: nights.LightWork(desk, "refused"))
    assert (promoted.end, promoted.version, promoted.verdict) == ("promoted", 3, refused.verdict)
    assert desk.champions.champion().number == 3


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger(str(tmp_path / "retrain.db"))
    yield opened
    opened.close()


def test_a_lease_is_kept_while_the_work_lasts(ledger):
    lease = ledger.lease("m", "one", 0.6)
    with keeping(ledger, lease) as kept:
        time.sleep(1.2)
        kept.check()
        with pytest.raises(HeldError, match="one, since"):
            ledger.lease("m", "two", 60.0)


@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.default_int_handler], ids=["background", "foreground"])
def test_a_lost_lease_interrupts_the_work_before_it_writes(ledger, before):
    found = signal.signal(signal.SIGINT, before)
    lease = ledger.lease("m", "one", 0.6)
    reached = []

    def work():
        with keeping(ledger, lease):
            ledger.release(lease)
            ledger.lease("m", "two", 60.0)
            time.sleep(60)  # as training does, which looks at no flag
            reached.append("the end")

    try:
        with pytest.raises(LeaseLostError, match="now two, token 2"):
            work()
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, found)
    assert reached == []


def test_an_error_of_the_work_stays_what_it_is(ledger):
    lease = ledger.lease("m", "one", 60.0)
    with pytest.raises(ZeroDivisionError), keeping(ledger, lease):
        raise ZeroDivisionError
