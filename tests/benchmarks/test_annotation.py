"""The benchmark of the annotation service has a pulse: both loads get their line, whatever the figures."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_prints_a_line_for_both_loads():
    command = [sys.executable, "benchmarks/annotation.py", "--people", "3", "--rate", "6", "--seconds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=True)
    lines = re.findall(r"^(paced|saturated) +(\d+) saves .* p99 +([\d.]+) ", done.stdout, re.M)
    assert [name for name, *_ in lines] == ["paced", "saturated"]
    assert all(int(count) > 0 for _, count, _ in lines)
