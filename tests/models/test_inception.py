"""Inception-V3 is torchvision's, weight for weight and bit for bit, and also other widths and inputs."""

import pytest
import torch
import torchvision

from models.config import INCEPTION_AUX_MIN_SIZE, INCEPTION_MIN_SIZE
from models.inception import AUX_LAYER, LAST, LAYERS, Inception, scaled


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def theirs():
    """torchvision's network with weights and statistics that all matter."""
    torch.manual_seed(0)
    network = torchvision.models.inception_v3(
        weights=None, transform_input=False, aux_logits=True, init_weights=False, num_classes=10
    )
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.uniform_(layer.bias, -0.3, 0.3)
            torch.nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
        elif isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    return network.eval()


@pytest.fixture(scope="module")
def ours(theirs):
    network = Inception(3, 10, aux_head=True)
    network.load_state_dict(theirs.state_dict())
    return network.eval()


def test_state_dict_has_torchvisions_names_in_its_order(theirs):
    with torch.device("meta"):
        mine = Inception(3, 10, aux_head=True).state_dict()
    assert [(name, tuple(value.shape)) for name, value in mine.items()] == [
        (name, tuple(value.shape)) for name, value in theirs.state_dict().items()
    ]


def test_equals_torchvision_with_the_same_weights(theirs, ours):
    x_NCHW = torch.randn(2, 3, 299, 299, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected_NK = theirs(x_NCHW)
        logits_NK, aux_NK = ours(x_NCHW)
    assert aux_NK is None
    assert expected_NK.std() > 0.1
    torch.testing.assert_close(logits_NK, expected_NK, rtol=0, atol=1e-5)


def test_equals_torchvision_in_training_with_its_auxiliary_head(theirs, ours):
    """Batch statistics, dropout by the same seed, both heads, and the gradient of the first convolution."""
    x_NCHW = torch.randn(2, 3, 299, 299, generator=torch.Generator().manual_seed(2))
    before = {name: value.clone() for name, value in theirs.state_dict().items()}
    results = []
    for network in (theirs, ours):
        network.train().zero_grad()
        torch.manual_seed(3)
        logits_NK, aux_NK = network(x_NCHW)
        (logits_NK[:, 0].sum() + 0.4 * aux_NK[:, 1].sum()).backward()
        results.append((logits_NK.detach(), aux_NK.detach(), network.Conv2d_1a_3x3.conv.weight.grad.clone()))
        network.zero_grad()
        network.load_state_dict(before)
        network.eval()
    for mine, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(("aux", "parameters"), [(True, 27_161_264), (False, 23_834_568)])
def test_published_parameter_counts_for_1000_classes(aux, parameters):
    with torch.device("meta"):
        assert count(Inception(3, 1000, aux_head=aux)) == parameters


PUBLISHED = {
    "Conv2d_1a_3x3": (32, 149, 111),
    "Conv2d_2b_3x3": (64, 147, 109),
    "maxpool1": (64, 73, 54),
    "Conv2d_3b_1x1": (80, 73, 54),
    "Conv2d_4a_3x3": (192, 71, 52),
    "maxpool2": (192, 35, 25),
    "Mixed_5b": (256, 35, 25),
    "Mixed_5c": (288, 35, 25),
    "Mixed_5d": (288, 35, 25),
    "Mixed_6a": (768, 17, 12),
    "Mixed_6e": (768, 17, 12),
    "Mixed_7a": (1280, 8, 5),
    "Mixed_7b": (2048, 8, 5),
    "Mixed_7c": (2048, 8, 5),
}


@pytest.mark.parametrize(("size", "column"), [(299, 1), (224, 2)])
def test_features_have_the_published_sizes(size, column):
    with torch.device("meta"):
        network = Inception(3, 10)
        x_NCHW = torch.empty(1, 3, size, size)
        for name, sizes in PUBLISHED.items():
            places = sizes[column]
            assert network.features(x_NCHW, until=name).shape == (1, sizes[0], places, places), name


def test_layers_run_in_parts_as_in_one_piece():
    torch.manual_seed(0)
    network = Inception(5, 4, width=0.125).eval()
    x_NCHW = torch.randn(2, 5, 96, 96)
    with torch.no_grad():
        whole = network.features(x_NCHW)
        part = x_NCHW
        for before, layer in zip(("", *LAYERS), LAYERS, strict=False):
            part = network.features(part, after=before, until=layer)
        assert torch.equal(part, whole)
        assert torch.equal(network.features(whole, after=LAST), whole)
        assert torch.equal(network(x_NCHW)[0], network.scores(whole))


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [(80, 1.0, 80), (32, 0.25, 8), (48, 0.25, 16), (32, 0.01, 8), (448, 0.5, 224), (80, 0.5, 40), (320, 0.125, 40)],
)
def test_scaled_channels_are_multiples_of_8(channels, width, expected):
    assert scaled(channels, width) == expected


@pytest.mark.parametrize(("width", "parameters"), [(0.5, (5.5e6, 6.3e6)), (0.25, (1.4e6, 1.7e6))])
def test_width_scales_parameters_by_its_square(width, parameters):
    with torch.device("meta"):
        network = Inception(21, 101, width=width)
    assert parameters[0] < count(network) < parameters[1]
    assert network.channels == 2048 * width


def test_the_auxiliary_head_needs_299():
    """At 224 torchvision's training crashes inside a 5x5 convolution on 3x3 places."""
    torch.manual_seed(0)
    network = Inception(3, 4, width=0.05, aux_head=True)
    network(torch.randn(2, 3, INCEPTION_AUX_MIN_SIZE, INCEPTION_AUX_MIN_SIZE))
    for size in (INCEPTION_AUX_MIN_SIZE - 1, 224):
        with pytest.raises(ValueError, match=r"\(16, 16\)|\(12, 12\)") as caught:
            network(torch.randn(2, 3, size, size))
        assert AUX_LAYER in str(caught.value)
        assert "aux_head=false" in str(caught.value)
        network.eval()(torch.randn(2, 3, size, size))
        network.train()


def test_the_smallest_image_leaves_one_place():
    with torch.device("meta"):
        network = Inception(3, 4, width=0.05).eval()
        smallest = torch.empty(1, 3, INCEPTION_MIN_SIZE, INCEPTION_MIN_SIZE)
        assert network.features(smallest).shape[-2:] == (1, 1)
        with pytest.raises(RuntimeError):
            network.features(torch.empty(1, 3, INCEPTION_MIN_SIZE - 1, INCEPTION_MIN_SIZE - 1))


def test_channels_last_gives_the_same_features_in_channels_last():
    torch.manual_seed(0)
    network = Inception(4, 4, width=0.125).eval()
    x_NCHW = torch.randn(2, 4, 96, 96)
    with torch.no_grad():
        expected = network.features(x_NCHW)
        network.to(memory_format=torch.channels_last)
        features = network.features(x_NCHW.to(memory_format=torch.channels_last), until="Mixed_7a")
        assert features.is_contiguous(memory_format=torch.channels_last)
        features = network.features(features, after="Mixed_7a")
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_new_classifiers_start_near_chance():
    torch.manual_seed(0)
    network = Inception(3, 101, width=0.5, aux_head=True)
    for linear in (network.fc, network.AuxLogits.fc):
        assert torch.equal(linear.bias, torch.zeros(101))
        assert 0.00095 < linear.weight.std() < 0.00105
