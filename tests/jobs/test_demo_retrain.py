"""The demo of retraining keeps its promises: good batches promote, bad ones are refused, and a rollback undoes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.retrain.champions import Champions
from pipeline.retrain.ledger import Ledger

ROOT = Path(__file__).parents[2]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_good_batches_promote_bad_ones_are_refused_and_a_rollback_undoes(tmp_path):
    out = tmp_path / "demo-retrain"
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | {
        "STAR_LAPTOP_HOME": str(tmp_path / "home"),
        "STAR_LAPTOP_PORT": "26779",
        "STAR_LAPTOP_DASHBOARD_PORT": "28665",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = [sys.executable, "jobs/demo_retrain.py", "--demo", str(tmp_path / "demo"), "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]

    ledger = Ledger(str(out / "runs" / "retrain.db"))
    good, bad = ledger.rows("star-demo")
    assert (good.outcome, good.version, bad.outcome, bad.version) == ("promoted", 2, "refused", None)
    assert (good.plan.champion, bad.plan.champion) == (1, 2)
    failed = {result["gate"] for result in bad.verdict["results"] if not result["passed"]}
    assert failed & {"batch_steadiness", "batch_erased"}, failed
    assert ledger.is_rolled_back(good.plan.plan_key)
    ledger.close()

    champions = Champions("star-demo", f"sqlite:///{out}/runs/mlflow.db")
    assert [version.number for version in champions.versions()] == [1, 2]
    assert champions.champion().number == 1
    history = (out / "runs" / "history-star-demo.html").read_text()
    for word in ("promoted", "refused", "rolled back", "Ada: to show that it can be undone", *sorted(failed)):
        assert word in history
    assert "as recorded at training time" in done.stdout
    assert len(list((out / "runs" / "plans").glob("*/report.html"))) == 2
