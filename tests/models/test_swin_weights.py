"""Kinetics weights fit the whole trunk or are refused; what becomes of every tensor is said."""

import pytest
import torch
import torchvision.models.video as published

from models import ModelConfig, build_model
from models.swin_weights import NETWORKS, load_kinetics, read_kinetics, trunk_name


def network(**fields):
    torch.manual_seed(1)
    sizes = {"backbone": "swin3d", "depth": 12, "width": 96, "classes": 5, "frames": 4}
    return build_model(ModelConfig(**sizes | fields))


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return published.swin3d_t(weights=None).state_dict()


def test_every_tensor_is_copied_but_the_classifiers_and_the_stem_is_the_sum_of_its_two_taps(state):
    model = network()
    own = {name: value.clone() for name, value in model.state_dict().items()}
    report = load_kinetics(model, state)
    assert {name for name, _ in report.skipped} == {"head.weight", "head.bias"}
    assert len(report.copied) + 2 == len(state)
    after = model.state_dict()
    assert set(report.kept) == {n for n in own if n.startswith(("attention.", "merge.", "perception.fc."))}
    assert all(torch.equal(after[name], own[name]) for name in report.kept)
    for theirs, value in state.items():
        if theirs not in ("head.weight", "head.bias", "patch_embed.proj.weight"):
            assert torch.equal(after[trunk_name(theirs)], value), theirs
    taps = state["patch_embed.proj.weight"]
    assert torch.equal(after["extractor.stem.proj.weight"][:, :, 0], taps[:, :, 0] + taps[:, :, 1])


def test_the_attention_stage_may_start_as_stage_4_with_its_weights(state):
    model = network(att_stage_init="copy_stage4")
    report = load_kinetics(model, state)
    assert any(name.startswith("attention.stage.") for name in report.copied)
    assert torch.equal(model.attention.stage.merging.reduction.weight, state["features.5.reduction.weight"])


def test_concat_keeps_the_merging_in_front_of_stage_4_and_says_so(state):
    report = load_kinetics(network(merge="concat"), state)
    doubled = {name for name, why in report.skipped if "concat" in why}
    assert doubled == {"features.5.norm.weight", "features.5.norm.bias", "features.5.reduction.weight"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"depth": 8}, ["has no place", "model.depth"]),
        ({"depth": 24}, ["has no source"]),
        ({"width": 32}, ["extractor", "not"]),
        ({"backbone": "resnet3d", "depth": 10, "width": 8}, ["backbone=resnet3d", "swin3d"]),
    ],
    ids=str,
)
def test_another_network_is_refused_and_left_as_it_was(fields, words, state):
    model = network(**fields)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="Fix: ") as caught:
        load_kinetics(model, state)
    assert any(word in str(caught.value) for word in words)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("depth", "width"), sorted(NETWORKS))
def test_the_networks_have_the_names_and_shapes_of_torchvisions(depth, width):
    with torch.device("meta"):
        theirs = published.__dict__[NETWORKS[depth, width]](weights=None).state_dict()
        ours = network(depth=depth, width=width, arch="baseline").state_dict()
    placed = {trunk_name(name): value.shape for name, value in theirs.items() if trunk_name(name)}
    placed["extractor.stem.proj.weight"] = (width, 3, 1, 4, 4)
    assert placed == {name: value.shape for name, value in ours.items() if not name.startswith("perception.fc.")}


def test_an_empty_path_means_torchvisions_kinetics_weights(state, tmp_path, monkeypatch):
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(state, cache / published.Swin3D_T_Weights.KINETICS400_V1.url.rpartition("/")[2])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    read = read_kinetics(ModelConfig(backbone="swin3d", depth=12, width=96))
    assert torch.equal(read["patch_embed.proj.weight"], state["patch_embed.proj.weight"])


def test_a_file_serves_any_network_and_no_file_only_torchvisions(state, tmp_path):
    torch.save(state, tmp_path / "s.pth")
    config = ModelConfig(backbone="swin3d", depth=8, width=8)
    assert read_kinetics(config, str(tmp_path / "s.pth")).keys() == state.keys()
    with pytest.raises(ValueError, match=r"depth=8, width=8.*12 and 96.*init\.source=random"):
        read_kinetics(config)
