"""The comparison of flow from stored and from original frames has a pulse, and its figures mean what they say."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from pipeline.data.synth.encode import write_video

ROOT = Path(__file__).parents[2]


def test_it_prints_a_line_for_every_clip(tmp_path):
    texture_HWC = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (60, 100, 3)), (0, 0), 2)
    texture_HWC = (128 + 5 * (texture_HWC - 128)).clip(0, 255).astype(np.uint8)
    moving = [np.ascontiguousarray(texture_HWC[6:54, 2 * t : 2 * t + 64]) for t in range(6)]
    write_video(tmp_path / "moving.mp4", moving, fps=12)
    write_video(tmp_path / "still.mp4", moving[:1] * 6, fps=12)
    command = [sys.executable, "benchmarks/flow_frames.py", tmp_path / "moving.mp4", tmp_path / "still.mp4"]
    command += ["--pairs", "2", "--markdown", tmp_path / "table.md"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=True)
    rows = re.findall(r"^\| (\w+)\.mp4 \| 64 x 48 \| ([\d.]+) \| ([\d.]+) / .* \| ([\d.]+)% / ", done.stdout, re.M)
    moved, still = [[float(value) for value in row[1:]] for row in rows]
    assert 1.5 < moved[0] < 2.5
    assert still[0] < 0.1
    assert moved[1] < 0.2
    assert (tmp_path / "table.md").read_text() == done.stdout
