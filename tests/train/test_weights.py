"""First weights: random ones stay, ImageNet's are read from a file and reported."""

import pyarrow.fs as pafs
import pytest
import torch
from torchvision.models import resnet18
from torchvision.models.video import swin3d_t

from models import ModelConfig, build_model
from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.train.clip_task import ClipTask
from pipeline.train.recipe import InitConfig, Recipe
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


def test_a_transformer_takes_kinetics_weights_from_a_file(tmp_path, capsys):
    torch.manual_seed(1)
    theirs = swin3d_t(weights=None).state_dict()
    torch.save(theirs, tmp_path / "s.pth")
    module = build_model(ModelConfig(backbone="swin3d", depth=12, width=96, classes=3, frames=4))
    first_weights(module, InitConfig(source="kinetics400", path=str(tmp_path / "s.pth")), log=True)
    assert torch.equal(module.state_dict()["perception.norm.weight"], theirs["norm.weight"])
    assert "2 skipped (head.weight" in capsys.readouterr().out


def test_kinetics_weights_are_of_no_resnet(module, tmp_path):
    torch.save(resnet18().state_dict(), tmp_path / "r18.pth")
    with pytest.raises(UserError, match=r"backbone=resnet3d.*swin3d"):
        first_weights(module, InitConfig(source="kinetics400", path=str(tmp_path / "r18.pth")), log=False)


@pytest.mark.parametrize("source", ["imagenet2d", "authors"])
def test_an_absent_file_is_the_users_error(module, source, tmp_path):
    with pytest.raises(UserError, match=r"does not exist.*absent\.pt"):
        first_weights(module, InitConfig(source=source, path=str(tmp_path / "absent.pt")), log=False)


@pytest.fixture
def bucket(monkeypatch):
    """An object store in this process's memory, behind s3://."""
    store = pafs._MockFileSystem()
    monkeypatch.setattr(storage, "_connect", lambda scheme, authority, query: (store, f"{authority}/"))
    return store


def test_weights_come_from_an_object_store_too(module, bucket, tmp_path, capsys):
    torch.manual_seed(1)
    flat = resnet18().state_dict()
    torch.save(flat, tmp_path / "r18.pth")
    bucket.create_dir("b")
    with bucket.open_output_stream("b/r18.pth") as file:
        file.write((tmp_path / "r18.pth").read_bytes())
    first_weights(module, InitConfig(source="imagenet2d", path="s3://b/r18.pth"), log=True)
    assert torch.equal(module.state_dict()["extractor.stem.conv.weight"][:, :, 0], flat["conv1.weight"])
    assert capsys.readouterr().out.startswith("first weights from s3://b/r18.pth: ")
    with pytest.raises(UserError, match=r"cannot be read.*s3://b/absent\.pth"):
        first_weights(module, InitConfig(source="imagenet2d", path="s3://b/absent.pth"), log=False)


def test_a_file_from_an_object_store_is_named_by_its_uri(module, bucket):
    bucket.create_dir("b")
    with bucket.open_output_stream("b/bad.pth") as file:
        file.write(b"no weights")
    with pytest.raises(UserError, match=r"Received: s3://b/bad\.pth: "):
        first_weights(module, InitConfig(source="imagenet2d", path="s3://b/bad.pth"), log=False)


def test_the_driver_refuses_weights_of_another_network(tmp_path):
    torch.save(resnet18().state_dict(), tmp_path / "r18.pth")
    model = ModelConfig(depth=34, classes=3, frames=32)
    init = InitConfig(source="imagenet2d", path=str(tmp_path / "r18.pth"))
    with pytest.raises(UserError, match="do not fit the network"):
        ClipTask(Recipe(name="r", model=model, init=init)).check_first_weights()
    ClipTask(Recipe(name="r", model=model)).check_first_weights()
