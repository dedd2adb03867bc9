"""The animation has one picture a frame, at the video's own pace."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.explain.animate import BAR, HEADER, MARGIN, SIDE, draw_frames, durations_ms, encode
from pipeline.explain.colour import jet, overlay, resized


def test_each_picture_holds_its_frame_its_heat_map_and_its_bar(make_explanation):
    explanation = make_explanation(frames=6)
    for frame, picture in enumerate(draw_frames(explanation)):
        top = MARGIN + HEADER
        assert (picture[top + 2, MARGIN + 5] == jet(explanation.temporal_T[frame : frame + 1])[0]).all()
        shown = resized(explanation.x_THWC[frame], SIDE, SIDE)
        rows = slice(top + BAR + 4, top + BAR + 4 + SIDE)
        assert (picture[rows, MARGIN : MARGIN + SIDE] == shown).all()
        right = picture[rows, -MARGIN - SIDE : -MARGIN]
        assert (right == overlay(shown, explanation.spatial_THW[frame])).all()


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_the_file_plays_every_frame_for_its_time_and_loops(make_explanation, form):
    explanation = make_explanation(frames=6, start=3)
    with Image.open(io.BytesIO(encode(explanation, form))) as image:
        assert image.n_frames == 6
        assert image.info["loop"] == 0
        seen = []
        for frame in range(6):
            image.seek(frame)
            image.load()
            seen.append(image.info["duration"])
            # Lossy, so close and not equal: GIF has 256 colours, WebP is compressed.
            drawn = np.asarray(image.convert("RGB")).astype(int)
            assert np.abs(drawn - draw_frames(explanation)[frame]).mean() < 12
    assert seen == [round(v, -1) if form == "gif" else v for v in durations_ms(explanation)]


def test_time_between_frames_is_the_videos_own(make_explanation):
    # 12 frames a second: 83 ms a frame; padding repeats a frame and gets the shortest time; the last one rests.
    assert durations_ms(make_explanation(frames=4)) == [83, 83, 83, 600]
    assert durations_ms(make_explanation(frames=4, padded=2)) == [83, 60, 60, 600]
