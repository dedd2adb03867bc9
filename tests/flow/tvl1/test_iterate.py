"""Iterations against the formulas in plain numpy and double precision."""

import numpy as np
import pytest

from pipeline.flow.tvl1.iterate import Weights, run_block
from pipeline.flow.tvl1.workspace import GUARD, PLANES, STATE_A, STATE_B, allocate, plane_pitch

TAU, LAMBDA, THETA = 0.25, 0.15, 0.3
WEIGHTS = Weights(np.float32(LAMBDA * THETA), np.float32(THETA), np.float32(TAU / THETA))


def backward(p_HW, axis):
    return np.diff(p_HW, axis=axis, prepend=0)


def forward(u_HW, axis):
    last = [slice(None), slice(None)]
    last[axis] = slice(-1, None)
    return np.diff(u_HW, axis=axis, append=u_HW[tuple(last)])


def by_the_book(gradient_2HW, residual_HW, iterations):
    """Zach et al. (2007) as the module's docstring writes it; returns u and the squared changes."""
    u_2HW, p_22HW = np.zeros_like(gradient_2HW), np.zeros((2, *gradient_2HW.shape))
    changes = []
    for _ in range(iterations):
        rho_HW = residual_HW + (gradient_2HW * u_2HW).sum(0)
        f_HW = np.clip(rho_HW / (gradient_2HW**2).sum(0), -LAMBDA * THETA, LAMBDA * THETA)
        divergence_2HW = np.stack([backward(p[0], 1) + backward(p[1], 0) for p in p_22HW])
        step_2HW = THETA * divergence_2HW - f_HW * gradient_2HW
        u_2HW = u_2HW + step_2HW
        changes.append((step_2HW**2).sum())
        slope_22HW = np.stack([np.stack([forward(u, 1), forward(u, 0)]) for u in u_2HW])
        length_2HW = np.hypot(slope_22HW[:, 0], slope_22HW[:, 1])
        p_22HW = (p_22HW + TAU / THETA * slope_22HW) / (1 + TAU / THETA * length_2HW)[:, None]
    return u_2HW, changes


@pytest.mark.parametrize(("height", "width"), [(16, 16), (19, 33), (40, 47), (21, 80)])
@pytest.mark.parametrize("blocks", [(1, 1, 1), (3, 2, 4), (8,), (1, 30)])
def test_blocks_of_any_length_follow_the_formulas(height, width, blocks):
    rng = np.random.default_rng(width)
    gradient_2HW, residual_HW = rng.normal(0, 5, (2, height, width)), rng.normal(0, 9, (height, width))
    work, pitch = allocate(((height, width),)), plane_pitch(width)
    rows = work.state[: (height + 1) * PLANES * pitch].reshape(height + 1, PLANES, pitch)
    image = rows[1:, :, GUARD : GUARD + width].transpose(1, 0, 2)
    image[:2], image[2], image[3] = gradient_2HW, 1 / (gradient_2HW**2).sum(0), residual_HW

    source, changes = STATE_A, []
    for block in blocks:
        target = STATE_A + STATE_B - source if block > 1 else source
        run_block(work.state, height, width, pitch, source, target, block, WEIGHTS, work.errors)
        changes += list(work.errors[:block])
        source = target
    expected_2HW, expected = by_the_book(gradient_2HW, residual_HW, sum(blocks))
    np.testing.assert_allclose(image[source : source + 2], expected_2HW, atol=2e-6)
    np.testing.assert_allclose(changes, expected, rtol=1e-4)
