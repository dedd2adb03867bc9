"""The transformer is torchvision's, on a clip that shows every frame twice; and no layer mixes what it must not."""

import numpy as np
import pytest
import torch
import torchvision.models.video as published
from torch.nn.functional import cross_entropy
from torchvision.models.swin_transformer import PatchMerging as PublishedMerging

from models import ModelConfig, build_model
from models.swin3d import BLOCKS, WINDOW, PatchMerging
from models.swin_weights import load_kinetics


def ours(**fields):
    torch.manual_seed(1)
    return build_model(
        ModelConfig(**{"backbone": "swin3d", "depth": 8, "width": 8, "classes": 5, "frames": 4} | fields)
    )


@pytest.fixture(scope="module")
def tiny(randomise):
    """torchvision's tiny network with random weights, none of its norms and biases left at 0 or 1."""
    torch.manual_seed(0)
    model = published.swin3d_t(weights=None)
    return randomise(model, torch.randn(1, 3, 4, 32, 32)).eval()


@pytest.mark.parametrize(
    ("frames", "height", "width"),
    [(10, 72, 50), (3, 32, 64)],
    ids=["padded in every axis", "one window"],
)
def test_the_network_is_torchvisions_on_a_clip_that_shows_every_frame_twice(tiny, frames, height, width):
    model = ours(arch="baseline", depth=12, width=96, frames=frames).eval()
    load_kinetics(model, tiny.state_dict())
    seen = {}
    model.perception.fc.register_forward_pre_hook(lambda _, inputs: seen.update(pooled=inputs[0]))
    x = torch.randn(2, 3, frames, height, width, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        twice = tiny.patch_embed(x.repeat_interleave(2, dim=2))
        features = tiny.features[:5](twice).permute(0, 4, 1, 2, 3)
        pooled = tiny.norm(tiny.features[5:](features.permute(0, 2, 3, 4, 1))).mean(dim=(1, 2, 3))
        torch.testing.assert_close(model.extractor(x), features, rtol=1e-4, atol=1e-4)
        model(x)
    torch.testing.assert_close(seen["pooled"], pooled, rtol=1e-4, atol=1e-4)
    assert features.shape[2] == frames, "a token for every frame"


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 7), (1, 1)])
def test_merging_at_stride_2_is_torchvisions_and_at_stride_1_has_its_values_at_every_second_place(height, width):
    torch.manual_seed(0)
    theirs, halving, keeping = PublishedMerging(6), PatchMerging(6, 12, stride=2), PatchMerging(6, 12, stride=1)
    for module in (halving, keeping):
        module.load_state_dict(theirs.state_dict())
    x_BTHWC = torch.randn(2, 3, height, width, 6)
    with torch.no_grad():
        expected = theirs(x_BTHWC)
        torch.testing.assert_close(halving(x_BTHWC), expected)
        kept = keeping(x_BTHWC)
    assert kept.shape == (2, 3, height, width, 12)
    torch.testing.assert_close(kept[:, :, ::2, ::2], expected)


def test_a_frame_reaches_the_tokens_of_its_own_window_alone():
    """In a network of unshifted windows: what mixes frames is attention, and nothing in stem or merging."""
    model = ours(frames=2 * WINDOW[0]).eval()
    for stage in (model.extractor.stage1, model.extractor.stage2, model.extractor.stage3):
        for block in stage.blocks:
            block.attn.shift_size = [0, 0, 0]
    x = torch.randn(1, 3, 16, 32, 32, generator=torch.Generator().manual_seed(3))
    other = x.clone()
    other[:, :, 9] += 1
    with torch.no_grad():
        tokens = (model.extractor.stem(x) - model.extractor.stem(other)).abs().amax(dim=(0, 2, 3, 4))
        moved = (model.extractor(x) - model.extractor(other)).abs().amax(dim=(0, 1, 3, 4))
    assert [t for t in range(16) if tokens[t] > 0] == [9]
    assert (moved[:8] == 0).all()
    assert (moved[8:] > 0).all()


@pytest.mark.parametrize("depth", sorted(BLOCKS))
def test_blocks_shift_heads_and_skipping_are_the_published(depth):
    name, width = {8: ("", 96), 12: ("swin3d_t", 96), 24: ("swin3d_b", 128)}[depth]
    with torch.device("meta"):
        model = ours(depth=depth, width=width, stochastic_depth=0.1)
        theirs = published.__dict__[name](weights=None) if name else None
    stages = [model.extractor.stage1, model.extractor.stage2, model.extractor.stage3, model.perception.stage]
    assert tuple(len(stage.blocks) for stage in stages) == BLOCKS[depth]
    assert sum(BLOCKS[depth]) == depth
    mine = [(b.attn.num_heads, b.attn.shift_size, b.stochastic_depth.p) for stage in stages for b in stage.blocks]
    assert mine[0][2] == 0.0
    assert mine[-1][2] == pytest.approx(0.1)
    if theirs is not None:
        blocks = [block for features in theirs.features[::2] for block in features]
        assert mine == [(b.attn.num_heads, b.attn.shift_size, pytest.approx(b.stochastic_depth.p)) for b in blocks]


def test_blocks_are_skipped_in_training_alone_and_never_in_a_frozen_extractor():
    model = ours(stochastic_depth=0.9, dropout=0.0)
    x = torch.randn(2, 3, 4, 32, 32)
    assert not torch.equal(model(x).logits_BK, model(x).logits_BK)
    model.extractor.eval()
    with torch.no_grad():
        assert torch.equal(model.extractor(x), model.extractor(x))
        model.eval()
        assert torch.equal(model(x).logits_BK, model(x).logits_BK)


def moving_squares(count, seed):
    """Clips of a bright square that moves right (class 1) or left (class 0) over noise; no single frame tells which."""
    draw = np.random.default_rng(seed)
    x_BCTHW = draw.normal(0, 0.2, (count, 3, 8, 28, 28)).astype(np.float32)
    label_B = draw.integers(0, 2, count)
    for b in range(count):
        top, phase = draw.integers(2, 18), draw.integers(0, 5)
        for t in range(8):
            left = phase + 2 * (t if label_B[b] else 7 - t)
            x_BCTHW[b, :, t, top : top + 8, left : left + 8] += 2.0
    return torch.from_numpy(x_BCTHW), torch.from_numpy(label_B)


@pytest.mark.slow
def test_it_learns_motion_from_scratch():
    """The host of the demo recipe, on clips a quarter of its size."""
    model = ours(width=16, classes=2, frames=8, dropout=0.0, merge="conv_bn")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    for step in range(120):
        x_BCTHW, label_B = moving_squares(16, seed=step)
        output = model.train()(x_BCTHW)
        loss = cross_entropy(output.logits_BK, label_B) + cross_entropy(output.att_logits_BK, label_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x_BCTHW, label_B = moving_squares(64, seed=10_000)
    with torch.no_grad():
        right = (model.eval()(x_BCTHW).logits_BK.argmax(dim=1) == label_B).float().mean().item()
    assert right > 0.9
