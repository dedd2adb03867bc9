"""Every curve is drawn where its numbers say."""

import numpy as np

from pipeline.eval.faithful import KINDS, Benchmark, Curve
from pipeline.eval.metrics import Interval
from pipeline.explain import deletion_curves
from pipeline.explain.deletion_curves import COLOURS, HEIGHT, WIDTH, draw_curves

LEVELS = {"attention": 0.8, "grad_cam": 0.4, "random": 0.1}


def benchmark(methods):
    def curve(level):
        return Curve((level,) * 9, Interval(level, level, level), None)

    return Benchmark(3, 8, {method: dict.fromkeys(KINDS, curve(LEVELS[method])) for method in methods}, ())


def panels(sheet_HWC):
    """The upper left corner of each panel's plot, by the position that the module's own constants give it."""
    pad = deletion_curves.MARGIN + deletion_curves.GAP
    tall = (len(sheet_HWC) - deletion_curves.HEADER - deletion_curves.MARGIN) // 2
    return [
        (deletion_curves.HEADER + row * tall + 36, pad + column * (WIDTH + deletion_curves.GAP))
        for row in range(2)
        for column in range(2)
    ]


def test_flat_curves_lie_at_their_height_in_every_panel():
    sheet_HWC = draw_curves(benchmark(LEVELS), "a network")
    for top, left in panels(sheet_HWC):
        column = sheet_HWC[top : top + HEIGHT + 1, left + WIDTH // 3].astype(int)
        for method, level in LEVELS.items():
            far = np.abs(column - np.array(COLOURS[method])).sum(axis=1)
            assert far.min() < 40
            assert abs(int(far.argmin()) - (1 - level) * HEIGHT) <= 1.5


def test_a_baseline_has_two_curves_and_a_lower_sheet():
    three, two = draw_curves(benchmark(LEVELS), "t"), draw_curves(benchmark(["grad_cam", "random"]), "t")
    assert three.shape[1] == two.shape[1]
    assert three.shape[0] - two.shape[0] == 2 * 20
    assert not (two == np.array(COLOURS["attention"])).all(axis=2).any()
    assert (three == np.array(COLOURS["attention"])).all(axis=2).any()
