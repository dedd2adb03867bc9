"""The kernels become machine code for a GPU that is not here, and keep what they work on in registers."""

import pytest

pytest.importorskip("triton", reason="Triton is not installed, so its kernels cannot be compiled")

from pipeline.flow.tvl1 import triton_kernels, triton_median, triton_warp
from pipeline.flow.tvl1.triton_compiled import compiled, variants

MOST = {"iterate": 40, "warp": 96, "median": 64, "settle": 32}
"""Registers of a thread: at most 64 leave a multiprocessor half its threads, at most 32 all of them."""


@pytest.mark.parametrize("name", variants())
def test_kernels_compile_for_hopper_and_spill_nothing(name):
    kernel, constants = variants()[name]
    made = compiled(name, kernel, constants, capability=90)
    print(made)
    assert made.stack == 0
    assert made.spills == 0
    assert 0 < made.registers <= MOST[name.split(",")[0].split()[0]]
    # Every quantity that a thread needs is loaded once: neighbours at fixed distances, none reloaded.
    assert made.loads <= 56


def test_every_kernel_is_among_them():
    modules = (triton_kernels, triton_median, triton_warp)
    defined = {id(vars(m)[name]) for m in modules for name in vars(m) if name.endswith("_kernel")}
    assert {id(kernel) for kernel, _ in variants().values()} == defined
    assert len(defined) == 4
