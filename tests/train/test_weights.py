"""First weights: random ones stay, ImageNet's are read from a file and reported."""

import pytest
import torch
from torchvision.models import resnet18

from models import ModelConfig, build_model
from pipeline.train.recipe import InitConfig
from pipeline.train.weights import first_weights


@pytest.fixture
def module():
    torch.manual_seed(0)
    return build_model(ModelConfig(depth=18, classes=3, frames=4))


def test_random_weights_are_left_alone(module, capsys):
    before = {name: value.clone() for name, value in module.state_dict().items()}
    first_weights(module, InitConfig(source="random"), log=True)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert capsys.readouterr().out == ""


def test_a_2d_network_is_inflated_and_the_first_worker_says_so(module, tmp_path, capsys):
    torch.manual_seed(1)
    flat = resnet18().state_dict()
    torch.save(flat, tmp_path / "r18.pth")
    first_weights(module, InitConfig(source="imagenet2d", path=str(tmp_path / "r18.pth")), log=True)
    stem = module.state_dict()["extractor.stem.conv.weight"]
    assert torch.equal(stem[:, :, 0], flat["conv1.weight"])
    shown = capsys.readouterr().out
    assert shown.startswith(f"first weights from {tmp_path}/r18.pth: ")
    assert "tensors copied" in shown
    first_weights(module, InitConfig(source="imagenet2d", path=str(tmp_path / "r18.pth")), log=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("source", ["imagenet2d", "authors"])
def test_an_absent_file_is_named(module, source, tmp_path):
    with pytest.raises(ValueError, match=r"absent\.pt"):
        first_weights(module, InitConfig(source=source, path=str(tmp_path / "absent.pt")), log=False)
