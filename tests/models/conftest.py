"""Networks whose every weight and statistic matters: nothing left at 0 or 1, where a bug could hide."""

import pytest
import torch
from torch import nn

NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors lose more to threads waiting for each other than they gain: five times on two busy cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def randomise():
    """Draw all scales and shifts of norms and all biases, and take running statistics from `x`.

    Statistics of the network's own activations keep them in the range of a trained network, so that no sigmoid
    saturates and no layer drowns another.
    """

    def apply(module: nn.Module, x: torch.Tensor, seed: int = 0) -> nn.Module:
        draw = torch.Generator().manual_seed(seed)

        def uniform(tensor: torch.Tensor, low: float, high: float) -> torch.Tensor:
            return torch.rand(tensor.shape, generator=draw, dtype=tensor.dtype) * (high - low) + low

        norms = [layer for layer in module.modules() if isinstance(layer, NORMS)]
        with torch.no_grad():
            for layer in module.modules():
                if isinstance(layer, (*NORMS, nn.LayerNorm)):
                    layer.weight.copy_(uniform(layer.weight, 0.5, 1.5))
                    layer.bias.copy_(uniform(layer.bias, -0.3, 0.3))
                elif isinstance(layer, nn.Linear | nn.Conv3d) and layer.bias is not None:
                    layer.bias.copy_(uniform(layer.bias, -0.3, 0.3))
            for norm in norms:
                norm.momentum = 1.0
            module.train()(x)
            for norm in norms:
                norm.momentum = 0.1
        return module

    return apply
