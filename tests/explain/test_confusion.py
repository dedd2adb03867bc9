"""The matrix's cells have the colour of their share, and the worst confusions are listed."""

import numpy as np
import pytest

from pipeline.eval.metrics import Counts
from pipeline.explain.confusion import EMPTY, HEADER, LABELS, MARGIN, draw_confusion, shade


def test_cells_are_coloured_by_the_share_of_their_row():
    counts = Counts(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), np.array([4, 2, 0]))
    sheet = draw_confusion(counts, ["a", "b", "c"], "title")

    def corner(true, predicted):  # a pixel of the cell that its number does not touch
        return sheet[MARGIN + HEADER + 44 * true + 3, MARGIN + LABELS + 44 * predicted + 3]

    assert (corner(0, 0) == shade(np.array(0.75))).all()
    assert (corner(0, 1) == shade(np.array(0.25))).all()
    assert (corner(1, 1) == shade(np.array(1.0))).all()
    assert tuple(corner(1, 0)) == (255, 255, 255)
    assert tuple(corner(2, 1)) == EMPTY


@pytest.mark.parametrize("classes", [2, 30, 31, 174])
def test_any_number_of_classes_fits(classes):
    counts = Counts(np.eye(classes, dtype=np.int64), np.ones(classes, np.int64))
    sheet = draw_confusion(counts, [f"class {k}" for k in range(classes)], "title " * 60)
    for border in (sheet[:20], sheet[-10:], sheet[:, :20], sheet[:, -10:]):
        assert (border == 255).all()


def test_shades_run_from_white_to_full_and_never_brighten():
    ramp = shade(np.linspace(0, 1, 50)).astype(int)
    assert ramp[0].tolist() == [255, 255, 255]
    assert ramp[-1].tolist() == [8, 48, 107]
    assert (np.diff(ramp, axis=0) <= 0).all()
