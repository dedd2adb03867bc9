"""A stream normalises its pixels, appends a map, and averages the logits of a video's segments."""

import json

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from models import StreamConfig, StreamNet
from models.attention_maps import START_ATTENTION
from models.stream import to_input
from pipeline.core.config import from_dict, to_dict

SMALL = {"classes": 5, "size": 75, "width": 0.05, "flow_stack": 2}


def network(**fields) -> StreamNet:
    torch.manual_seed(0)
    return StreamNet(StreamConfig(**SMALL | fields))


def pixels(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def images(config, videos, segments, seed=0):
    x_BGHWC = pixels(videos, segments, config.size, config.size, config.image_channels, seed=seed)
    return to_input(x_BGHWC, START_ATTENTION if config.attention_channel else None, config)


@pytest.mark.parametrize(
    ("fields", "channels"),
    [
        ({}, 4),
        ({"attention_channel": False}, 3),
        ({"stream": "temporal"}, 21),
        ({"stream": "temporal", "attention_channel": False}, 20),
        ({"stream": "temporal", "flow_stack": 5}, 11),
    ],
    ids=str,
)
def test_input_channels_are_the_pixels_and_the_map(fields, channels):
    config = StreamConfig(**fields)
    assert config.in_channels == channels
    with torch.device("meta"):
        assert StreamNet(config).trunk.Conv2d_1a_3x3.conv.weight.shape == (32, channels, 3, 3)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"stream": "flow"}, ["stream=flow", "temporal"]),
        ({"attention_init": "ones"}, ["attention_init=ones", "zero"]),
        ({"classes": 1}, ["classes=1"]),
        ({"flow_stack": 0}, ["flow_stack=0"]),
        ({"segments": 0}, ["segments=0"]),
        ({"width": 0.0}, ["width=0.0"]),
        ({"dropout": 1.0}, ["dropout=1.0"]),
        ({"size": 74}, ["size=74", "75"]),
        ({"size": 224, "aux_head": True}, ["size=224", "299", "aux_head=false"]),
    ],
    ids=str,
)
def test_impossible_streams_are_refused_with_a_remedy(fields, words):
    with pytest.raises(ValueError, match="Fix: ") as caught:
        StreamConfig(**fields)
    assert all(word in str(caught.value) for word in words)


def test_the_attention_channel_is_the_only_difference_from_a_baseline():
    with torch.device("meta"):
        ours, baseline = (StreamNet(StreamConfig(attention_channel=on)).state_dict() for on in (True, False))
    assert ours.keys() == baseline.keys()
    assert {name for name in ours if ours[name].shape != baseline[name].shape} == {"trunk.Conv2d_1a_3x3.conv.weight"}


@pytest.mark.parametrize(("stream", "parameters"), [("spatial", 21_992_805), ("temporal", 21_997_701)])
def test_parameters_of_the_streams_for_ucf101(stream, parameters):
    """Inception-V3's 23,834,568 with 101 instead of 1000 classes and 1 or 18 channels more."""
    config = StreamConfig(stream=stream)
    assert parameters == 23_834_568 - 899 * (2048 + 1) + 32 * 3 * 3 * (config.in_channels - 3)
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in StreamNet(config).parameters()) == parameters


@pytest.mark.parametrize("fields", [{}, {"stream": "temporal", "width": 0.25, "segments": 3, "partial_bn": True}])
def test_a_stream_survives_the_record_of_its_run(fields):
    config = StreamConfig(**fields)
    assert from_dict(StreamConfig, json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize("channels_last", [False, True])
def test_to_input_is_the_formula_of_the_papers(channels_last):
    """NumPy, channel by channel: image channels first and in their order, the map last and raw."""
    config = StreamConfig(stream="temporal", **SMALL)
    x_BGHWC = pixels(2, 3, 75, 75, 4)
    x_BGHWC[0, 0, 0, 0] = torch.tensor([0, 255, 128, 127])
    before = x_BGHWC.clone()
    attention_BG1HW = torch.rand(2, 3, 1, 75, 75, generator=torch.Generator().manual_seed(1))
    x_BGCHW = to_input(x_BGHWC, attention_BG1HW, config, channels_last=channels_last)

    expected = np.empty((2, 3, 5, 75, 75))
    for channel in range(4):
        expected[:, :, channel] = (x_BGHWC[..., channel].numpy() / 255 - 0.5) / 0.5
    expected[:, :, 4] = attention_BG1HW[:, :, 0].numpy()
    np.testing.assert_allclose(x_BGCHW.numpy(), expected, rtol=0, atol=1e-6)
    assert x_BGCHW[0, 0, :2, 0, 0].tolist() == [-1.0, 1.0]
    assert torch.equal(x_BGHWC, before)
    assert x_BGCHW.flatten(0, 1).is_contiguous(memory_format=torch.channels_last) is channels_last


def test_to_input_takes_a_number_half_precision_maps_and_other_types():
    config = StreamConfig(**SMALL)
    x_BGHWC = pixels(1, 2, 75, 75, 3)
    constant = to_input(x_BGHWC, START_ATTENTION, config)
    assert torch.equal(constant[:, :, 3], torch.full((1, 2, 75, 75), 0.1))
    half = to_input(x_BGHWC, torch.full((1, 2, 1, 75, 75), 0.1, dtype=torch.float16), config)
    torch.testing.assert_close(half, constant, rtol=0, atol=1e-4)
    low = to_input(x_BGHWC, START_ATTENTION, config, dtype=torch.bfloat16)
    assert low.dtype == torch.bfloat16
    assert torch.equal(low, constant.bfloat16())


@pytest.mark.parametrize(
    ("x", "attention", "fields", "words"),
    [
        ((1, 1, 75, 75, 4), 0.1, {}, ["spatial", "(1, 1, 75, 75, 4)", "75,75,3"]),
        ((1, 1, 75, 75, 3), 0.1, {"stream": "temporal"}, ["temporal", "75,75,4"]),
        ((1, 75, 75, 3), 0.1, {}, ["(1, 75, 75, 3)"]),
        ((1, 1, 80, 80, 3), 0.1, {}, ["(1, 1, 80, 80, 3)"]),
        ((1, 1, 75, 75, 3), None, {}, ["attention None", "START_ATTENTION"]),
        ((1, 1, 75, 75, 3), 0.1, {"attention_channel": False}, ["attention given", "baseline"]),
        ((1, 1, 75, 75, 3), torch.zeros(1, 1, 1, 8, 8), {}, ["(1, 1, 1, 8, 8)", "crop_maps"]),
        ((1, 1, 75, 75, 3), torch.zeros(1, 1, 1, 75, 75, dtype=torch.uint8), {}, ["torch.uint8", "floating point"]),
    ],
)
def test_to_input_refuses_what_does_not_belong_together(x, attention, fields, words):
    with pytest.raises(ValueError, match="Fix: ") as caught:
        to_input(pixels(*x), attention, StreamConfig(**SMALL | fields))
    assert all(word in str(caught.value) for word in words)


def test_to_input_refuses_normalised_pixels():
    with pytest.raises(ValueError, match=r"torch\.float32\. Allowed: torch\.uint8"):
        to_input(pixels(1, 1, 75, 75, 3).float(), 0.1, StreamConfig(**SMALL))


def test_nothing_transforms_the_input_but_to_input():
    """torchvision's `transform_input` undoes ImageNet's normalisation; ours is what it arrives at, without it."""
    torch.manual_seed(0)
    theirs = torchvision.models.inception_v3(
        weights=None, transform_input=True, aux_logits=False, init_weights=False, num_classes=5
    ).eval()
    net = network(size=107, width=1.0, attention_channel=False).eval()
    net.trunk.load_state_dict(theirs.state_dict())
    x_BGHWC = pixels(2, 1, 107, 107, 3)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    imagenet_NCHW = ((x_BGHWC[:, 0] / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits_BK = net(to_input(x_BGHWC, None, net.config)).logits_BK
        torch.testing.assert_close(logits_BK, theirs(imagenet_NCHW), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stream", ["spatial", "temporal"])
def test_every_input_channel_reaches_the_logits(stream, randomise):
    """`transform_input` on four channels would drop all but three."""
    net = network(stream=stream)
    randomise(net, images(net.config, 4, 1)).eval()
    x_BGCHW = images(net.config, 2, 1).requires_grad_()
    net(x_BGCHW).logits_BK[:, 0].sum().backward()
    assert (x_BGCHW.grad.abs().amax(dim=(0, 1, 3, 4)) > 0).all()


def test_logits_of_a_video_are_the_mean_over_its_segments(randomise):
    net = network(stream="temporal", segments=3)
    x_BGCHW = images(net.config, 3, 4)
    randomise(net, x_BGCHW).eval()
    with torch.no_grad():
        out = net(x_BGCHW)
        alone = torch.stack([torch.cat([net(x[None, None]).logits_BK for x in x_GCHW]) for x_GCHW in x_BGCHW])
    assert out.segment_logits_BGK.shape == (3, 4, 5)
    assert out.aux_logits_BK is None
    torch.testing.assert_close(out.segment_logits_BGK, alone)
    torch.testing.assert_close(out.logits_BK, alone.mean(dim=1))
    assert (alone.std(dim=1) > 0).all()


def test_features_and_scores_are_the_two_halves_of_forward(randomise):
    net = network()
    x_BGCHW = images(net.config, 4, 1)
    randomise(net, x_BGCHW).eval()
    with torch.no_grad():
        features_NChw = net.features(x_BGCHW[:, 0])
        assert features_NChw.shape[1] == net.feature_channels
        assert torch.equal(net.scores(features_NChw), net(x_BGCHW).logits_BK)


def test_the_auxiliary_head_answers_in_training_only():
    net = network(size=299, aux_head=True)
    x_BGCHW = images(net.config, 2, 2)
    out = net(x_BGCHW)
    assert out.aux_logits_BK.shape == (2, 5)
    out.aux_logits_BK.sum().backward()
    assert net.trunk.AuxLogits.fc.weight.grad.abs().sum() > 0
    assert net.eval()(x_BGCHW[:1, :1]).aux_logits_BK is None


def test_partial_batch_norm_trains_the_first_and_leaves_the_others_bit_identical(randomise):
    """As TSN; calling train() again, as every epoch does, must not thaw them."""
    net = network(partial_bn=True)
    norms = {name: layer for name, layer in net.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    first = "trunk.Conv2d_1a_3x3.bn"
    assert next(iter(norms)) == first
    x_BGCHW = images(net.config, 4, 1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for _ in range(2):
        net.train(mode=False)
        net.train()
        nn.functional.cross_entropy(net(x_BGCHW).logits_BK, torch.arange(4)).backward()
        optimiser.step()
        optimiser.zero_grad()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert {name for name in changed if ".bn." in name} == {
        f"{first}.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert {name for name in before if name.endswith("conv.weight")} <= changed
    assert net.training
    assert norms[first].training
    assert not any(layer.training for name, layer in norms.items() if name != first)


def test_without_partial_batch_norm_all_are_trained():
    net = network()
    assert net.frozen_norms() == []
    assert all(module.training for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 4, 75, 75), ["5 axes", "(1, 4, 75, 75)"]),
        ((1, 1, 3, 75, 75), ["(1, 3, 75, 75)", "N,4,75,75", "3 image channels and the attention map"]),
        ((1, 1, 4, 80, 80), ["(1, 4, 80, 80)"]),
    ],
)
def test_images_for_another_stream_are_refused(shape, words):
    with pytest.raises(ValueError, match="Fix: ") as caught:
        network().eval()(torch.zeros(shape))
    assert all(word in str(caught.value) for word in words)


def test_bytes_are_refused():
    with pytest.raises(ValueError, match=r"torch\.uint8\. Allowed: a floating-point type"):
        network().features(torch.zeros(1, 4, 75, 75, dtype=torch.uint8))
