"""ImageNet's weights reach a stream with its first convolution remade, and the report accounts for every tensor."""

import pytest
import torch
import torchvision

from models import StreamConfig, StreamNet
from models.stream_weights import FIRST_CONV, load_imagenet, read_inception


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    network = torchvision.models.inception_v3(weights=None, transform_input=False, init_weights=False).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return network


@pytest.fixture(scope="module")
def state(theirs):
    return theirs.state_dict()


def network(**fields) -> StreamNet:
    torch.manual_seed(1)
    return StreamNet(StreamConfig(**{"classes": 5, "size": 107, "flow_stack": 3} | fields))


def imported(state, **fields):
    net = network(**fields)
    return net, load_imagenet(net, state), net.trunk.Conv2d_1a_3x3.conv.weight.detach()


@pytest.mark.parametrize("init", ["mean", "zero"])
def test_the_spatial_stream_keeps_rgb_and_gains_a_channel(init, state):
    _, report, kernels = imported(state, attention_init=init)
    rgb = state[FIRST_CONV]
    assert torch.equal(kernels[:, :3], rgb)
    expected = (rgb[:, 0] + rgb[:, 1] + rgb[:, 2]) / 3 if init == "mean" else torch.zeros(32, 3, 3)
    torch.testing.assert_close(kernels[:, 3], expected)
    assert dict(report.made)[f"trunk.{FIRST_CONV}"].startswith("RGB kept")


@pytest.mark.parametrize("init", ["mean", "zero"])
def test_every_channel_of_the_temporal_stream_is_the_mean_over_rgb(init, state):
    _, _, kernels = imported(state, stream="temporal", attention_init=init)
    mean = (state[FIRST_CONV][:, 0] + state[FIRST_CONV][:, 1] + state[FIRST_CONV][:, 2]) / 3
    assert kernels.shape == (32, 7, 3, 3)
    for channel in range(6):
        torch.testing.assert_close(kernels[:, channel], mean)
    torch.testing.assert_close(kernels[:, 6], mean if init == "mean" else torch.zeros_like(mean))


def test_baselines_have_no_kernels_for_a_map(state):
    assert torch.equal(imported(state, attention_channel=False)[2], state[FIRST_CONV])
    assert imported(state, stream="temporal", attention_channel=False)[2].shape == (32, 6, 3, 3)


def test_with_a_zero_channel_the_spatial_features_are_torchvisions(theirs, state):
    net, _, _ = imported(state, attention_init="zero")
    x_NCHW = torch.randn(2, 4, 107, 107, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        features_NChw = net.eval().features(x_NCHW)
        y_NChw = x_NCHW[:, :3]
        for name, layer in theirs.named_children():
            if name == "avgpool":
                break
            y_NChw = y_NChw if name == "AuxLogits" else layer(y_NChw)
    assert y_NChw.shape == (2, 2048, 2, 2)
    assert y_NChw.abs().max() > 0
    torch.testing.assert_close(features_NChw, y_NChw)


@pytest.mark.parametrize("aux", [False, True])
def test_the_report_accounts_for_every_tensor_of_either_side(aux, state):
    net = network(stream="temporal", aux_head=aux, size=299)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    report = load_imagenet(net, state)
    after = net.state_dict()
    made, skipped = dict(report.made), dict(report.skipped)
    counters = {name for name in after if name.endswith("num_batches_tracked")}
    assert {*report.copied, *made, *counters} == set(after)
    assert not {*report.copied} & {*made}
    assert {name.removeprefix("trunk.") for name in report.copied} | {FIRST_CONV} | set(skipped) == set(state)
    for name in report.copied:
        assert torch.equal(after[name], state[name.removeprefix("trunk.")])
    assert all(torch.equal(after[name], before[name]) for name in counters)

    heads = ["fc", "AuxLogits.fc"] if aux else ["fc"]
    assert set(made) == {f"trunk.{FIRST_CONV}", *(f"trunk.{h}.{p}" for h in heads for p in ("weight", "bias"))}
    for head in heads:
        assert torch.equal(after[f"trunk.{head}.bias"], torch.zeros(5))
        assert 0.0009 < after[f"trunk.{head}.weight"].std() < 0.0011
    assert ("trunk.AuxLogits.conv1.conv.weight" in report.copied) is aux
    assert skipped["fc.weight"] == "classifier of other classes"
    assert skipped["AuxLogits.conv0.bn.weight"] if not aux else "AuxLogits.conv0.bn.weight" not in skipped
    assert "mean over RGB for each channel of flow" in str(report)
    assert "fc: classifier of other classes" in str(report)


@pytest.mark.parametrize(
    ("fields", "change", "words"),
    [
        ({"width": 0.5}, {}, ["(32, 3, 3, 3), not (16, 4, 3, 3)", "width to 1.0"]),
        ({}, {"Mixed_8a.conv.weight": torch.zeros(1)}, ["Mixed_8a.conv.weight has no place"]),
        ({}, {"Mixed_7c.branch1x1.bn.running_var": None}, ["Mixed_7c.branch1x1.bn.running_var has no source"]),
        ({}, {FIRST_CONV: None}, [f"{FIRST_CONV} has no source"]),
        ({}, {FIRST_CONV: torch.zeros(32, 1, 3, 3)}, [f"{FIRST_CONV} is (32, 1, 3, 3)"]),
        ({"aux_head": True, "size": 299}, {"AuxLogits.conv0.conv.weight": None}, ["AuxLogits.conv0.conv.weight"]),
    ],
    ids=["narrow", "extra", "missing", "no-first", "grey", "no-aux"],
)
def test_a_partial_fit_is_refused_and_changes_nothing(fields, change, words, state):
    file = {name: value for name, value in (dict(state) | change).items() if value is not None}
    net = network(**fields)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match="Fix: ") as caught:
        load_imagenet(net, file)
    assert all(word in str(caught.value) for word in words)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_weights_are_read_from_a_file_or_from_torchvisions_cache(tmp_path, monkeypatch, state):
    torch.save(state, tmp_path / "inception.pth")
    assert torch.equal(read_inception(str(tmp_path / "inception.pth"))["fc.weight"], state["fc.weight"])
    with pytest.raises(ValueError, match=r"does not exist.*absent\.pth"):
        read_inception(str(tmp_path / "absent.pth"))

    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    url = torchvision.models.Inception_V3_Weights.IMAGENET1K_V1.url
    torch.save(state, cache / url.rpartition("/")[2])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert torch.equal(read_inception()["fc.weight"], state["fc.weight"])
