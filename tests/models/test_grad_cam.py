"""Grad-CAM equals its definition written with hooks and autograd, and leaves the network as it found it."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from models import ModelConfig, StreamConfig, StreamNet, build_model
from models.grad_cam import CUT, EPSILON, LAST_STAGE, clip_cam, feature_cam, grad_cam
from models.inception import LAYERS

LATE = ("Mixed_7a", "Mixed_7b", "Mixed_7c")


@pytest.fixture(scope="module")
def network(randomise):
    torch.manual_seed(0)
    config = StreamConfig(classes=5, size=139, width=0.125, dropout=0.9, partial_bn=True)
    made = randomise(StreamNet(config), torch.randn(4, 1, 4, 139, 139))
    nn.init.normal_(made.trunk.fc.weight, std=0.3)
    return made.eval()


@pytest.fixture
def net(network):
    return copy.deepcopy(network)


@pytest.fixture(name="x_NCHW")
def images():
    return torch.randn(4, 4, 139, 139, generator=torch.Generator().manual_seed(7))


LABEL_N = torch.tensor([0, 3, 4, 1])


def by_hooks(net, x_NCHW, label, layer):
    """The definition for one image: activations and gradients caught on the way through the whole network."""
    caught = {}

    def forward(module, inputs, output):
        caught["activation"] = output
        output.register_hook(lambda gradient: caught.update(gradient=gradient))

    handle = net.trunk.get_submodule(layer).register_forward_hook(forward)
    logits_BK = net(x_NCHW[None]).logits_BK
    logits_BK[0, label].backward()
    handle.remove()
    net.zero_grad()
    activation = caught["activation"][0].detach().numpy().astype(np.float64)
    gradient = caught["gradient"][0].numpy().astype(np.float64)
    result = np.zeros(activation.shape[1:])
    for channel in range(len(activation)):
        result += gradient[channel].mean() * activation[channel]
    result = np.maximum(result, 0)
    return result / (result.max() + 1e-8)


def test_equals_hooks_and_autograd_on_the_last_three_modules(net, x_NCHW):
    maps = grad_cam(net, x_NCHW, LABEL_N, LATE)
    assert list(maps) == list(LATE)
    for layer in LATE:
        expected = np.stack([by_hooks(net, x_NCHW[i : i + 1], int(LABEL_N[i]), layer) for i in range(4)])
        assert maps[layer].shape == expected.shape == (4, 3, 3)
        assert (expected > 0).any(axis=(1, 2)).sum() >= 3
        np.testing.assert_allclose(maps[layer].numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_maps_of_any_layer_are_in_0_to_1_and_reach_1_or_are_zero(layer, net, x_NCHW):
    map_Nhw = grad_cam(net, x_NCHW, LABEL_N, (layer,))[layer]
    assert map_Nhw.shape == (4, *net.trunk.features(x_NCHW, until=layer).shape[-2:])
    assert map_Nhw.dtype == torch.float32
    assert map_Nhw.min() >= 0
    peak_N = map_Nhw.amax(dim=(1, 2))
    assert ((peak_N == 0) | ((peak_N > 1 - 1e-4) & (peak_N <= 1))).all()
    assert (peak_N > 0).any()


def test_the_order_of_layers_does_not_matter(net, x_NCHW):
    maps = grad_cam(net, x_NCHW, LABEL_N, ("Mixed_7c", "Mixed_6e", "Mixed_7a"))
    assert list(maps) == ["Mixed_7c", "Mixed_6e", "Mixed_7a"]
    for layer, map_Nhw in maps.items():
        torch.testing.assert_close(map_Nhw, grad_cam(net, x_NCHW, LABEL_N, (layer,))[layer], rtol=1e-4, atol=1e-5)


def test_at_the_last_layer_it_is_the_class_activation_map(net, x_NCHW):
    """Behind Mixed_7c come only an average and a linear layer, so alpha is the class's weights over the places."""
    with torch.no_grad():
        features_NChw = net.features(x_NCHW)
        cam_Nhw = torch.einsum("nc,nchw->nhw", net.trunk.fc.weight[LABEL_N], features_NChw).relu() / 9
    expected = cam_Nhw / (cam_Nhw.amax(dim=(1, 2), keepdim=True) + EPSILON)
    torch.testing.assert_close(grad_cam(net, x_NCHW, LABEL_N)["Mixed_7c"], expected)


def test_a_map_without_a_place_for_the_class_stays_zero(net, x_NCHW):
    nn.init.constant_(net.trunk.fc.weight, -1.0)
    assert torch.equal(grad_cam(net, x_NCHW, LABEL_N)["Mixed_7c"], torch.zeros(4, 3, 3))


def test_images_of_a_batch_do_not_influence_each_other(net, x_NCHW):
    together = grad_cam(net, x_NCHW, LABEL_N, LATE)
    for i in range(4):
        alone = grad_cam(net, x_NCHW[i : i + 1], LABEL_N[i : i + 1], LATE)
        for layer in LATE:
            torch.testing.assert_close(together[layer][i], alone[layer][0], rtol=1e-4, atol=1e-5)


def test_a_training_network_is_explained_as_in_evaluation(net, x_NCHW):
    """Running statistics, no dropout (0.9 here), no buffer touched; then every module in its own mode again."""
    expected = grad_cam(net, x_NCHW, LABEL_N, LATE)
    net.train()
    modes = {name: module.training for name, module in net.named_modules()}
    assert set(modes.values()) == {True, False}, "partial batch norm mixes the modes"
    before = {name: value.clone() for name, value in net.state_dict().items()}
    maps = grad_cam(net, x_NCHW, LABEL_N, LATE)
    assert all(torch.equal(maps[layer], expected[layer]) for layer in LATE)
    assert {name: module.training for name, module in net.named_modules()} == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_modes_return_after_a_failure(net, x_NCHW):
    net.train()
    nn.init.constant_(net.trunk.fc.weight, 1.0)
    net.trunk.fc.weight.data = net.trunk.fc.weight.data[:, :-1]
    with pytest.raises(RuntimeError):
        grad_cam(net, x_NCHW, LABEL_N)
    assert net.training
    assert net.trunk.dropout.training


def test_the_score_is_the_logit_and_not_the_probability(net, x_NCHW):
    """A bias changes every probability, saturates this one, and must not change a map."""
    expected = grad_cam(net, x_NCHW, LABEL_N, LATE)
    with torch.no_grad():
        net.trunk.fc.bias += torch.tensor([200.0, -3.0, 0.5, 7.0, 0.0])
    maps = grad_cam(net, x_NCHW, LABEL_N, LATE)
    assert all(torch.equal(maps[layer], expected[layer]) for layer in LATE)


def test_no_gradient_is_left_and_none_flows_through_a_map(net, x_NCHW):
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    x_NCHW.requires_grad_()
    maps = grad_cam(net, x_NCHW, LABEL_N, ("Conv2d_1a_3x3", *LATE))
    assert all((parameter.grad == 3).all() for parameter in net.parameters())
    assert x_NCHW.grad is None
    assert not any(map_Nhw.requires_grad for map_Nhw in maps.values())


def test_nothing_in_front_of_the_layer_is_kept_for_the_backward_pass(net, x_NCHW):
    """Autograd's saved tensors: for Mixed_7c the classifier's alone, for Mixed_7b one block more."""
    kept = []

    def pack(tensor):
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        grad_cam(net, x_NCHW, LABEL_N)
        assert kept
        assert not [shape for shape in kept if len(shape) == 4]
        kept.clear()
        grad_cam(net, x_NCHW, LABEL_N, ("Mixed_7b",))
        images = [shape for shape in kept if len(shape) == 4 and shape[0] == 4]
        assert images
        assert all(shape[-2:] == (3, 3) for shape in images)


@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_any_caller_gets_the_same_maps(context, net, x_NCHW):
    expected = grad_cam(net, x_NCHW, LABEL_N, LATE)
    with context():
        maps = grad_cam(net, x_NCHW.clone(), LABEL_N.clone(), LATE)
        assert torch.is_inference_mode_enabled() is (context is torch.inference_mode)
    for layer in LATE:
        assert torch.equal(maps[layer], expected[layer])
        assert not maps[layer].is_inference(), "could not be fed to a network in training"


def test_frozen_weights_channels_last_and_autocast(net, x_NCHW):
    expected = grad_cam(net, x_NCHW, LABEL_N, LATE)
    net.requires_grad_(False)
    for layer, map_Nhw in grad_cam(net, x_NCHW, LABEL_N, LATE).items():
        assert torch.equal(map_Nhw, expected[layer])
    net.to(memory_format=torch.channels_last)
    last_NCHW = x_NCHW.to(memory_format=torch.channels_last)
    for layer, map_Nhw in grad_cam(net, last_NCHW, LABEL_N, LATE).items():
        torch.testing.assert_close(map_Nhw, expected[layer], rtol=1e-3, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        maps = grad_cam(net, last_NCHW, LABEL_N, LATE)
    assert {map_Nhw.dtype for map_Nhw in maps.values()} == {torch.float32}
    assert (maps["Mixed_7c"] - expected["Mixed_7c"]).abs().mean() < 0.05


def test_features_at_hand_give_the_same_map(net, x_NCHW):
    expected = grad_cam(net, x_NCHW, LABEL_N)["Mixed_7c"]
    for context in (torch.inference_mode, torch.no_grad):
        with context():
            features_NChw = net.features(x_NCHW)
            kept = features_NChw.clone()
            map_Nhw = feature_cam(net.train(), features_NChw, LABEL_N)
            net.eval()
        torch.testing.assert_close(map_Nhw, expected)
        assert torch.equal(features_NChw, kept)
        assert not features_NChw.requires_grad


@pytest.mark.parametrize(
    ("labels", "layers", "words"),
    [
        ([0, 1, 2, 5], LATE, ["0 to 5", "0 to 4"]),
        ([0, 1, 2, -1], LATE, ["-1 to 2"]),
        ([0, 1, 2], LATE, ["(3,)", "4 images"]),
        ([0.0, 1.0, 2.0, 3.0], LATE, ["torch.float32", "4 integers"]),
        ([0, 1, 2, 3], ("Mixed_8a",), ["Mixed_8a", "Mixed_7c"]),
        ([0, 1, 2, 3], (), ["no layer"]),
    ],
)
def test_labels_and_layers_that_do_not_exist_are_refused(labels, layers, words, net, x_NCHW):
    with pytest.raises(ValueError, match="Fix: ") as caught:
        grad_cam(net, x_NCHW, torch.tensor(labels), layers)
    assert all(word in str(caught.value) for word in words)


HOSTS = {
    "resnet3d": {"depth": 10, "width": 4},
    "swin3d": {"backbone": "swin3d", "depth": 8, "width": 4},
    "c3d": {"backbone": "c3d", "width": 2, "c3d_temporal_pool": False},
}


@pytest.fixture(params=sorted(HOSTS))
def host(request, randomise):
    """A network on clips, and the layers at which it is asked."""
    torch.manual_seed(0)
    config = ModelConfig(**HOSTS[request.param], classes=5, frames=4, dropout=0.9)
    model = randomise(build_model(config), x_clips())
    nn.init.normal_([m for m in model.perception.modules() if isinstance(m, nn.Linear)][-1].weight, std=0.3)
    return model


def x_clips():
    return torch.randn(3, 3, 4, 48, 32, generator=torch.Generator().manual_seed(7))


def clip_by_hooks(net, x_1CTHW, label, layer):
    """The definition for one clip, places summed one by one."""
    caught = {}

    def forward(module, inputs, output):
        caught["activation"] = output.detach().clone()
        output.register_hook(lambda gradient: caught.update(gradient=gradient))

    handle = net.get_submodule(layer).register_forward_hook(forward)
    net(x_1CTHW).logits_BK[0, label].backward()
    handle.remove()
    net.zero_grad()
    activation, gradient = (caught[name][0].numpy().astype(np.float64) for name in ("activation", "gradient"))
    result = np.zeros(activation.shape[1:])
    for channel in range(len(activation)):
        result += gradient[channel].mean() * activation[channel]
    result = np.maximum(result, 0)
    return result / (result.max() + 1e-8)


@pytest.mark.parametrize("layer", ["merge", LAST_STAGE])
def test_of_clips_it_equals_hooks_and_autograd_on_every_host(host, layer):
    x_BCTHW, label_B = x_clips(), torch.tensor([0, 4, 2])
    host.train()
    before = {name: value.clone() for name, value in host.state_dict().items()}
    with torch.inference_mode():
        found = clip_cam(host, x_BCTHW.clone(), label_B, layer)
    assert host.training
    assert all(parameter.grad is None for parameter in host.parameters())
    assert all(torch.equal(value, before[name]) for name, value in host.state_dict().items())
    host.eval()
    expected = np.stack([clip_by_hooks(host, x_BCTHW[b : b + 1], int(label_B[b]), layer) for b in range(3)])
    assert found.shape == expected.shape
    assert found.shape[:2] == (3, 4), "a map of every frame"
    assert (expected > 0).any()
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)
    assert torch.is_grad_enabled()


def test_a_baseline_is_asked_at_its_extractor_and_an_unknown_layer_is_refused():
    model = build_model(ModelConfig(arch="baseline", depth=10, width=4, classes=5, frames=4)).eval()
    x_BCTHW, label_B = x_clips(), torch.tensor([0, 1, 2])
    assert clip_cam(model, x_BCTHW, label_B, CUT["baseline"]).shape == (3, 4, 3, 2)
    with pytest.raises(ValueError, match=r"Received: merge\. Allowed: .*perception\.stage"):
        clip_cam(model, x_BCTHW, label_B, "merge")
    with pytest.raises(ValueError, match="labels"):
        clip_cam(model, x_BCTHW, label_B[:2])
