"""Vector operations against numpy."""

import numpy as np

from pipeline.flow.tvl1 import simd
from pipeline.flow.tvl1.simd import compiled

A = np.random.default_rng(0).uniform(-9, 9, 80).astype(np.float32)


@compiled
def arithmetic(a, out):
    x, y = simd.load(a, 0), simd.load(a, 16)
    simd.store(out, 0, x + y)
    simd.store(out, 16, x - y)
    simd.store(out, 32, x * y)
    simd.store(out, 48, x / y)
    simd.store(out, 64, simd.smaller(x, y))
    simd.store(out, 80, simd.larger(x, y))
    simd.store(out, 96, simd.floor(x))
    simd.store(out, 112, simd.reciprocal_root(x * x))
    simd.store(out, 128, simd.splat(a[3]))
    simd.store(out, 144, simd.ramp())
    return simd.total(x)


def test_arithmetic_is_lane_by_lane():
    out = np.zeros(160, np.float32)
    total = arithmetic(A, out)
    x, y = A[:16].astype(np.float64), A[16:32].astype(np.float64)
    expected = [x + y, x - y, x * y, x / y, np.minimum(x, y), np.maximum(x, y), np.floor(x), 1 / np.abs(x)]
    expected += [np.full(16, A[3]), np.arange(16)]
    np.testing.assert_allclose(out.reshape(10, 16), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(total, x.sum(), rtol=1e-5)


@compiled
def moves(a, out, integers, count):
    x, y = simd.load(a, 1), simd.load(a, 17)
    simd.store(out, 0, simd.from_left(x, y))
    simd.store(out, 16, simd.from_right(x, y))
    simd.store(out, 32, simd.first(x, count))
    simd.store(out, 48, simd.in_fours(a[0], a[1], a[2], a[3]))
    simd.store_sum_of_fours(out, 64, x)
    simd.put(out, 68, simd.get(a, 5))
    simd.store_integers(integers, 0, simd.floor(x))
    simd.put(out, 69, np.float32(simd.get_integer(integers, 2)))


def test_lanes_move_where_they_should():
    for count in (-3, 0, 1, 15, 16, 40):
        out, integers = np.zeros(70, np.float32), np.zeros(16, np.int32)
        moves(A, out, integers, count)
        x = A[1:17]
        np.testing.assert_array_equal(out[:16], A[16:32])
        np.testing.assert_array_equal(out[16:32], A[2:18])
        np.testing.assert_array_equal(out[32:48], np.where(np.arange(16) < count, x, 0))
        np.testing.assert_array_equal(out[48:64], A[:4].repeat(4))
        np.testing.assert_allclose(out[64:68], x.reshape(4, 4).sum(0), rtol=1e-5, atol=1e-5)
        assert out[68] == A[5]
        np.testing.assert_array_equal(integers, np.floor(x))
        assert out[69] == np.floor(x[2])


@compiled
def interleave(a, texels, out):
    simd.store_interleaved(texels, 1, simd.load(a, 0), simd.load(a, 16), simd.load(a, 32))
    x, y, z = simd.load_interleaved(texels, 1)
    simd.store(out, 0, x)
    simd.store(out, 16, y)
    simd.store(out, 32, z)


def test_interleaving_and_back():
    texels, out = np.full(66, 7, np.float32), np.zeros(48, np.float32)
    interleave(A, texels, out)
    expected = np.stack([*A[:48].reshape(3, 16), np.zeros(16)], -1)
    np.testing.assert_array_equal(texels[1:65].reshape(16, 4), expected)
    assert texels[0] == texels[65] == 7
    np.testing.assert_array_equal(out, A[:48])
