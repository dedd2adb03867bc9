"""The benchmark of the feed has a pulse: the lines and ratios are there, whatever the figures."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.ray
@pytest.mark.slow
def test_it_prints_rates_ratios_and_shares(tmp_path):
    report = tmp_path / "report.md"
    command = [sys.executable, "benchmarks/feed.py", "--rounds", "1", "--seconds", "1", "--videos", "12"]
    command += ["--markdown", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for name in ("originals", "shards", "feed"):
        assert re.search(rf"^  {name}\b.*\d clips/s", done.stdout, re.M), done.stdout
    for share in ("decode", "transform", "copy", "framework"):
        assert share in done.stdout
    assert report.stat().st_size > 0
