"""Maps follow the pixels: cut, mirrored and resized as the feed cuts, mirrors and resizes the pictures under them."""

import itertools
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

from pipeline.core.config import override
from pipeline.core.errors import UserError
from pipeline.data.config import AugmentConfig, ClipConfig
from pipeline.data.feed.augment import Colour, apply, draw
from pipeline.data.feed.clips import clip_generator
from pipeline.data.feed.place import Place, place_of
from pipeline.data.feed.sampling import draw_indices
from pipeline.data.store.catalog import CatalogRow
from pipeline.data.store.prepared import PreparedDataset
from pipeline.finetune.spatial import cut, laid_out
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


@pytest.mark.parametrize("side", [2, 4, 7, 9])
def test_a_coarse_network_gets_the_mean_over_the_cells_that_its_cell_covers(side):
    painted_HW = np.random.default_rng(0).choice([0.0, 0.5, 1.0], (14, 14)).astype(np.float32)
    found_hw = cut(torch.from_numpy(painted_HW)[None], Place(0, 0, 1, 1, False), side, side)[0].numpy()
    np.testing.assert_allclose(found_hw, cv2.resize(painted_HW, (side, side), interpolation=cv2.INTER_AREA), atol=1e-6)
    assert found_hw.mean() == pytest.approx(painted_HW.mean(), abs=1e-6)


def test_a_clips_map_lies_on_the_picture_where_the_clip_was_cut():
    map_hw = torch.rand(1, 7, 7, generator=torch.Generator().manual_seed(0))
    for flip in (False, True):
        place = Place(top=0.25, left=0.5, height=0.5, width=0.5, flip=flip)
        whole_HW = laid_out(map_hw, place, 28, 28)[0]
        shown_hw = whole_HW[7:21, 14:28]
        assert whole_HW.sum().item() == pytest.approx(shown_hw.sum().item())
        # And back: the clip's own view of that picture, but for two interpolations.
        back_hw = cut(whole_HW[None], place, 7, 7)[0]
        assert (back_hw - map_hw[0]).abs().max() < 0.3
        assert torch.corrcoef(torch.stack([back_hw.flatten(), map_hw.flatten()]))[0, 1] > 0.9


def test_the_spatial_term_and_its_gradient_against_numpy(recipe_from, sealed, row, make_batch, settings):
    """L_spat and dL/dMs by hand: 2 gamma_s (Ms - M's) / (cells * frames with a map * clips of the step)."""
    rng = np.random.default_rng(2)
    maps = rng.choice([0.0, 0.5, 1.0], (3, 196)).astype(np.float32)
    marked = {"spatial_frames": (1, 4, 9), "spatial_maps": tuple(tuple(cells.tolist()) for cells in maps)}
    recipe = recipe_from(sealed(row("train-0", 12, 0, **marked)))
    task = EditTask(override(recipe, ["edits.gamma_s=4", "edits.gamma_t=0", "augment.crop=center", "augment.flip=0"]))
    module = task.build()
    batch = make_batch(["train-1", "train-0"], samples_in_step=5)  # frames 0 to 7, so 1 and 4 have a map
    kept = []

    def keep(_module, _inputs, output):
        output.retain_grad()
        kept.append(output)

    module.attention.spatial_head.register_forward_hook(keep)
    losses = task.losses(module, batch, settings())
    losses["spatial"].backward()
    (spatial_B1THW,) = kept
    side, video = spatial_B1THW.shape[-1], dataset_row(recipe, "train-0")
    scale = 32 / min(video.height, video.width)
    high, wide = round(video.height * scale), round(video.width * scale)
    gradient_B1THW, expected = np.zeros(tuple(spatial_B1THW.shape)), 0.0
    for t, cells in ((1, maps[0]), (4, maps[1])):
        off_hw = spatial_B1THW[1, 0, t].detach().numpy() - _seen_by_hand(cells.reshape(14, 14), high, wide, 32, side)
        expected += 4 * (off_hw**2).mean() / 2 / 5
        gradient_B1THW[1, 0, t] = 4 * 2 * off_hw / side**2 / 2 / 5
    assert losses["spatial"].item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(spatial_B1THW.grad.numpy(), gradient_B1THW, atol=1e-6)
    assert np.abs(gradient_B1THW).max() > 0.05


def dataset_row(recipe, video):
    return next(row for row in PreparedDataset.open(recipe.data.root).rows if row.id == video)


def _seen_by_hand(map_HW, high, wide, size, side):
    """The centre crop of a picture of high x wide, in exact fractions: each cell's mean of the cells that it covers."""
    top, left = (high - size) // 2, (wide - size) // 2
    seen_hw = np.empty((side, side))
    for i, j in itertools.product(range(side), repeat=2):
        down = _lengths(Fraction(top * side + i * size, side * high), Fraction(size, side * high))
        across = _lengths(Fraction(left * side + j * size, side * wide), Fraction(size, side * wide))
        area = sum(a * b * Fraction(float(map_HW[y, x])) for y, a in down.items() for x, b in across.items())
        seen_hw[i, j] = float(area / (sum(down.values()) * sum(across.values())))
    return seen_hw


def _lengths(start, size, cells=14):
    """How much of a stretch lies in each cell that it meets."""
    shares = {c: min(start + size, Fraction(c + 1, cells)) - max(start, Fraction(c, cells)) for c in range(cells)}
    return {cell: share for cell, share in shares.items() if share > 0}


def test_a_spatial_term_without_a_map_to_learn_from_is_refused(recipe_from, sealed, row):
    recipe = recipe_from(sealed(row("train-0", 12, 0)))
    with pytest.raises(UserError, match=r"anybody pointed[\s\S]*--spatial"):
        EditTask(override(recipe, ["edits.gamma_s=1"]))
