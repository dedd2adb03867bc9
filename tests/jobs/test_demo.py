"""The demo keeps its promises: a network that learns, a control that cannot, and files where it says they are."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_demo_learns_what_a_single_frame_cannot_tell(tmp_path):
    out = tmp_path / "demo"
    environment = os.environ | {
        "STAR_LAPTOP_HOME": str(tmp_path / "home"),
        "STAR_LAPTOP_PORT": "26479",
        "STAR_LAPTOP_DASHBOARD_PORT": "28365",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = [sys.executable, "jobs/demo.py", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]

    def top1(recipe):
        counts = json.loads((out / "evaluations" / recipe / "metrics.json").read_text())["perception"]["none"]
        assert counts["videos"] == 240
        return counts["top1"]["value"]

    assert top1("stabn_demo") >= 0.85
    assert abs(top1("oneframe_demo") - 1 / 6) <= 0.10
    strips = re.findall(r"^strip +(\S+)$", done.stdout, re.M)
    assert len(strips) == 3
    assert all((ROOT / strip).is_file() for strip in strips)
    assert re.search(r"^Temporal attention is .* 95 %", done.stdout, re.M)
