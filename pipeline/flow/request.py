"""What a person asks of an extraction, checked: settings of the flow, and who computes it."""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from pipeline.core.config import override
from pipeline.core.errors import UserError, problem
from pipeline.flow.config import FlowCodec, FlowConfig
from pipeline.flow.on_ray import GPU_BATCH, Workers
from pipeline.flow.solver import Solver
from pipeline.flow.tvl1 import Backend, TvL1Config, solve

PRESETS: dict[str, Callable[[], TvL1Config]] = {
    "opencv-cpu": TvL1Config,
    "denseflow": TvL1Config.denseflow,
    "cuda": TvL1Config.cuda,
}
"""TV-L1 as OpenCV's CPU code, the same in one long loop without median, and as OpenCV's CUDA code (TSN's)."""


def config_of(preset: str, changes: Sequence[str], *, bound: float, size: str, codec: str) -> FlowConfig:
    """Return the settings of computed flow.

    Args:
        preset: key of PRESETS.
        changes: `key=value` assignments to fields of TvL1Config.
        bound: pixels that level 255 stands for.
        size: WIDTHxHEIGHT of grey frames, or empty for that of the frames.
        codec: jpeg or png.

    Raises:
        UserError: an unknown key or an impossible value.
    """
    tvl1 = override(PRESETS[preset](), changes)
    stored = FlowCodec(format="png" if codec == "png" else "jpeg")
    return FlowConfig(tvl1=tvl1, bound=bound, size=_size(size), codec=stored)


def imported_config(bound: float) -> FlowConfig:
    """Return the settings of imported flow, of which only the bound can be told."""
    return FlowConfig(tvl1=None, bound=bound, codec=FlowCodec(format="found"))


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        fix = "write width, x, height"
        raise UserError(problem("--size cannot be read", got=text, allowed="such as 340x256", fix=fix))
    return int(width), int(height)


def workers_of(
    config: FlowConfig, *, backend: str, cpus: float, gpus: int, gpu_cpus: float, mix: bool
) -> tuple[Workers, tuple[str, ...]]:
    """Return who extracts, and the backends they use.

    Args:
        config: of the flow; imported flow needs no backend.
        backend: numba, opencv, triton, or empty for triton where there are GPUs and numba where not.
        cpus: logical CPUs of a CPU task.
        gpus: GPU actors.
        gpu_cpus: logical CPUs of a GPU actor.
        mix: CPU tasks may work beside GPU actors.

    Raises:
        UserError: GPUs without a backend that uses them, or the reverse; settings that the backend cannot compute.
    """
    if config.tvl1 is None:
        return Workers(cpus=cpus), ("imported",)
    chosen = backend or ("triton" if gpus and not mix else "numba")
    wrong = (chosen == "triton" and not gpus, chosen != "triton" and gpus and not mix, gpus < 0)
    if any(wrong):
        raise UserError(
            problem(
                "Backend and GPUs do not go together",
                got=f"--backend {chosen}, --gpus {gpus}",
                allowed="triton with --gpus 1 or more; numba or opencv without, or with --gpus and --mix-backends",
                fix="add --gpus or --mix-backends, or choose another --backend",
            )
        )
    if chosen == "opencv":  # which cannot do everything, and says so before any work does
        nothing_NHW = np.zeros((0, 16, 16), np.uint8)
        solve(nothing_NHW, nothing_NHW, config.tvl1, backend="opencv")
    gpu = Solver("triton", max(1, int(gpu_cpus)), GPU_BATCH) if gpus else None
    cpu = None if chosen == "triton" else Solver(cast(Backend, chosen), max(1, int(cpus)))
    workers = Workers(cpu=cpu, cpus=cpus if cpu else 0.0, gpu=gpu, gpus=gpus, gpu_cpus=gpu_cpus)
    return workers, tuple(sorted(solver.backend for solver in (cpu, gpu) if solver))
