"""Inflated weights give a still video the activations of its one image, and nothing is copied by halves."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
import torchvision

from models import ModelConfig, build_model
from models.inflate import inflate, read_imagenet2d, trunk_name


def resnet_2d(depth: int):
    torch.manual_seed(depth)
    return torchvision.models.get_model(f"resnet{depth}", weights=None)


def features_2d(model, x_BCHW, last: str):
    """torchvision's activations after `last`."""
    for name, layer in model.named_children():
        x_BCHW = layer(x_BCHW)
        if name == last:
            return x_BCHW
    raise AssertionError(last)


def network(**fields):
    torch.manual_seed(1)
    return build_model(ModelConfig(**{"depth": 18, "classes": 5, "frames": 2} | fields))


@pytest.fixture(scope="module")
def state_18():
    return resnet_2d(18).state_dict()


@pytest.mark.parametrize(
    ("depth", "reach_extractor", "reach_stage4"),
    [(50, 6, 9), (18, 2, 4)],
)
def test_a_still_clip_gives_the_2d_networks_features(depth, reach_extractor, reach_stage4, randomise):
    """Every inflated block reaches one frame further, so zero padding in time shows that far from either end."""
    still_BCHW = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    flat = randomise(resnet_2d(depth), torch.randn(4, 3, 48, 48)).eval()
    frames = 2 * reach_stage4 + 1
    model = network(arch="baseline", depth=depth, frames=frames).eval()
    report = inflate(model, flat.state_dict())
    assert len(report.copied) + len(report.skipped) == len(flat.state_dict())

    with torch.no_grad():
        f_BCTHW = model.extractor(still_BCHW[:, :, None].expand(-1, -1, frames, -1, -1))
        layer3_BCHW = features_2d(flat, still_BCHW, "layer3")
        layer4_BCHW = features_2d(flat, still_BCHW, "layer4")
        stage4_BCTHW = model.perception.stage(f_BCTHW)
    scale3, scale4 = layer3_BCHW.abs().max(), layer4_BCHW.abs().max()
    for t in range(reach_extractor, frames - reach_extractor):
        assert (f_BCTHW[:, :, t] - layer3_BCHW).abs().max() < 1e-4 * scale3
    for t in range(reach_stage4, frames - reach_stage4):
        assert (stage4_BCTHW[:, :, t] - layer4_BCHW).abs().max() < 1e-4 * scale4
    for t in (reach_extractor - 1, frames - reach_extractor):
        assert (f_BCTHW[:, :, t] - layer3_BCHW).abs().max() > 1e-3 * scale3, "padding should reach this frame"


def test_temporal_kernels_are_divided_and_their_taps_equal(state_18):
    model = network(arch="baseline")
    inflate(model, state_18)
    kernel = model.extractor.stage3[0].conv_a.weight
    assert kernel.shape[2] == 3
    for tap in range(3):
        torch.testing.assert_close(kernel[:, :, tap], state_18["layer3.0.conv1.weight"] / 3)
    assert torch.equal(model.extractor.stage1[0].conv_a.weight[:, :, 0], state_18["layer1.0.conv1.weight"])


def test_the_report_names_every_tensor_of_either_side(state_18):
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = inflate(model, state_18)
    after = model.state_dict()
    assert {*report.copied, *report.kept} == set(after)
    assert not {*report.copied} & {*report.kept}
    assert {name for name, _ in report.skipped} == {
        name for name in state_18 if name.startswith("fc.") or name.endswith("num_batches_tracked")
    }
    assert all(torch.equal(before[name], after[name]) for name in report.kept)
    assert all(name.startswith(("extractor.", "perception.stage.")) for name in report.copied)
    assert {name for name in report.kept if not name.endswith("num_batches_tracked")} == {
        name
        for name in after
        if name.startswith(("attention.", "merge.", "perception.fc.")) and not name.endswith("num_batches_tracked")
    }
    assert "fc.weight: classifier of other classes" in str(report)
    assert str(report).startswith(f"{len(report.copied)} tensors copied, {len(report.skipped)} skipped")


def test_weights_saved_before_torch_counted_batches_are_accepted(state_18):
    old = {name: value for name, value in state_18.items() if not name.endswith("num_batches_tracked")}
    model = network(arch="baseline")
    assert inflate(model, old).copied == inflate(model, state_18).copied


def test_copy_stage4_copies_the_inflated_stage(state_18):
    model = network(att_stage_init="copy_stage4")
    report = inflate(model, state_18)
    kernel = model.attention.stage[0].conv_a.weight
    torch.testing.assert_close(kernel[:, :, 0], state_18["layer4.0.conv1.weight"] / 3)
    assert "attention.stage.0.conv_a.weight" in report.copied


def test_concat_keeps_the_two_widened_convolutions_and_says_so(state_18):
    model = network(merge="concat")
    before = model.perception.stage[0].conv_a.weight.clone()
    report = inflate(model, state_18)
    doubled = [name for name, why in report.skipped if "concat" in why]
    assert doubled == ["layer4.0.conv1.weight", "layer4.0.downsample.0.weight"]
    assert torch.equal(model.perception.stage[0].conv_a.weight, before)
    assert "perception.stage.0.conv_a.weight" in report.kept


@pytest.mark.parametrize(
    ("fields", "change", "words"),
    [
        ({"depth": 34}, {}, ["extractor.stage1.2", "has no source", "model.depth"]),
        ({"depth": 10}, {}, ["layer1.1.", "has no place"]),
        ({"width": 32}, {}, ["conv1.weight", "(64, 3, 1, 7, 7)", "(32, 3, 1, 7, 7)", "model.width"]),
        ({}, {"layer5.0.conv1.weight": torch.zeros(1)}, ["layer5.0.conv1.weight has no place"]),
        ({}, {"bn1.running_var": None}, ["extractor.stem.bn.running_var has no source"]),
        ({"backbone": "c3d", "width": 4}, {}, ["backbone=c3d", "resnet3d"]),
    ],
    ids=["deeper", "shallower", "narrower", "extra", "missing", "c3d"],
)
def test_a_partial_fit_is_refused_and_changes_nothing(fields, change, words, state_18):
    state = {name: value for name, value in (dict(state_18) | change).items() if value is not None}
    model = network(**{"arch": "baseline"} | fields)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="Fix: ") as caught:
        inflate(model, state)
    for word in words:
        assert word in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["fc.weight", "layer5.0.conv1.weight", "layer1.0.conv4.weight", "xlayer1.0.bn1.bias"])
def test_names_outside_the_trunk_have_none(name):
    assert trunk_name(name) is None


def test_a_file_is_read_and_anything_else_is_named(tmp_path, state_18):
    torch.save(state_18, tmp_path / "resnet18.pth")
    read = read_imagenet2d(18, str(tmp_path / "resnet18.pth"))
    assert read.keys() == state_18.keys()
    assert torch.equal(read["conv1.weight"], state_18["conv1.weight"])

    torch.save({"epoch": 3, "state": state_18}, tmp_path / "checkpoint.pth")
    (tmp_path / "noise.pth").write_bytes(b"not a checkpoint")
    torch.save(torch.nn.ReLU(), tmp_path / "module.pth")
    for name, words in {
        "checkpoint.pth": ["holds no state dict", "epoch"],
        "noise.pth": ["cannot be read"],
        "module.pth": ["cannot be read", "weights_only"],
        "absent.pth": ["does not exist"],
    }.items():
        with pytest.raises(ValueError, match="Fix: ") as caught:
            read_imagenet2d(18, str(tmp_path / name))
        assert all(word in str(caught.value) for word in [*words, name])


def test_a_url_is_downloaded_and_a_dead_one_named(tmp_path, monkeypatch, state_18):
    (tmp_path / "served").mkdir()
    torch.save(state_18, tmp_path / "served" / "resnet18.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "served")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        read = read_imagenet2d(18, f"{address}/resnet18.pth")
        with pytest.raises(ValueError, match=r"cannot be downloaded\. Received: .*absent\.pth.*404"):
            read_imagenet2d(18, f"{address}/absent.pth")
        server.shutdown()
    assert torch.equal(read["fc.weight"], state_18["fc.weight"])


def test_an_empty_path_means_torchvisions_first_imagenet_weights(tmp_path, monkeypatch, state_18):
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    torch.save(state_18, cache / url.rpartition("/")[2])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert torch.equal(read_imagenet2d(18)["conv1.weight"], state_18["conv1.weight"])


def test_a_depth_without_a_2d_network_is_refused():
    with pytest.raises(ValueError, match=r"depth=10\. Allowed: \(18, 34, 50, 101\)"):
        read_imagenet2d(10)
