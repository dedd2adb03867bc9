"""A loaded network answers as the network that was saved; inversions reach it."""

import numpy as np
import pytest
import torch

from models import ModelConfig, build_model
from pipeline.core.config import to_dict
from pipeline.core.errors import UserError
from pipeline.eval.load import load
from pipeline.train.recipe import Recipe, RunRecipe

MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


@pytest.fixture(name="x_BTHWC", scope="module")
def clips():
    return np.random.default_rng(0).integers(0, 256, size=(2, 8, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def by_hand(x_BTHWC):
    """The saved network, built again from its seed, on input normalised in NumPy."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(depth=10, width=8, classes=3, frames=8)).eval()
    x_BCTHW = torch.from_numpy(((x_BTHWC - MEAN) / STD).astype(np.float32)).permute(0, 4, 1, 2, 3)
    return model, x_BCTHW


@pytest.mark.parametrize(
    ("invert", "options"),
    [
        ("none", {}),
        ("spatial", {"invert_spatial": True}),
        ("temporal", {"invert_temporal": True}),
        ("both", {"invert_spatial": True, "invert_temporal": True}),
    ],
)
def test_answers_equal_a_direct_forward_pass(tiny_checkpoint, x_BTHWC, by_hand, invert, options):
    answer = load(tiny_checkpoint).answer(x_BTHWC, invert)
    model, x_BCTHW = by_hand
    with torch.inference_mode():
        output = model(x_BCTHW, **options)
    np.testing.assert_allclose(answer.logits_BK, output.logits_BK, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answer.att_logits_BK, output.att_logits_BK, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answer.spatial_BTHW, output.spatial_B1THW[:, 0], atol=1e-5)
    np.testing.assert_allclose(answer.temporal_BT, output.temporal_B1T11[:, 0, :, 0, 0], atol=1e-5)


def test_inverted_attention_is_one_minus_attention_and_changes_the_scores(tiny_checkpoint, x_BTHWC):
    network = load(tiny_checkpoint)
    plain, spatial, temporal = (network.answer(x_BTHWC, i) for i in ("none", "spatial", "temporal"))
    np.testing.assert_allclose(spatial.spatial_BTHW, 1 - plain.spatial_BTHW, atol=1e-6)
    np.testing.assert_allclose(temporal.temporal_BT, 1 - plain.temporal_BT, atol=1e-6)
    assert (spatial.temporal_BT == plain.temporal_BT).all()
    for other in (spatial, temporal):
        assert np.abs(other.logits_BK - plain.logits_BK).max() > 1e-6


def test_a_network_comes_in_eval_mode_with_its_facts(tiny_checkpoint):
    network = load(tiny_checkpoint)
    assert not any(module.training for module in network.model.modules())
    assert network.has_attention
    assert network.classes[0] == "Lifting something up"
    assert network.step == 3
    assert network.checkpoint == tiny_checkpoint
    expected = build_model(network.recipe.model)
    assert network.parameters == sum(p.numel() for p in expected.parameters())


def test_a_baseline_answers_without_attention_and_has_nothing_to_invert(make_checkpoint, x_BTHWC):
    network = load(make_checkpoint("baseline"))
    answer = network.answer(x_BTHWC)
    assert answer.logits_BK.shape == (2, 3)
    assert answer.att_logits_BK is answer.spatial_BTHW is answer.temporal_BT is None
    with pytest.raises(UserError, match="--invert both for a baseline"):
        network.answer(x_BTHWC, "both")


def test_bfloat16_stays_near_float32(tiny_checkpoint, x_BTHWC):
    exact, rounded = (load(tiny_checkpoint, precision=p).answer(x_BTHWC) for p in ("fp32", "bf16"))
    assert rounded.temporal_BT.dtype == np.float32
    assert np.abs(rounded.logits_BK - exact.logits_BK).max() < 0.05
    assert np.abs(rounded.logits_BK - exact.logits_BK).max() > 0


def test_a_folder_without_a_checkpoint_and_an_absent_gpu_are_named(tmp_path, tiny_checkpoint):
    with pytest.raises(UserError, match="no checkpoint"):
        load(str(tmp_path))
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="GPU"):
            load(tiny_checkpoint, gpu=True)


def test_a_checkpoint_of_another_kind_of_training_is_named(make_checkpoint):
    with pytest.raises(UserError, match=r"another kind of training.*recipe other, which has no clip, model"):
        load(make_checkpoint(recipe=to_dict(RunRecipe(name="other"))))


def test_a_recipe_older_than_a_field_is_read_with_its_default(make_checkpoint, tiny_checkpoint):
    recipe = to_dict(load(tiny_checkpoint).recipe)
    del recipe["optim"]["name"], recipe["view"]
    assert load(make_checkpoint(recipe=recipe)).recipe == load(tiny_checkpoint).recipe
    assert to_dict(Recipe(name="r"))["optim"]["name"] == "sgd"
