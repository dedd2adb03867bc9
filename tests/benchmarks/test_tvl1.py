"""The benchmark of TV-L1 has a pulse: every kind of work gets its line, whatever the figures."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_prints_a_line_for_every_kind_of_work(tmp_path):
    command = [sys.executable, "benchmarks/tvl1.py", "--rounds", "1", "--pairs", "1", "--sizes", "64x48"]
    command += ["--markdown", str(tmp_path / "report.md")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=True)
    rows = re.findall(r"^64x48 +(moving|still) +(default|denseflow) +([\d.]+) +([\d.]+) +([\d.]+)", done.stdout, re.M)
    assert {row[:2] for row in rows} == {(k, c) for k in ("moving", "still") for c in ("default", "denseflow")}
    assert all(float(number) > 0 for row in rows for number in row[2:])
    assert done.stdout.strip() in (tmp_path / "report.md").read_text()
