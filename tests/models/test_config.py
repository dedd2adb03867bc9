"""A config that names no network is refused where it is written."""

import pytest

from models.config import ModelConfig


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"classes": 1}, ["classes=1", "at least 2"]),
        ({"frames": 0}, ["frames=0"]),
        ({"width": 0}, ["width=0"]),
        ({"dropout": 1.0}, ["dropout", "1.0"]),
        ({"backbone": "c3d"}, ["c3d_temporal_pool"]),
        ({"backbone": "swin3d"}, ["backbone=swin3d", "depth=50", "8, 12, 24"]),
        ({"depth": 12}, ["depth=12", "10, 18, 34, 50, 101"]),
        ({"backbone": "swin3d", "depth": 12, "width": 100}, ["width=100", "multiple of 32"]),
        ({"stochastic_depth": 0.1}, ["stochastic_depth=0.1", "resnet3d"]),
        ({"backbone": "swin3d", "depth": 12, "width": 96, "stochastic_depth": 1.0}, ["stochastic_depth=1.0"]),
        ({"att_stage_init": "copy_stage4", "merge": "concat"}, ["copy_stage4", "concat"]),
    ],
    ids=str,
)
def test_impossible_networks_are_refused_with_a_remedy(fields, words):
    with pytest.raises(ValueError, match="Fix: ") as caught:
        ModelConfig(**fields)
    assert all(word in str(caught.value) for word in words)
