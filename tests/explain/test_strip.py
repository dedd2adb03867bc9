"""Every tile of the strip holds the pixels that its values demand."""

import numpy as np
import pytest

from pipeline.explain.canvas import shortened, text_width
from pipeline.explain.colour import jet, overlay, resized
from pipeline.explain.explanation import minmax
from pipeline.explain.strip import ACTIVE, BAR, IDLE, StripStyle, draw_strip, geometry


def test_bars_frames_heat_maps_and_truth_are_where_the_geometry_says(explanation):
    style = StripStyle(tile=64)
    sheet, where = draw_strip(explanation, style), geometry(explanation, style)
    assert sheet.shape == (where.height, where.width, 3)
    for frame in range(32):
        y, x = where.bar(frame)
        colour = jet(explanation.temporal_T[frame : frame + 1])[0]
        assert (sheet[y, x : x + 64] == colour).all()
        assert (sheet[y + BAR - 1, x : x + 64] == colour).all()
        y, x = where.picture(frame)
        assert (sheet[y : y + 64, x : x + 64] == explanation.x_THWC[frame]).all()
        y, x = where.heat(frame)
        expected = overlay(explanation.x_THWC[frame], explanation.spatial_THW[frame])
        assert (sheet[y : y + 64, x : x + 64] == expected).all()
        y, x = where.activity(frame)
        assert tuple(sheet[y + 5, x + 30]) == (ACTIVE if frame % 3 == 0 else IDLE)


def test_frames_wrap_into_rows_of_eight_without_overlap(explanation):
    where = geometry(explanation, StripStyle())
    corners = [where.corner(frame) for frame in range(32)]
    assert len({y for y, _ in corners}) == 4
    assert len({x for _, x in corners}) == 8
    ys = sorted({y for y, _ in corners})
    assert min(np.diff(ys)) > where.block
    assert corners[8][1] == corners[0][1]
    last_y, last_x = where.heat(31)
    assert last_y + where.tile < where.height
    assert last_x + where.tile <= where.width


@pytest.mark.parametrize("frames", [1, 4, 8, 9, 16])
def test_other_lengths_fit_their_sheet(make_explanation, frames):
    sheet = draw_strip(make_explanation(frames, active=False, label=None))
    assert sheet.shape[1] >= 980
    assert (sheet[:20] == 255).all()
    assert (sheet[-8:] == 255).all()


def test_tile_size_resizes_the_frame(explanation):
    style = StripStyle(tile=40)
    sheet, where = draw_strip(explanation, style), geometry(explanation, style)
    y, x = where.picture(5)
    assert (sheet[y : y + 40, x : x + 40] == resized(explanation.x_THWC[5], 40, 40)).all()


def test_stretch_changes_colours_but_not_the_printed_numbers_or_the_data(make_explanation):
    explanation = make_explanation()
    explanation.temporal_T[:] = np.linspace(0.4, 0.6, 32)
    before = explanation.temporal_T.copy()
    style = StripStyle(tile=64, stretch=True)
    sheet, where = draw_strip(explanation, style), geometry(explanation, style)
    for frame, value in ((0, 0.0), (31, 1.0)):
        y, x = where.bar(frame)
        assert (sheet[y, x] == jet(np.array(value))).all()
    y, x = where.heat(3)
    expected = overlay(explanation.x_THWC[3], minmax(explanation.spatial_THW)[3])
    assert (sheet[y : y + 64, x : x + 64] == expected).all()
    assert (explanation.temporal_T == before).all()


def test_padding_is_faded(make_explanation):
    explanation = make_explanation(padded=5)
    style = StripStyle(tile=64)
    sheet, where = draw_strip(explanation, style), geometry(explanation, style)
    y, x = where.picture(26)
    assert sheet[y : y + 64, x : x + 64].min() < 60
    y, x = where.picture(27)
    assert sheet[y : y + 64, x : x + 64].min() >= 170


def test_a_long_class_name_is_cut_to_the_room_it_has():
    text = "Failing to put something into something because something does not fit"
    cut = shortened(text, 300, 20)
    assert cut.endswith("…")
    assert text.startswith(cut[:-1])
    assert text_width(cut, 20) <= 300 < text_width(text, 20)
    assert shortened("short", 300, 20) == "short"


def test_minmax_leaves_a_constant_alone():
    assert (minmax(np.full(4, 0.3, np.float32)) == np.float32(0.3)).all()
