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

from jobs.demo_sweep import RECIPE, base, edit
from pipeline.finetune.edits import read_edits
from pipeline.tune.ledger import Ledger

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
    (tmp_path / "loop" / "batches" / "b1").mkdir(parents=True)
    (tmp_path / "loop" / "batches" / "b1" / "manifest.json").touch()
    found = base(tmp_path / "out", tmp_path / "loop")
    assert found == (str(tmp_path / "loop" / "runs" / RECIPE), str(tmp_path / "loop" / "batches" / "b1"))


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_demo_survives_the_death_of_its_driver(tmp_path):
    out = tmp_path / "demo"
    with tempfile.TemporaryDirectory(prefix="star-", dir="/tmp", ignore_cleanup_errors=True) as short:
        environment = os.environ | {"RAY_TMPDIR": short, "RAY_AUTH_MODE": "disabled"}
        environment |= {
            "STAR_LAPTOP_HOME": str(tmp_path / "home"),
            "STAR_LAPTOP_PORT": "26491",
            "STAR_LAPTOP_DASHBOARD_PORT": "28391",
        }
        environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
            environment.pop(name, None)
        command = [sys.executable, "jobs/demo_sweep.py", "--out", str(out), "--loop", str(tmp_path / "none")]
        demo = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
        ledger = Ledger(str(out / "runs"), "demo-sweep")
        while sum(trial.is_done for trial in ledger.trials()) < 4:
            assert demo.poll() is None
            time.sleep(1.0)
        os.killpg(demo.pid, signal.SIGKILL)
        demo.wait()
        done = {trial.number: trial for trial in ledger.trials() if trial.is_done}
        subprocess.run([*command, "--keep"], cwd=ROOT, env=environment, check=True)
    trials = ledger.trials()
    assert [trial.state for trial in trials] == ["finished"] * 13
    assert {number: trials[number] for number in done} == done
    results = json.loads((out / "sweep" / "results.json").read_text())
    assert len(results["trials"]) == 13
    for picture in ("fields.png", "parallel.png"):
        assert (out / "sweep" / picture).read_bytes().startswith(b"\x89PNG")
