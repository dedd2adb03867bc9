"""The benchmark of TV-L1 on a GPU has a pulse, whatever the figures."""

import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here, and it would measure")
def test_without_a_gpu_it_prints_what_the_kernels_compile_to():
    done = subprocess.run(
        [sys.executable, "benchmarks/tvl1_gpu.py"], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "No GPU here" in done.stdout
    assert len(re.findall(r"^  \w.*\d registers, 0 spills, \d+ instructions$", done.stdout, re.M)) == 9


def test_it_checks_and_measures(tmp_path):
    """Under Triton's interpreter, where only the figures of the check mean anything."""
    (tmp_path / "cases").write_bytes(pickle.dumps({"printed": ("__main__", "benchmark", ())}))
    script = ROOT / "tests" / "flow" / "tvl1" / "interpreted.py"
    subprocess.run([sys.executable, str(script), str(tmp_path / "cases"), str(tmp_path / "results")], check=True)
    printed = pickle.loads((tmp_path / "results").read_bytes())["printed"]
    assert (
        len(re.findall(r"mean error \d\.\de-0[6789] px; iterations equal in 4 of 4; again: the same bits", printed))
        == 2
    )
    assert re.search(r"24x20 small 1024x1 +\d+ pairs/s +\d\.\d Mpx-iterations a pair.*memory.*idle", printed)
