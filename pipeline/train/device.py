"""Where the numbers are computed: device, precision, memory format, determinism, and the seed of every step."""

import contextlib
from typing import Literal

import numpy as np
import torch

Precision = Literal["fp32", "bf16"]

MEAN_RGB = (123.675, 116.28, 103.53)
"""ImageNet mean of the RGB channels on the 0..255 scale; the pretrained weights expect it."""
STD_RGB = (58.395, 57.12, 57.375)


def configure_torch(threads: int, *, gpu: bool) -> torch.device:
    """Set this process's torch up for training and return its device.

    On CPU, kernels are deterministic, so a resumed run repeats an undisturbed one bit for bit. On a GPU the fastest
    kernels are chosen instead; three-dimensional convolutions have no deterministic backward of the same speed.
    """
    if gpu:
        torch.backends.cudnn.benchmark = True
        return torch.device("cuda", torch.cuda.current_device())
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    return torch.device("cpu")


def to_model_input(
    x_BTHWC: torch.Tensor, device: torch.device, precision: Precision, channels_last: bool
) -> torch.Tensor:
    """Move a batch of RGB frames to the device and normalise it there.

    uint8 crosses the bus, a quarter of float32's bytes. The batch may alias Ray's object store and is never written.

    Args:
        x_BTHWC: uint8 RGB frames.
        device: where the network is.
        precision: bf16 halves the activations of the first layer; autocast would cast there anyway.
        channels_last: keep the bytes in B,T,H,W,C order, which is torch's channels_last_3d.

    Returns:
        x_BCTHW: float32 or bfloat16, zero mean and unit variance over ImageNet.
    """
    x_BCTHW = x_BTHWC.to(device, non_blocking=True).permute(0, 4, 1, 2, 3)
    if not channels_last:
        x_BCTHW = x_BCTHW.contiguous()
    mean_C111 = torch.tensor(MEAN_RGB, device=device).view(3, 1, 1, 1)
    std_C111 = torch.tensor(STD_RGB, device=device).view(3, 1, 1, 1)
    x_BCTHW = (x_BCTHW.float() - mean_C111) / std_C111
    return x_BCTHW.bfloat16() if precision == "bf16" else x_BCTHW


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[None]:
    """Return the context of a forward pass: bfloat16 autocast, or nothing for fp32."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch (dropout) for one step from (seed, step, rank).

    Nothing random carries over from step to step, so a resumed run needs no generator state, and ranks differ.
    """
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1)))
