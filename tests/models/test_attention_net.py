"""The attention net is two convolutions, and learns a map from features."""

import numpy as np
import pytest
import torch
from torch import nn

from models import AttentionNet


def test_equals_numpy():
    """3x3, batch norm by running statistics, ReLU, 3x3, sigmoid; one kernel tap at a time."""
    torch.manual_seed(0)
    net = AttentionNet(6, 4).eval()
    for tensor, low, high in (
        (net.bn.weight, 0.5, 1.5),
        (net.bn.bias, -0.5, 0.5),
        (net.bn.running_mean, -0.5, 0.5),
        (net.bn.running_var, 0.5, 1.5),
        (net.conv2.weight, -1, 1),
        (net.conv2.bias, -1, 1),
    ):
        nn.init.uniform_(tensor, low, high)
    x = torch.randn(2, 6, 8, 8)
    state = {name: value.double().numpy() for name, value in net.state_dict().items()}

    def conv(x_NChw, kernel):
        padded = np.pad(x_NChw, ((0, 0), (0, 0), (1, 1), (1, 1)))
        taps = [
            np.einsum("oc,ncyx->noyx", kernel[:, :, i, j], padded[:, :, i : i + 8, j : j + 8])
            for i in range(3)
            for j in range(3)
        ]
        return sum(taps)

    def channels(name):
        return state[name][None, :, None, None]

    y = conv(x.double().numpy(), state["conv1.weight"]) - channels("bn.running_mean")
    y = y / np.sqrt(channels("bn.running_var") + 1e-5) * channels("bn.weight") + channels("bn.bias")
    expected = conv(np.maximum(y, 0), state["conv2.weight"])[:, 0] + state["conv2.bias"]
    with torch.no_grad():
        np.testing.assert_allclose(net.logits(x).numpy(), expected, atol=1e-5)
        np.testing.assert_allclose(net(x).numpy(), 1 / (1 + np.exp(-expected)), atol=1e-6)


@pytest.mark.parametrize(("kernel", "second"), [(3, 512 * 9 + 1), (1, 512 + 1)])
def test_parameters_of_the_published_features(kernel, second):
    with torch.device("meta"):
        net = AttentionNet(kernel=kernel)
        assert net(torch.empty(2, 2048, 8, 8)).shape == (2, 8, 8)
    assert sum(p.numel() for p in net.parameters()) == 2048 * 512 * 9 + 2 * 512 + second


def test_maps_keep_float32_under_autocast_and_a_gradient_far_out():
    """bf16 rounds a sigmoid to 1 from about 6.3 on."""
    torch.manual_seed(0)
    net = AttentionNet(8, 8).eval()
    nn.init.constant_(net.conv2.bias, 9.0)
    with torch.autocast("cpu", torch.bfloat16):
        map_Nhw = net(torch.randn(2, 8, 4, 4))
    assert map_Nhw.dtype == torch.float32
    assert (map_Nhw < 1).all()
    map_Nhw.sum().backward()
    assert net.conv2.bias.grad.abs() > 0


def test_learns_the_maps_of_its_features():
    """Targets are a function of the features; the loss is the one of training, binary cross-entropy on soft targets."""
    torch.manual_seed(0)
    features_NChw = torch.randn(16, 8, 4, 4).relu()
    target_Nhw = torch.sigmoid(3 * features_NChw[:, 0] - 3 * features_NChw[:, 1])
    net = AttentionNet(8, 16)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    loss = nn.BCEWithLogitsLoss()

    def error():
        with torch.no_grad():
            return float(nn.functional.mse_loss(net(features_NChw), target_Nhw))

    first = error()
    for _ in range(150):
        optimiser.zero_grad()
        loss(net.logits(features_NChw), target_Nhw).backward()
        optimiser.step()
    net.eval()
    assert error() < first / 100


def test_features_of_another_stream_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 6, 8, 8\)\. Allowed: N,8,h,w\. Fix: .*feature_channels"):
        AttentionNet(8, 4)(torch.zeros(2, 6, 8, 8))
