"""Curves of a network that adds up its evidence are known in closed form."""

import numpy as np
import pytest
import torch

from pipeline.eval.deletion import area, frame_steps, perturbed, pixel_steps, whole_curve


def rng(seed=0):
    return np.random.default_rng(seed)


def followed(x_CTHW, weight_THW, step_THW, steps, mode):
    """The curve of the network whose answer is the sum of its input times `weight_THW`."""
    inner = [float((x * weight_THW).sum()) for x in perturbed(x_CTHW, step_THW, steps, mode)]
    return whole_curve(np.array(inner), float((x_CTHW * weight_THW).sum()), 0.0, mode)


@pytest.mark.parametrize("steps", [1, 3, 6, 12])
def test_over_frames_a_linear_network_loses_what_its_most_important_frames_hold(steps):
    value_T = np.array([0.5, 3.0, 0.0, 8.0, 1.0, 2.0])
    x_CTHW = torch.ones(2, 6, 3, 4)
    weight_THW = torch.from_numpy(value_T / 24)[:, None, None].expand(6, 3, 4)
    step_T11 = torch.from_numpy(frame_steps(value_T, np.arange(6), steps, rng()))[:, None, None]
    falling = np.sort(value_T)[::-1]
    gone = [sum(falling[: s * 6 // steps]) for s in range(steps + 1)]
    removed = followed(x_CTHW, weight_THW, step_T11, steps, "deletion")
    np.testing.assert_allclose(removed, value_T.sum() - gone, atol=1e-6)
    np.testing.assert_allclose(followed(x_CTHW, weight_THW, step_T11, steps, "insertion"), gone, atol=1e-6)
    assert area(removed) == pytest.approx(np.trapezoid(value_T.sum() - gone, dx=1 / steps))


def test_over_pixels_every_frame_loses_its_own_most_important_ones_and_as_many_as_any_other():
    importance_THW = rng(1).random((3, 4, 5))
    importance_THW[1] += 100.0  # an important frame loses no more pixels than another
    step_THW = pixel_steps(importance_THW, 4, rng())
    kept = perturbed(torch.ones(1, 3, 4, 5), torch.from_numpy(step_THW), 4, "deletion")[:, 0].numpy()
    assert kept.sum(axis=(2, 3)).tolist() == [[15.0] * 3, [10.0] * 3, [5.0] * 3]
    for share, kept_THW in zip((5, 10, 15), kept, strict=True):
        for t in range(3):
            lost = importance_THW[t][kept_THW[t] == 0]
            assert np.array_equal(np.sort(lost), np.sort(importance_THW[t].ravel())[-share:])


@pytest.mark.parametrize("steps", [5, 8])
def test_deletion_and_insertion_divide_the_clip_between_them_at_every_step(steps):
    x_CTHW = torch.randn(3, 4, 6, 5)
    step_THW = torch.from_numpy(pixel_steps(rng(2).random((4, 6, 5)), steps, rng()))
    both = perturbed(x_CTHW, step_THW, steps, "deletion") + perturbed(x_CTHW, step_THW, steps, "insertion")
    assert torch.equal(both, x_CTHW.expand(steps - 1, -1, -1, -1, -1))
    assert (step_THW.min(), step_THW.max()) == (1, steps)


def test_copies_of_a_frame_go_together_with_it_by_the_mean_of_their_values():
    """A short video: frames 3, 4, 5 and three copies of the last one."""
    importance_T = np.array([0.5, 0.4, 0.9, 0.1, 0.1, 0.1])  # frame 5 has 0.3 in the mean
    assert frame_steps(importance_T, np.array([3, 4, 5, 5, 5, 5]), 3, rng()).tolist() == [1, 2, 3, 3, 3, 3]


def test_equals_are_ordered_at_random_and_by_the_generator_alone():
    flat = np.zeros((1, 8, 8))
    first, again, other = (pixel_steps(flat, 4, rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    mean_HW = np.mean([pixel_steps(flat, 4, rng(seed))[0] for seed in range(400)], axis=0)
    assert abs(mean_HW - 2.5).max() < 0.3, "no place goes before another"


def test_areas_of_curves_known_by_heart():
    assert area(np.ones(9)) == 1.0
    assert area(np.linspace(1, 0, 9)) == pytest.approx(0.5)
    assert area(np.array([0.0, 1.0, 1.0])) == 0.75
