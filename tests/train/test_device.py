"""Normalisation, memory format and the seed of a step."""

import numpy as np
import pytest
import torch

from pipeline.train.device import autocast, seed_step, to_model_input

CPU = torch.device("cpu")


@pytest.fixture
def frames():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3), dtype=np.uint8))


def test_frames_are_normalised_by_channel_in_rgb_order(frames):
    x_BCTHW = to_model_input(frames, CPU, "fp32", channels_last=False)
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    expected = ((frames.numpy() - mean) / std).transpose(0, 4, 1, 2, 3)
    assert x_BCTHW.dtype == torch.float32
    np.testing.assert_allclose(x_BCTHW.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels_last", [False, True])
def test_memory_format_is_as_asked_and_changes_no_value(frames, channels_last):
    x_BCTHW = to_model_input(frames, CPU, "fp32", channels_last)
    wanted = torch.channels_last_3d if channels_last else torch.contiguous_format
    assert x_BCTHW.is_contiguous(memory_format=wanted)
    assert torch.equal(x_BCTHW, to_model_input(frames, CPU, "fp32", not channels_last))


def test_the_batch_itself_is_never_written(frames):
    before = frames.clone()
    to_model_input(frames, CPU, "bf16", channels_last=True).zero_()
    assert torch.equal(frames, before)


def test_bf16_inputs_meet_an_autocast_that_computes_in_bf16(frames):
    x_BCTHW = to_model_input(frames, CPU, "bf16", channels_last=False)
    assert x_BCTHW.dtype == torch.bfloat16
    with autocast(CPU, "bf16"):
        assert torch.nn.Conv3d(3, 2, 1)(x_BCTHW).dtype == torch.bfloat16
    with autocast(CPU, "fp32"):
        assert torch.nn.Conv3d(3, 2, 1)(x_BCTHW.float()).dtype == torch.float32


def test_a_steps_seed_depends_on_seed_step_and_rank_only():
    def draw(*key):
        seed_step(*key)
        return torch.rand(4)

    first = draw(0, 5, 1)
    torch.rand(100)
    assert torch.equal(draw(0, 5, 1), first)
    others = [draw(1, 5, 1), draw(0, 6, 1), draw(0, 5, 0), draw(0, 1, 5)]
    assert all(not torch.equal(first, other) for other in others)
