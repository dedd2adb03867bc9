"""A baseline is the same network without attention, and says so when asked for some."""

import pytest
import torch

from models import ModelConfig, build_model
from models.baseline import Baseline


@pytest.fixture(scope="module")
def baseline():
    return build_model(ModelConfig(arch="baseline", depth=10, width=4, classes=5, frames=4)).eval()


def test_attention_fields_are_none(baseline):
    assert isinstance(baseline, Baseline)
    output = baseline(torch.zeros(2, 3, 4, 32, 32))
    assert output.logits_BK.shape == (2, 5)
    assert output[1:] == (None, None, None)


@pytest.mark.parametrize(
    "argument",
    [
        {"temporal_override_BT": torch.ones(2, 4)},
        {"spatial_override_B1THW": torch.ones(2, 1, 4, 2, 2)},
        {"invert_temporal": True},
        {"invert_spatial": True},
    ],
    ids=lambda argument: next(iter(argument)),
)
def test_attention_arguments_are_refused_by_name(baseline, argument):
    (name,) = argument
    with pytest.raises(ValueError, match=rf"Received: {name}\. .* Fix: use a network with model\.arch=st_abn"):
        baseline(torch.zeros(2, 3, 4, 32, 32), **argument)


@pytest.mark.parametrize("depth", [10, 18, 34, 50, 101, 8, 12, 24])
def test_baseline_and_st_abn_share_extractor_and_perception(depth):
    host = {"depth": depth, "backbone": "swin3d" if depth in (8, 12, 24) else "resnet3d"}
    with torch.device("meta"):
        plain = build_model(ModelConfig(arch="baseline", **host)).state_dict()
        attended = build_model(ModelConfig(arch="st_abn", **host)).state_dict()
    assert plain.keys() == {name for name in attended if name.startswith(("extractor.", "perception."))}
    assert all(attended[name].shape == value.shape for name, value in plain.items())
