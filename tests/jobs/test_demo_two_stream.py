"""The two-stream demo keeps its promises: what the class is made of decides which stream can tell it."""

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
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("label", ["motion", "appearance"])
def test_the_stream_that_can_tell_does_and_the_other_cannot(label, tmp_path):
    out = tmp_path / "demo"
    environment = os.environ | {
        "STAR_LAPTOP_HOME": str(tmp_path / "home"),
        "STAR_LAPTOP_PORT": "26489",
        "STAR_LAPTOP_DASHBOARD_PORT": "28375",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = [sys.executable, "jobs/demo_two_stream.py", "--label", label, "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]

    numbers = json.loads((out / "test" / "two_stream_demo" / "metrics.json").read_text())
    classes = numbers["without"]["fused"]["classes_with_videos"]
    able, unable = ("temporal", "spatial") if label == "motion" else ("spatial", "temporal")
    for variant in ("without", "with"):
        top1 = {part: numbers[variant][part]["top1"]["value"] for part in ("spatial", "temporal", "fused")}
        assert top1[able] >= 0.85
        assert abs(numbers["without"][unable]["top1"]["value"] - 1 / classes) <= 0.12
        assert f"{top1['fused'] * 100:.1f} %" in done.stdout
    assert "McNemar p" in done.stdout
    figures = re.findall(r"^figure +(\S+)$", done.stdout, re.M)
    assert len(figures) == 7
    assert all((ROOT / figure).is_file() for figure in figures)
