"""Runs functions of the Triton backend under Triton's interpreter: python interpreted.py CASES RESULTS.

A process of its own, because Triton decides when it is first imported whether kernels are interpreted. Both files are
pickles: of {name: (module, function, arguments)}, and of {name: result}.
"""

import argparse
import contextlib
import importlib.util
import io
import os
import pickle
import sys
from pathlib import Path
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"


def in_tiles(block: int, blocks: int, frames0: Any, frames1: Any, config: Any) -> tuple[Any, Any]:
    """Flow (2, N, H, W) and iterations (N) with the pixels dealt to programs like this."""
    import torch

    from pipeline.flow.tvl1.triton_solver import Solver, Tiling

    solver = Solver(len(frames0), frames0.shape[1:], config, torch.device("cpu"), Tiling(block, blocks))
    return tuple(t.numpy() for t in solver.solve(torch.from_numpy(frames0), torch.from_numpy(frames1)))


def in_batches(pairs: int, *arguments: Any) -> Any:
    """The backend's `solve` with at most so many pairs at a time."""
    from pipeline.flow.tvl1 import triton_backend

    before, triton_backend.BATCH = triton_backend.BATCH, pairs
    try:
        return triton_backend.solve(*arguments)
    finally:
        triton_backend.BATCH = before


def filtered(image: Any, side: int) -> Any:
    """An image through the median kernel, as the u and, negated, as the v of the last of two pairs."""
    import torch

    from pipeline.flow.tvl1 import TvL1Config
    from pipeline.flow.tvl1.triton_kernels import CONSTANTS, MEDIAN
    from pipeline.flow.tvl1.triton_solver import Solver, Tiling

    config = TvL1Config(scales=1, median=side)
    solver = Solver(2, image.shape, config, torch.device("cpu"), Tiling(256, 1))
    solver.control.start(2)
    level, width = solver.levels[0], image.shape[1]
    level.field.zero_()
    level.field[1, 1:, CONSTANTS, :width] = torch.from_numpy(image)
    level.field[1, 1:, CONSTANTS + 1, :width] = -torch.from_numpy(image)
    level.median(0)
    return level.field[1, 1:, MEDIAN : MEDIAN + 2, :width].permute(1, 0, 2).numpy()


def past_two_to_the_31(config: Any) -> Any:
    """Two fields after two iterations, alike but for their place: the only of its batch, and behind 2^31 numbers.

    The large batch takes no memory, as only its last pair is ever touched.
    """
    import torch

    from pipeline.flow.tvl1.triton_kernels import PLANES
    from pipeline.flow.tvl1.triton_solver import Control, Level, Tiling, field_size

    size = (1200, 1800)
    fields = []
    for pairs in (1, 2 + 2**31 // field_size(*size)):
        control = Control.empty(pairs, torch.device("cpu"))
        control.active[-1] = 1
        memory = torch.zeros(pairs * field_size(*size))
        level = Level(size, config, control, memory, Tiling(1 << 18, 1))
        level.field[-1, 1:, :, : size[1]] = torch.rand(size[0], PLANES, size[1], generator=torch.manual_seed(0))
        for step in range(2):
            level.iterate(step, filtered=False)
        fields.append(level.field[-1].numpy())
    return fields


def benchmark() -> str:
    """What the GPU benchmark prints of a small check and a small measurement."""
    path = Path(__file__).parents[3] / "benchmarks" / "tvl1_gpu.py"
    spec = importlib.util.spec_from_file_location("tvl1_gpu", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    small = {"scales": 2, "warps": 1, "inner_iterations": 2, "outer_iterations": 1}
    module.PRESETS = {"small": module.TvL1Config(**small)}
    module.FIXED = {"fixed": module.TvL1Config(stop="fixed", **small)}
    module.TILINGS = (module.Tiling(1024, 1),)
    device, arguments = (
        module.torch.device("cpu"),
        argparse.Namespace(batch=2, pixels=1.0, rounds=1, core=False, presets=["small"], tilings=False),
    )
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        module.check(device, (20, 24))
        module.measure((20, 24), arguments, device, copy=1e9, peak=1e9)
    return printed.getvalue()


def main() -> None:
    """Run every case."""
    results = {}
    for name, (module, function, arguments) in pickle.loads(Path(sys.argv[1]).read_bytes()).items():
        t = __import__("time").process_time()
        results[name] = getattr(importlib.import_module(module), function)(*arguments)
        print(name, __import__("time").process_time() - t, file=sys.stderr)
    Path(sys.argv[2]).write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main()
