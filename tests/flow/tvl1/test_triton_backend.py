"""The Triton kernels under Triton's interpreter, against TV-L1 in plain NumPy."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.flow.quantise import encode
from pipeline.flow.tvl1 import TvL1Config, solve
from pipeline.flow.tvl1.numpy_reference import solve_pair

pytest.importorskip("triton", reason="Triton is not installed, so its kernels cannot be checked")

F = np.float32


BACKEND = "pipeline.flow.tvl1.triton_backend"


def interpreted(cases: dict[str, tuple[str, str, tuple[Any, ...]]], folder: Path) -> dict[str, Any]:
    """The results of calls by name, all run in one process under the interpreter."""
    (folder / "cases").write_bytes(pickle.dumps(cases))
    script = Path(__file__).with_name("interpreted.py")
    subprocess.run([sys.executable, str(script), str(folder / "cases"), str(folder / "results")], check=True)
    return pickle.loads((folder / "results").read_bytes())


def moving(seed: int, pairs: int, height: int, width: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Textures of sines that move by a different displacement in every pair, about a pixel."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    frames = np.empty((2, pairs, height, width), np.uint8)
    for pair in range(pairs):
        waves = random.uniform(-0.9, 0.9, (12, 2)), random.uniform(0, 6.28, 12)
        dx, dy = random.uniform(-1.5, 1.5, 2)
        for i in range(2):
            phase = waves[0][:, 0, None, None] * (x - i * dx) + waves[0][:, 1, None, None] * (y - i * dy)
            frames[i, pair] = np.clip(128 + 16 * np.sin(phase + waves[1][:, None, None]).sum(0), 0, 255)
    return frames[0], frames[1]


SMALL = {"scales": 2, "warps": 2, "inner_iterations": 4, "outer_iterations": 4, "epsilon": 0.06}
LOOP = SMALL | {"inner_iterations": 16, "outer_iterations": 1}
CONFIGS = {
    "default rules": TvL1Config(**SMALL),
    "one loop, no median": TvL1Config.denseflow(**LOOP),
    "median 3, other parameters": TvL1Config(tau=0.2, lambda_=0.1, theta=0.25, scale_step=0.7, median=3, **SMALL),
    "fixed": TvL1Config(stop="fixed", **SMALL | {"scales": 1, "outer_iterations": 1}),
    "cuda": TvL1Config.cuda(**LOOP),
    "cuda's schedule with a median": TvL1Config(stop="opencv-cuda", **SMALL | {"scales": 1, "epsilon": 0.1}),
}
FRAMES = moving(1, 3, 25, 31)
QUICK = TvL1Config.denseflow(scales=1, warps=2, inner_iterations=5, epsilon=0.2)


IMAGE = np.random.default_rng(2).choice([-3.5, 0, 0, 1, 1e30], (19, 23)).astype(F)
IMAGE += np.random.default_rng(3).normal(size=IMAGE.shape).astype(F)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, Any]:
    """Everything that the tests below need computed, in one process."""
    cases = {name: (BACKEND, "solve", (*(f[:2] for f in FRAMES), config)) for name, config in CONFIGS.items()}
    cases["three"] = (BACKEND, "solve", (*FRAMES, QUICK))
    cases["last alone"] = (BACKEND, "solve", (*(f[2:] for f in FRAMES), QUICK))
    cases["two, then one"] = ("__main__", "in_batches", (2, *FRAMES, QUICK))
    cases["floats"] = (BACKEND, "solve", (*(f[:1].astype(F) for f in FRAMES), QUICK))
    cases["tiles"] = ("__main__", "in_tiles", (64, 3, *(f[:1] for f in FRAMES), QUICK))
    cases |= {f"median {side}": ("__main__", "filtered", (IMAGE, side)) for side in (3, 5)}
    cases["none"] = (BACKEND, "solve", (*(f[:0] for f in FRAMES), QUICK))
    video = np.stack([FRAMES[0][0], FRAMES[1][0], FRAMES[0][1]])
    cases["video"] = (BACKEND, "solve", (video[:-1], video[1:], QUICK))
    cases["video in levels"] = (BACKEND, "solve_to_uint8", (video, 0.3, QUICK))
    return interpreted(cases, tmp_path_factory.mktemp("triton"))


@pytest.mark.parametrize("name", CONFIGS)
def test_kernels_equal_the_reference_and_stop_at_its_iteration(results, name):
    config, result = CONFIGS[name], results[name]
    most = config.warps * config.max_iterations * len(config.levels(25, 31))
    for pair in range(2):
        flow_HW2, iterations = solve_pair(FRAMES[0][pair], FRAMES[1][pair], config)
        assert result.iterations_N[pair] == iterations
        assert (iterations == most) == (config.stop == "fixed")
        assert np.linalg.norm(result.flow_NHW2[pair] - flow_HW2, axis=-1).mean() < 1e-5
        assert np.abs(flow_HW2).max() > 0.2
    assert result.flow_NHW2.dtype == np.float32
    assert result.iterations_N.dtype == np.int64


@pytest.mark.parametrize("name", CONFIGS)
def test_kernels_equal_the_cpu_backend(results, name):
    """The stop rule holds both to the same iteration, though they sum the changes in different orders."""
    cpu = solve(*(f[:2] for f in FRAMES), CONFIGS[name], backend="numba")
    np.testing.assert_array_equal(results[name].iterations_N, cpu.iterations_N)
    assert np.linalg.norm(results[name].flow_NHW2 - cpu.flow_NHW2, axis=-1).mean() < 1e-4


def test_pairs_do_not_touch_each_other(results):
    """A pair has the same bits alone, in a batch that three do not fill, and in the second batch of two."""
    three, alone, parts = results["three"], results["last alone"], results["two, then one"]
    assert len(set(three.iterations_N)) > 1
    np.testing.assert_array_equal(three.flow_NHW2[2:], alone.flow_NHW2)
    np.testing.assert_array_equal(three.flow_NHW2, parts.flow_NHW2)
    np.testing.assert_array_equal(three.iterations_N, parts.iterations_N)


def test_frames_may_be_floats(results):
    np.testing.assert_array_equal(results["floats"].flow_NHW2, results["three"].flow_NHW2[:1])


def test_no_pairs_have_no_flow(results):
    assert results["none"].flow_NHW2.shape == (0, 25, 31, 2)
    assert results["none"].iterations_N.shape == (0,)


def test_tiles_change_nothing_but_the_order_of_sums(results):
    """14 tiles of three blocks a pair, the last ones reaching past the image."""
    flow_2NHW, iterations_N = results["tiles"]
    np.testing.assert_array_equal(flow_2NHW.transpose(1, 2, 3, 0), results["three"].flow_NHW2[:1])
    assert iterations_N == results["three"].iterations_N[:1]


@pytest.mark.parametrize("side", [3, 5])
def test_the_median_is_opencvs(results, side):
    u, v = results[f"median {side}"]
    np.testing.assert_array_equal(u, cv2.medianBlur(IMAGE, side))
    np.testing.assert_array_equal(v, -u)


@pytest.mark.slow
def test_a_batch_may_be_larger_than_32_bits_count(tmp_path):
    config = TvL1Config.denseflow(epsilon=0)
    case = ("__main__", "past_two_to_the_31", (config,))
    alone, last = interpreted({"fields": case}, tmp_path)["fields"]
    assert np.abs(alone[1:, 3:5] - alone[1:, 9:11]).max() > 0.1
    np.testing.assert_array_equal(alone, last)


def test_levels_are_those_of_the_host(results):
    levels = encode(results["video"].flow_NHW2, 0.3)
    assert set(np.unique(levels)) > {0, 128, 255}
    np.testing.assert_array_equal(results["video in levels"], levels)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_the_error_says_what_to_do():
    with pytest.raises(UserError, match=r"needs a CUDA device.*Received: none.*numba"):
        solve(*FRAMES, QUICK, backend="triton")


def test_without_triton_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(UserError, match="pip install torch triton"):
        solve(*FRAMES, QUICK, backend="triton")
