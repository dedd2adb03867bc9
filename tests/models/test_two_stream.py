"""The system at test time: maps cross over, nothing knows a label, and the parts are what they are alone."""

import ast
import copy
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import models
from models import AttentionNet, StreamConfig, StreamNet, TwoStream
from models.attention_maps import START_ATTENTION
from models.stream import to_input
from models.two_stream import FUSION, fuse

SIZE, CLASSES, STACK = 139, 5, 2


def stream(kind, seed, randomise, **fields):
    torch.manual_seed(seed)
    config = StreamConfig(stream=kind, classes=CLASSES, size=SIZE, width=0.05, flow_stack=STACK, **fields)
    net = randomise(StreamNet(config), torch.randn(4, 1, config.in_channels, SIZE, SIZE), seed=seed)
    nn.init.normal_(net.trunk.fc.weight, std=0.5)
    return net


def attention_net(channels, seed):
    torch.manual_seed(seed)
    net = AttentionNet(channels, 8)
    nn.init.normal_(net.conv2.weight, std=0.5)
    return net


@pytest.fixture(scope="module")
def trained(randomise):
    """Six different networks whose every weight matters."""
    spatial, temporal = (stream(kind, seed, randomise) for kind, seed in (("spatial", 1), ("temporal", 2)))
    return {
        "first_spatial": stream("spatial", 3, randomise),
        "first_temporal": stream("temporal", 4, randomise),
        "spatial_attention": attention_net(spatial.feature_channels, 5),
        "temporal_attention": attention_net(temporal.feature_channels, 6),
        "spatial": spatial,
        "temporal": temporal,
    }


@pytest.fixture
def parts(trained):
    return copy.deepcopy(trained)


@pytest.fixture
def clips():
    """Two videos, three views: rgb_BGHWC and flow_BGHWC."""
    draw = torch.Generator().manual_seed(0)
    return tuple(
        torch.randint(0, 256, (2, 3, SIZE, SIZE, channels), dtype=torch.uint8, generator=draw)
        for channels in (3, 2 * STACK)
    )


def seen_by(net):
    """Collects the images that enter a network from now on."""
    inputs = []
    net.trunk.Conv2d_1a_3x3.register_forward_pre_hook(lambda module, args: inputs.append(args[0].clone()))
    return inputs


def test_equals_its_parts_used_one_after_the_other(parts, clips):
    rgb_BGHWC, flow_BGHWC = clips
    out = TwoStream(**parts)(*clips)
    upsample = nn.Upsample((SIZE, SIZE), mode="bilinear", align_corners=False)
    probabilities = {"spatial": [], "temporal": []}
    with torch.no_grad():
        for b in range(2):
            for g in range(3):
                pixels = {
                    "spatial": rgb_BGHWC[b : b + 1, g : g + 1],
                    "temporal": flow_BGHWC[b : b + 1, g : g + 1],
                }
                map_of = {}
                for kind, x in pixels.items():
                    first = parts[f"first_{kind}"]
                    features = first.features(to_input(x, 0.1, first.config)[0])
                    map_of[kind] = parts[f"{kind}_attention"](features)
                torch.testing.assert_close(out.spatial_map_BGhw[b, g], map_of["spatial"][0], rtol=0, atol=5e-4)
                torch.testing.assert_close(out.temporal_map_BGhw[b, g], map_of["temporal"][0], rtol=0, atol=5e-4)
                for kind, other in (("spatial", "temporal"), ("temporal", "spatial")):
                    final = parts[kind]
                    attention = upsample(map_of[other][:, None])[None]
                    logits_BK = final(to_input(pixels[kind], attention, final.config)).logits_BK
                    probabilities[kind].append(torch.softmax(logits_BK[0], dim=0).numpy())
    spatial_BK, temporal_BK = (np.array(rows).reshape(2, 3, CLASSES).mean(axis=1) for rows in probabilities.values())
    np.testing.assert_allclose(out.spatial_BK.numpy(), spatial_BK, atol=1e-3)
    np.testing.assert_allclose(out.temporal_BK.numpy(), temporal_BK, atol=1e-3)
    np.testing.assert_allclose(out.fused_BK.numpy(), (spatial_BK + 1.5 * temporal_BK) / 2.5, atol=1e-3)
    np.testing.assert_allclose(out.fused_BK.sum(dim=1).numpy(), 1, atol=1e-6)
    assert np.abs(spatial_BK - temporal_BK).max() > 0.05


def test_trap_23_s_comes_from_the_frames_and_goes_into_the_flow_network(parts, clips):
    """And T the other way round; each is the last channel of the other stream's input."""
    system = TwoStream(**parts)
    into_spatial, into_temporal = seen_by(parts["spatial"]), seen_by(parts["temporal"])
    out = system(*clips)
    upsample = nn.Upsample((SIZE, SIZE), mode="bilinear", align_corners=False)
    s_N1HW, t_N1HW = (upsample(m.flatten(0, 1)[:, None]) for m in (out.spatial_map_BGhw, out.temporal_map_BGhw))
    assert (s_N1HW - t_N1HW).abs().max() > 0.05
    torch.testing.assert_close(into_temporal[0][:, 2 * STACK :], s_N1HW, rtol=0, atol=1e-5)
    torch.testing.assert_close(into_spatial[0][:, 3:], t_N1HW, rtol=0, atol=1e-5)

    other_flow = system(clips[0], 255 - clips[1])
    assert torch.equal(other_flow.spatial_map_BGhw, out.spatial_map_BGhw)
    assert not torch.equal(other_flow.temporal_map_BGhw, out.temporal_map_BGhw)
    assert not torch.equal(other_flow.spatial_BK, out.spatial_BK), "the spatial network must see the flow's map"
    other_rgb = system(255 - clips[0], clips[1])
    assert torch.equal(other_rgb.temporal_map_BGhw, out.temporal_map_BGhw)
    assert not torch.equal(other_rgb.temporal_BK, out.temporal_BK), "the temporal network must see the frames' map"


def test_trap_22_the_first_round_sees_the_constant_and_no_map(parts, clips):
    """The circle (each stream needs the other's map) is cut where training cut it."""
    into_first = [seen_by(parts["first_spatial"]), seen_by(parts["first_temporal"])]
    system = TwoStream(**parts)
    system(*clips)
    for inputs, channels in zip(into_first, (3, 2 * STACK), strict=True):
        assert len(inputs) == 1
        assert torch.equal(inputs[0][:, channels:], torch.full((6, 1, SIZE, SIZE), START_ATTENTION))
    before = system(*clips)
    for name in ("spatial", "temporal"):
        nn.init.zeros_(parts[name].trunk.fc.weight)
    after = system(*clips)
    assert torch.equal(before.spatial_map_BGhw, after.spatial_map_BGhw), "maps come before the final networks"
    assert torch.equal(before.temporal_map_BGhw, after.temporal_map_BGhw)


def parameters_of(function):
    return set(inspect.signature(function).parameters)


def test_trap_20_no_argument_on_the_path_can_carry_a_label():
    words = ("label", "target", "truth", "answer", "class_", "y_")
    path = [
        TwoStream.__init__,
        TwoStream.forward,
        TwoStream._views,
        AttentionNet.forward,
        AttentionNet.logits,
        StreamNet.forward,
        StreamNet.features,
        StreamNet.scores,
        to_input,
        models.attention_maps.resize_maps,
        models.attention_maps.crop_maps,
    ]
    names = {name for function in path for name in parameters_of(function)}
    assert not [name for name in names if any(word in name.lower() for word in words)]
    assert parameters_of(TwoStream.forward) == {"self", "rgb_BGHWC", "flow_BGHWC", "dtype", "channels_last"}


def test_trap_20_what_makes_maps_from_labels_is_out_of_reach():
    """models/grad_cam.py is imported by no module that the system at test time imports, directly or not."""
    folder = Path(models.__file__).parent
    waiting, reached = ["two_stream"], set()
    while waiting:
        name = waiting.pop()
        reached.add(name)
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("models."):
                waiting += [n for n in [node.module.partition(".")[2]] if n not in reached]
    assert {"attention_net", "stream", "inception"} <= reached
    assert "grad_cam" not in reached


def test_trap_20_other_labels_change_nothing(parts, clips):
    """The label's only way in would be a gradient or a classifier: maps are the same without either."""
    system = TwoStream(**parts)
    out = system(*clips)
    for name in ("first_spatial", "first_temporal"):
        net = parts[name]
        net.requires_grad_(False)
        with torch.no_grad():  # other labels for the same videos: the classes change places
            net.trunk.fc.weight.copy_(net.trunk.fc.weight.flip(0))
            net.trunk.fc.bias.copy_(net.trunk.fc.bias.flip(0))
    with torch.inference_mode():
        again = system(*clips)
    for mine, other in zip(out, again, strict=True):
        assert torch.equal(mine, other)
        assert not mine.requires_grad


def test_views_of_other_videos_do_not_matter(parts, clips):
    system = TwoStream(**parts)
    out = system(*clips)
    for b in range(2):
        alone = system(*(x[b : b + 1] for x in clips))
        for whole, part in zip(out, alone, strict=True):
            torch.testing.assert_close(whole[b : b + 1], part, rtol=0, atol=5e-4)


def test_views_in_pieces_and_channels_last_give_the_same(parts, clips):
    expected = TwoStream(**parts)(*clips)
    pieces = TwoStream(**parts, at_once=4)
    into_spatial = seen_by(parts["spatial"])
    for options in ({}, {"channels_last": True}):
        for mine, other in zip(pieces(*clips, **options), expected, strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=5e-4)
    assert [len(x) for x in into_spatial] == [4, 2, 4, 2]


def test_it_never_trains(parts, clips):
    """Dropout or batch statistics at test time would be silent."""
    system = TwoStream(**parts)
    expected = system(*clips)
    before = {name: value.clone() for name, value in system.state_dict().items()}
    system.train()
    assert not any(module.training for module in system.modules())
    for mine, other in zip(system(*clips), expected, strict=True):
        assert torch.equal(mine, other)
    assert all(torch.equal(value, before[name]) for name, value in system.state_dict().items())


def test_fusion_is_a_weighted_mean_of_probabilities():
    spatial_BK, temporal_BK = torch.tensor([[0.6, 0.4], [1.0, 0.0]]), torch.tensor([[0.1, 0.9], [1.0, 0.0]])
    torch.testing.assert_close(fuse(spatial_BK, temporal_BK), torch.tensor([[0.3, 0.7], [1.0, 0.0]]))
    assert FUSION == (1.0, 1.5)
    assert torch.equal(fuse(spatial_BK, temporal_BK, (2.0, 0.0)), spatial_BK)
    torch.testing.assert_close(fuse(spatial_BK, temporal_BK, (2, 3)), fuse(spatial_BK, temporal_BK))


@pytest.mark.parametrize("weights", [(0.0, 0.0), (-1.0, 2.0)])
def test_weights_that_are_no_mean_are_refused(weights):
    with pytest.raises(ValueError, match="not negative, not both zero"):
        fuse(torch.ones(1, 2), torch.ones(1, 2), weights)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: {"spatial": p["temporal"], "temporal": p["spatial"]}, ["spatial with stream=temporal"]),
        (lambda p: {"first_temporal": p["first_spatial"]}, ["first_temporal with stream=spatial"]),
        (lambda p: {"spatial_attention": AttentionNet(8, 4)}, ["channels=8", "spatial stream with"]),
        (lambda p: {"fusion": (0.0, 0.0)}, ["weights (0.0, 0.0)"]),
    ],
    ids=["swapped", "twice", "attention", "fusion"],
)
def test_networks_in_each_others_place_are_refused(change, words, parts):
    with pytest.raises(ValueError, match="Fix: ") as caught:
        TwoStream(**parts | change(parts))
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("spatial", {"attention_channel": False}, ["spatial with stream=spatial, attention_channel=False", "fuse"]),
        ("spatial", {"classes": 6}, ["(6, 139)", "(5, 139)"]),
        ("first_spatial", {"size": 150}, ["(5, 150)"]),
        ("temporal", {"flow_stack": 3}, ["flow_stack [2, 3]"]),
    ],
    ids=str,
)
def test_networks_of_other_recipes_are_refused(name, fields, words, parts):
    kind = name.removeprefix("first_")
    config = {"stream": kind, "classes": CLASSES, "size": SIZE, "width": 0.05, "flow_stack": STACK}
    with pytest.raises(ValueError, match="Fix: ") as caught:
        TwoStream(**parts | {name: StreamNet(StreamConfig(**config | fields))})
    assert all(word in str(caught.value) for word in words)


def test_views_that_do_not_pair_are_refused(parts, clips):
    system = TwoStream(**parts)
    with pytest.raises(ValueError, match="Every view of frames needs its view of flow"):
        system(clips[0], clips[1][:, :2])
    with pytest.raises(ValueError, match="G at least 1"):
        system(clips[0][:, :0], clips[1][:, :0])
    with pytest.raises(ValueError, match="temporal stream sees other pixels"):
        system(clips[0], clips[0])
