"""Each method says its own: attention what the network used, Grad-CAM its definition, chance nothing twice."""

import numpy as np
import pytest
import torch

from models import ModelConfig, build_model
from models.grad_cam import clip_cam
from pipeline.eval.explainers import NAMES, explain


@pytest.fixture(params=["resnet3d", "swin3d"])
def sizes(request):
    return {"backbone": request.param, "depth": {"resnet3d": 10, "swin3d": 8}[request.param], "width": 8}


def network(arch, sizes):
    torch.manual_seed(0)
    return build_model(ModelConfig(arch=arch, classes=3, frames=4, **sizes)).eval()


X = torch.randn(2, 3, 4, 32, 48, generator=torch.Generator().manual_seed(0))
LABEL = torch.tensor([2, 0])


def test_all_methods_speak_of_the_same_frames_and_places(sizes):
    model = network("st_abn", sizes)
    found = explain(model, X, LABEL, ["a", "b"], seed=0)
    assert list(found) == list(NAMES)
    assert {one.frames_BT.shape for one in found.values()} == {(2, 4)}
    assert {one.places_BThw.shape for one in found.values()} == {(2, 4, 2, 3)}
    with torch.no_grad():
        output = model(X)
    np.testing.assert_array_equal(found["attention"].frames_BT, output.temporal_B1T11[:, 0, :, 0, 0].numpy())
    np.testing.assert_array_equal(found["attention"].places_BThw, output.spatial_B1THW[:, 0].numpy())
    cam = clip_cam(model, X, LABEL, "merge").numpy()
    np.testing.assert_array_equal(found["grad_cam"].places_BThw, cam)
    np.testing.assert_allclose(found["grad_cam"].frames_BT, cam.mean(axis=(2, 3)), rtol=1e-5)


def test_a_baseline_has_no_attention_to_show(sizes):
    assert list(explain(network("baseline", sizes), X, LABEL, ["a", "b"], seed=0)) == ["grad_cam", "random"]


def test_a_random_map_belongs_to_its_clip_and_seed_whatever_its_neighbours(sizes):
    model = network("baseline", sizes)
    pair = explain(model, X, LABEL, ["a", "b"], seed=0)["random"]
    alone = explain(model, X[1:], LABEL[1:], ["b"], seed=0)["random"]
    other = explain(model, X[1:], LABEL[1:], ["b"], seed=1)["random"]
    np.testing.assert_array_equal(pair.places_BThw[1], alone.places_BThw[0])
    np.testing.assert_array_equal(pair.frames_BT[1], alone.frames_BT[0])
    assert not np.array_equal(alone.places_BThw, other.places_BThw)
    assert not np.array_equal(pair.places_BThw[0], pair.places_BThw[1])
    assert not np.array_equal(pair.places_BThw[0].mean(axis=(1, 2)), pair.frames_BT[0])
