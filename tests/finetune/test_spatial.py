"""Maps follow the pixels: cut, mirrored and resized as the feed cuts, mirrors and resizes the pictures under them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from pipeline.core.config import override
from pipeline.data.config import AugmentConfig, ClipConfig
from pipeline.data.feed.augment import Colour, apply, draw
from pipeline.data.feed.clips import clip_generator
from pipeline.data.feed.sampling import draw_indices
from pipeline.data.store.catalog import CatalogRow
from pipeline.finetune.spatial import Place, cut, place_of
from pipeline.finetune.task import EditTask

VIDEO = CatalogRow(id="v", path="v", label=0, split=("train",), status="readable", frames=20, height=280, width=420)


def smooth_map(seed):
    coarse = np.random.default_rng(seed).random((3, 3)).astype(np.float32)
    return cv2.resize(coarse, (14, 14), interpolation=cv2.INTER_LINEAR)


@pytest.mark.parametrize("crop", ["random_resized", "multiscale_corner", "center"])
@pytest.mark.parametrize("epoch", range(6))
def test_a_map_goes_where_the_pixels_under_it_go(crop, epoch):
    clip, augment = ClipConfig(frames=8, size=112, short_side=140), AugmentConfig(crop=crop)
    map_HW = smooth_map(epoch)
    picture_HW = cv2.resize(map_HW, (VIDEO.width, VIDEO.height), interpolation=cv2.INTER_LINEAR)
    rng = clip_generator(3, epoch, "v")
    draw_indices(20, clip, rng)
    decision = replace(draw(rng, augment, VIDEO.height, VIDEO.width, may_flip=True), colour=Colour())
    frames_THWC = np.repeat((255 * picture_HW).round().astype(np.uint8)[None, :, :, None], 3, axis=3)
    seen_HW = apply(frames_THWC, decision, clip)[0, :, :, 0].astype(np.float32) / 255

    place = place_of(VIDEO, clip, augment, (0,), seed=3, epoch=epoch)
    found_hw = cut(torch.from_numpy(map_HW)[None], place, 7, 7)[0].numpy()
    expected_hw = cv2.resize(seen_HW, (7, 7), interpolation=cv2.INTER_AREA)
    assert place.flip == decision.flip
    error = np.abs(found_hw - expected_hw).max()
    assert error < 0.05
    mirrored_hw = cut(torch.from_numpy(map_HW)[None], replace(place, flip=not place.flip), 7, 7)[0].numpy()
    assert np.abs(mirrored_hw - expected_hw).max() > 2 * error


def test_the_whole_picture_at_its_own_size_is_itself_and_a_flip_its_mirror_image():
    maps_NHW = torch.rand(2, 14, 14, generator=torch.Generator().manual_seed(0))
    whole, mirrored = Place(0, 0, 1, 1, False), Place(0, 0, 1, 1, True)
    torch.testing.assert_close(cut(maps_NHW, whole, 14, 14), maps_NHW)
    torch.testing.assert_close(cut(maps_NHW, mirrored, 14, 14), maps_NHW.flip(2))


def test_the_spatial_term_is_off_by_default_and_counts_marked_frames_alone(
    recipe_from, sealed, row, make_batch, settings
):
    marked = {"spatial_frames": (2, 9), "spatial_maps": ((1.0,) * 196, (1.0,) * 196)}
    recipe = recipe_from(sealed(row("train-0", 12, 0, **marked)))
    module = EditTask(recipe).build()
    with torch.no_grad():  # sigmoid: 0, the maps say 1
        module.attention.spatial_head.bn.weight.zero_()
        module.attention.spatial_head.bn.bias.fill_(-200.0)
    batch = make_batch(["train-0", "train-1"])  # frames 0 to 7
    assert "spatial" not in EditTask(recipe).losses(module, batch, settings())
    losses = EditTask(override(recipe, ["edits.gamma_s=4"])).losses(module, batch, settings())
    assert losses["spatial"].item() == pytest.approx(4 / 2)
    parts = sum(losses[name].item() for name in ("perception", "attention", "temporal", "spatial"))
    assert losses["total"].item() == pytest.approx(parts, rel=1e-6)
    nothing = make_batch(["train-0"], idx_BT=[[0, 1, 3, 4, 5, 6, 7, 8]])
    assert EditTask(override(recipe, ["edits.gamma_s=4"])).losses(module, nothing, settings())["spatial"].item() == 0
