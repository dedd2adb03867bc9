"""The demo of the annotation loop keeps its promises."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("layer", [(), ("--spatial",)], ids=["when", "when and where"])
def test_what_people_say_moves_the_attention_and_helps_the_classes_they_spoke_of(tmp_path, layer):
    out = tmp_path / "demo"
    environment = os.environ | {
        "STAR_LAPTOP_HOME": str(tmp_path / "home"),
        "STAR_LAPTOP_PORT": "26579",
        "STAR_LAPTOP_DASHBOARD_PORT": "28465",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = [sys.executable, "jobs/demo_loop.py", "--out", str(out), *layer]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    found = json.loads((out / "finetune" / "metrics.json").read_text())
    assert (out / "finetune" / "table.txt").read_text() in done.stdout
    before, after, control = (found["measured"][name] for name in ("before", "after", "control"))
    assert after["truth"]["auc"]["low"] > max(before["truth"]["auc"]["high"], control["truth"]["auc"]["high"])
    assert after["heldout_mse"]["value"] < min(before["heldout_mse"]["value"], control["heldout_mse"]["value"])
    shares = {name: found["networks"][name]["groups"] for name in ("before", "after", "control")}
    assert shares["after"]["edited"]["hits"] > shares["before"]["edited"]["hits"]
    assert done.stdout.count(" drafts saved") == 8
    for name in found["measured"]:
        assert ("where" in found["measured"][name]) == bool(layer)
    if layer:
        where = {name: one["where"] for name, one in found["measured"].items()}
        for name in ("before", "control"):
            assert where["after"]["truth"]["auc"]["low"] > where[name]["truth"]["auc"]["high"]
            assert where["after"]["heldout_mse"]["value"] < where[name]["heldout_mse"]["value"]
