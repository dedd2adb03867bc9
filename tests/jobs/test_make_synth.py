"""The job makes a data set, says what it is, does nothing twice, and explains refusals without a traceback."""

import subprocess
import sys
from pathlib import Path

from pipeline.data.listing.sources import load_listing

JOB = Path(__file__).parents[2] / "jobs" / "make_synth.py"


def run(*arguments):
    return subprocess.run([sys.executable, JOB, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def test_make_say_repeat_refuse(tmp_path):
    dials = ["--size", "tiny", "--set", "train=8", "validation=4", "test=1", "classes=4", "frames=[8,10]"]
    first = run(tmp_path / "s", *dials)
    assert first.returncode == 0, first.stderr
    assert "13 videos, 4 classes (train 8, validation 4, test 1)" in first.stdout
    assert len(load_listing("ssv2", str(tmp_path / "s")).records) == 13
    again = run(tmp_path / "s", *dials, "--workers", 1)
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    other = run(tmp_path / "s", *dials, "--seed", 1)
    assert other.returncode == 2
    assert other.stderr.startswith("error: The folder for the synthetic data set holds something else.")
    unknown = run(tmp_path / "t", "--set", "cluter=3")
    assert unknown.returncode == 2
    assert "did you mean clutter?" in unknown.stderr
