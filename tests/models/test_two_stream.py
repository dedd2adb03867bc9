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
from models.two_stream import FUSION, fuse, view_probabilities

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


def test_s_comes_from_the_frames_and_goes_into_the_flow_network(parts, clips):
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


def test_the_first_round_sees_the_constant_and_no_map(parts, clips):
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


def test_no_argument_on_the_path_can_carry_a_label():
    words = ("label", "target", "truth", "answer", "class_", "y_")
    path = [
        TwoStream.__init__,
        TwoStream.forward,
        TwoStream.maps,
        view_probabilities,
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
    wholes = {"whole_rgb_BGHWC", "whole_flow_BGHWC", "box_BG4", "flow_box_BG4"}
    assert parameters_of(TwoStream.forward) == {"self", "rgb_BGHWC", "flow_BGHWC", "dtype", "channels_last"} | wholes


def test_what_makes_maps_from_labels_is_out_of_reach():
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


def test_other_labels_change_nothing(parts, clips):
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


@pytest.fixture
def wholes():
    """A whole frame and stack for each of the two videos, and three boxes, the last one mirrored."""
    draw = torch.Generator().manual_seed(1)
    rgb, flow = (
        torch.randint(0, 256, (2, 1, SIZE, SIZE, channels), dtype=torch.uint8, generator=draw)
        for channels in (3, 2 * STACK)
    )
    boxes = [[0.1, 0.2, 0.6, 0.7], [0.0, 0.0, 1.0, 1.0], [0.9, 0.3, 0.4, 0.8]]
    return {"whole_rgb_BGHWC": rgb, "whole_flow_BGHWC": flow, "box_BG4": torch.tensor(boxes).expand(2, 3, 4)}


def cut(map_hw, box):
    """Bilinear upsampling to a fine grid of the frame, cut and averaged down: another way to a crop's channel."""
    fine = nn.Upsample((SIZE * 20, SIZE * 20), mode="bilinear", align_corners=False)(map_hw[None, None])[0, 0]
    x0, y0, x1, y1 = (round(float(share) * SIZE * 20) for share in box)
    part = fine[y0:y1, min(x0, x1) : max(x0, x1)]
    part = nn.functional.interpolate(part[None, None], (SIZE, SIZE), mode="bilinear", align_corners=False)[0, 0]
    return part.flip(1) if x0 > x1 else part


def test_maps_are_made_of_whole_frames_and_cut_as_the_views_are(parts, clips, wholes):
    into_first = [seen_by(parts[f"first_{kind}"]) for kind in ("spatial", "temporal")]
    into_final = [seen_by(parts[kind]) for kind in ("spatial", "temporal")]
    out = TwoStream(**parts)(*clips, **wholes)
    assert [tuple(x[0].shape) for x in into_first] == [(2, 4, SIZE, SIZE), (2, 2 * STACK + 1, SIZE, SIZE)]
    pixels_NCHW = wholes["whole_rgb_BGHWC"][:, 0].permute(0, 3, 1, 2).float() / 127.5 - 1
    torch.testing.assert_close(into_first[0][0][:, :3], pixels_NCHW)
    assert out.spatial_map_BGhw.shape[:2] == out.temporal_map_BGhw.shape[:2] == (2, 1), "one map a frame"
    for inputs, channels, maps in ((into_final[0], 3, out.temporal_map_BGhw), (into_final[1], 4, out.spatial_map_BGhw)):
        for n in range(6):
            expected = cut(maps[n // 3, 0], wholes["box_BG4"][n // 3, n % 3])
            torch.testing.assert_close(inputs[0][n, channels], expected, rtol=0, atol=0.02)


def test_flow_of_another_shape_has_boxes_of_its_own(parts, clips, wholes):
    """TSN stores flow as 340 x 256 whatever the frames are: the same crop is then another share of it."""
    system = TwoStream(**parts)
    into_temporal = seen_by(parts["temporal"])
    flow_box_BG4 = torch.tensor([0.2, 0.1, 0.7, 0.9]).expand(2, 3, 4)
    out, plain = system(*clips, **wholes, flow_box_BG4=flow_box_BG4), system(*clips, **wholes)
    expected = cut(out.spatial_map_BGhw[1, 0], flow_box_BG4[1, 2])
    torch.testing.assert_close(into_temporal[0][5, 2 * STACK], expected, rtol=0, atol=0.02)
    assert torch.equal(out.spatial_BK, plain.spatial_BK)
    assert not torch.equal(out.temporal_BK, plain.temporal_BK)


def test_a_whole_frame_for_each_view_or_one_for_all_of_them(parts, clips, wholes):
    system = TwoStream(**parts, at_once=4)
    shared = system(*clips, **wholes)
    own = {name: x if name == "box_BG4" else x.expand(-1, 3, -1, -1, -1) for name, x in wholes.items()}
    for mine, other in zip(system(*clips, **own), shared, strict=True):
        torch.testing.assert_close(
            mine, other if mine.shape == other.shape else other.expand_as(mine), atol=5e-4, rtol=0
        )


def test_views_that_are_whole_frames_need_no_other(parts, clips):
    """The same pixels named twice, with the box of everything, give what one naming gives."""
    system = TwoStream(**parts)
    box = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(2, 3, 4)
    again = system(*clips, whole_rgb_BGHWC=clips[0], whole_flow_BGHWC=clips[1], box_BG4=box)
    for mine, other in zip(again, system(*clips), strict=True):
        assert torch.equal(mine, other)


def test_a_stream_alone_answers_view_by_view(parts, clips):
    """What a test without attention takes: 0.1 everywhere, or no channel at all."""
    net = parts["first_spatial"].eval()
    found = view_probabilities(net, clips[0], at_once=4)
    with torch.no_grad():
        expected = net(to_input(clips[0], START_ATTENTION, net.config)).segment_logits_BGK.softmax(dim=2)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-4)
    bare = StreamNet(
        StreamConfig(stream="spatial", classes=CLASSES, size=SIZE, width=0.05, attention_channel=False)
    ).eval()
    assert view_probabilities(bare, clips[0]).shape == (2, 3, CLASSES)
    with pytest.raises(ValueError, match="one without has no place for it"):
        view_probabilities(bare, clips[0], torch.full((2, 3, 3, 3), 0.1))


@pytest.mark.parametrize("absent", ["whole_rgb_BGHWC", "whole_flow_BGHWC", "box_BG4"])
def test_whole_frames_without_boxes_are_refused(absent, parts, clips, wholes):
    with pytest.raises(ValueError, match="Allowed: all three, or none"):
        TwoStream(**parts)(*clips, **{name: x for name, x in wholes.items() if name != absent})
    wholes["whole_flow_BGHWC"] = clips[1][:, :2]
    with pytest.raises(ValueError, match="Every view needs its whole frame"):
        TwoStream(**parts)(*clips, **wholes)


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
