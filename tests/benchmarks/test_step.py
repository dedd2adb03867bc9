"""The benchmark of a step has a pulse: every variant gets its line, whatever the figures."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_prints_a_line_for_every_variant():
    command = [sys.executable, "benchmarks/step.py", "--rounds", "1", "--steps", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=True)
    rates = re.findall(r"^(st_abn|baseline) .* ms/step +([\d.]+) clips/s x", done.stdout, re.M)
    assert len(rates) >= 5
    assert all(float(rate) > 0 for _, rate in rates)
