"""The sweep's demo: edits made from the truth, and twelve trials that survive a SIGKILL of their driver."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from jobs import demo_sweep
from jobs.cli import guarded
from jobs.demo_plan import OWN, PLAN, plan_of, plan_to_go_on
from jobs.demo_steps import MARKER
from jobs.demo_sweep import RECIPE, STEPS, base, edit, main
from pipeline.core import storage
from pipeline.finetune.edits import read_edits
from pipeline.tune.ledger import Ledger

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
ROOT = Path(__file__).parents[2]


def test_edits_are_the_truth_and_one_in_five_is_held_out(tiny_root, tmp_path):
    truth = tmp_path / "truth.parquet"
    active = {"train-0": [3 <= t < 7 for t in range(12)], "train-1": [t == 5 for t in range(9)]}
    pq.write_table(pa.table({"id": list(active), "active": list(active.values())}), truth)
    batch = edit(tiny_root, str(truth), tmp_path / "batches")
    edits = read_edits([batch])
    assert (list(edits.heldout), list(edits.train)) == (["train-0"], ["train-1"])
    for video, one in (edits.heldout | edits.train).items():
        np.testing.assert_array_equal(one.scores_V > 0, active[video])
        assert one.set_V.all()
    assert edit(tiny_root, str(truth), tmp_path / "batches") == batch


def test_the_loops_network_and_edits_are_taken_where_they_are_there(tmp_path):
    found = base(tmp_path / "out", loop_demo(tmp_path / "loop"))
    assert found == (str(tmp_path / "loop" / "runs" / RECIPE), str(tmp_path / "loop" / "batches" / "b1"))


def loop_demo(folder, batch="b1", key="k"):
    """What the loop's demo leaves, as far as this one looks at it."""
    (folder / "batches" / batch).mkdir(parents=True)
    (folder / "batches" / batch / "manifest.json").touch()
    (folder / "runs" / RECIPE).mkdir(parents=True, exist_ok=True)
    (folder / "runs" / RECIPE / "run.json").write_text(json.dumps({"key": key}))
    return folder


def test_a_demo_goes_on_as_long_as_its_plan_is_the_same(tmp_path):
    out, none, loop = tmp_path / "out", tmp_path / "none", loop_demo(tmp_path / "loop")
    own, taken = (plan_of(STEPS, folder, RECIPE) for folder in (none, loop))
    assert (own["base"], taken["base"]) == (OWN, "b1 k")
    assert plan_to_go_on(out, own) is None
    storage.write_json(str(out / PLAN), own)
    assert plan_to_go_on(out, own) == own
    assert plan_to_go_on(out, taken) == own  # what it has made itself serves on
    storage.write_json(str(out / PLAN), taken)
    assert plan_to_go_on(out, taken) == taken
    assert plan_to_go_on(out, own) is None
    (loop / "runs" / RECIPE / "run.json").write_text(json.dumps({"key": "made anew"}))
    assert plan_to_go_on(out, plan_of(STEPS, loop, RECIPE)) is None
    storage.write_json(str(out / PLAN), own)
    assert plan_to_go_on(out, plan_of([*STEPS, "--seed", 1], none, RECIPE)) is None


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """A function that runs the demo with its sweep made up; returns what lay in the folder when the sweep began."""
    out, loop, seen = tmp_path / "out", loop_demo(tmp_path / "loop"), []

    def made_up(out, trained, batch):
        seen.append({path.name for path in out.iterdir()} - {"sweep", PLAN, MARKER})
        trials = [{"state": "finished"}] * 13
        storage.write_json(str(out / "sweep" / "results.json"), {"trials": trials, "winner": 3})

    monkeypatch.setattr(demo_sweep, "sweep", made_up)

    def start(*more):
        assert guarded(main, ["--out", str(out), "--loop", str(loop), *more]) == 0
        return seen[-1]

    return out, start


def test_the_same_command_goes_on_and_anew_starts_over(demo, monkeypatch, capsys):
    out, start = demo
    assert start() == set()
    (out / "runs").mkdir()
    assert start() == {"runs"}
    assert "going on with the demo" in capsys.readouterr().out
    assert start("--anew") == set()
    (out / "runs").mkdir()
    monkeypatch.setattr(demo_sweep, "STEPS", ("train.epochs=1",))
    assert start("--keep") == {"runs"}
    assert start() == {"runs"}
    monkeypatch.setattr(demo_sweep, "STEPS", ("train.epochs=2",))
    assert start() == set()


def nested(runs):
    """What a person sees of the sweep in the demo's MLflow store: its parents, and its trials as children."""
    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    found = client.search_runs(experiments, "tags.`star.sweep` = 'demo-sweep'")
    parents = [one for one in found if "mlflow.parentRunId" not in one.data.tags]
    return parents, [one for one in found if one not in parents]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_demo_survives_the_death_of_its_driver(tmp_path):
    """SIGKILL of the demo's own process alone; the same command once more does the rest."""
    out = tmp_path / "demo"
    with tempfile.TemporaryDirectory(prefix="star-", dir="/tmp", ignore_cleanup_errors=True) as short:
        environment = os.environ | {"RAY_TMPDIR": short, "RAY_AUTH_MODE": "disabled"}
        environment |= {
            "STAR_LAPTOP_HOME": f"{short}/home",
            "STAR_LAPTOP_PORT": "26491",
            "STAR_LAPTOP_DASHBOARD_PORT": "28391",
        }
        environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
            environment.pop(name, None)
        command = [sys.executable, "jobs/demo_sweep.py", "--out", str(out), "--loop", str(tmp_path / "none")]
        demo = subprocess.Popen(command, cwd=ROOT, env=environment)
        ledger = Ledger(str(out / "runs"), "demo-sweep")
        while sum(trial.is_done for trial in ledger.trials()) < 4:
            assert demo.poll() is None
            time.sleep(1.0)
        demo.send_signal(signal.SIGKILL)
        demo.wait()
        done = {trial.number: trial for trial in ledger.trials() if trial.is_done}
        assert len(done) < 13
        touched = {
            path: path.stat().st_mtime_ns for one in done.values() for path in (out / "runs" / one.run).iterdir()
        }
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
    trials = ledger.trials()
    assert [trial.state for trial in trials] == ["finished"] * 13
    assert {number: trials[number] for number in done} == done
    assert {path: path.stat().st_mtime_ns for path in touched} == touched  # no finished run was entered again
    results = json.loads((out / "sweep" / "results.json").read_text())
    assert len(results["trials"]) == 13
    for picture in ("fields.png", "parallel.png"):
        assert (out / "sweep" / picture).read_bytes().startswith(b"\x89PNG")
    parents, children = nested(out / "runs")
    assert [one.info.run_name for one in parents] == ["demo-sweep"]
    assert {one.data.tags["mlflow.parentRunId"] for one in children} == {parents[0].info.run_id}
    # One each: a trial that the kill cut short goes on in the run that it had begun.
    assert sorted(int(one.data.tags["star.trial"]) for one in children) == list(range(13))
    assert {one.info.run_id for one in children} == {trial.mlflow_run_id for trial in trials}
    assert {one.info.status for one in (*parents, *children)} == {"FINISHED"}
