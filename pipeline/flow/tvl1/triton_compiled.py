"""What the kernels become on a GPU that need not be here: registers, spills, instructions, by Triton's own compiler.

python -m pipeline.flow.tvl1.triton_compiled [--capability 90]
"""

import argparse
import inspect
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from pipeline.flow.tvl1.triton_kernels import EVERY, FIXED, OPENCV_CUDA, iterate_kernel, settle_kernel
from pipeline.flow.tvl1.triton_median import median_kernel
from pipeline.flow.tvl1.triton_solver import Tiling, padded
from pipeline.flow.tvl1.triton_warp import warp_kernel

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
"""Nvidia's assembler and disassembler, which come with Triton."""

_TYPES = {
    **dict.fromkeys(("planes", "partial", "frame0", "frame1", "slope_x", "slope_y"), "*fp32"),
    **dict.fromkeys(("alive", "active", "parity", "done", "total"), "*i32"),
    **dict.fromkeys(("pairs", "height", "width", "step", "tiles", "limit"), "i32"),
    **dict.fromkeys(("threshold", "data_step", "theta", "dual_step"), "fp32"),
    "credit": "*fp64",
}
"""Of every argument that is not a constant."""


@dataclass(frozen=True)
class Compiled:
    """One kernel in machine code."""

    name: str
    registers: int
    """Of each thread."""

    stack: int
    """Bytes of local memory of each thread, where registers that do not fit go."""

    spills: int
    """Instructions that store to local memory or load from it."""

    shared: int
    """Bytes of shared memory of a program."""

    loads: int
    """Instructions that load from global memory."""

    instructions: int
    """All in the machine code, loops and untaken branches counted once."""


def variants(width: int = 340, tiling: Tiling | None = None) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Every kernel, with the constants of frames of this width, by a name that says which."""
    tiling = tiling or Tiling()
    size = {"P": padded(width), "BLOCK": tiling.block}
    found: dict[str, tuple[Any, dict[str, Any]]] = {}
    for stop, name in ((EVERY, "every"), (OPENCV_CUDA, "opencv-cuda"), (FIXED, "fixed")):
        constants = {**size, "BLOCKS": tiling.blocks, "TILES": 32, "STOP": stop, "FILTERED": False}
        found[f"iterate, stop {name}"] = (iterate_kernel, constants)
    found["iterate, filtered"] = (iterate_kernel, {**constants, "STOP": EVERY, "FILTERED": True})
    for cuda in (False, True):
        found[f"warp, {'opencv-cuda' if cuda else 'opencv-cpu'}"] = (warp_kernel, {**size, "CUDA": cuda})
    for side in (3, 5):
        found[f"median {side}x{side}"] = (median_kernel, {**size, "TILES": 32, "STOP": EVERY, "SIDE": side})
    found["settle"] = (settle_kernel, {"BLOCK": 256})
    return found


def compiled(name: str, kernel: Any, constants: dict[str, Any], capability: int = 90) -> Compiled:
    """Compile one kernel for a GPU of this compute capability (90: H100 and H200); none needs to be here."""
    arguments = list(inspect.signature(kernel.fn).parameters)
    signature = {argument: "constexpr" if argument in constants else _TYPES[argument] for argument in arguments}
    # What a launch finds out for itself: pointers from torch are multiples of 16 bytes.
    aligned = {(i,): [["tt.divisibility", 16]] for i, a in enumerate(arguments) if signature[a].startswith("*")}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    code = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=Tiling().options)
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder, "kernel.cubin")
        cubin.write_bytes(code.asm["cubin"])
        usage = _tool("cuobjdump", "-res-usage", str(cubin))
        assembly = _tool("nvdisasm", "-c", str(cubin))
    instructions = re.findall(r"^\s+(?:/\*\w+\*/\s+)?(?:@!?U?P\w+ )?([A-Z][A-Z0-9_.]+)\b.*;", assembly, re.M)
    used = {key: int(number) for key, number in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage)}
    return Compiled(
        name,
        registers=used["REG"],
        stack=used["STACK"] + used["LOCAL"],
        spills=sum(opcode.split(".")[0] in ("LDL", "STL") for opcode in instructions),
        shared=code.metadata.shared,
        loads=sum(opcode.startswith("LDG") for opcode in instructions),
        instructions=len(instructions),
    )


def _tool(name: str, *arguments: str) -> str:
    done = subprocess.run([str(TOOLS / name), *arguments], capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout


def main() -> None:
    """Print a line for every kernel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capability", type=int, default=90, help="compute capability, 90 for H100 and H200")
    capability = parser.parse_args().capability
    print(f"sm_{capability}, Triton {triton.__version__}, {Tiling()}")
    for name, (kernel, constants) in variants().items():
        print(compiled(name, kernel, constants, capability))


if __name__ == "__main__":
    main()
