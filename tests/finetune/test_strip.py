"""The before-and-after strip: whose bar lies where, in which colour."""

import numpy as np
import pytest

from pipeline.data.store.prepared import PreparedDataset
from pipeline.eval.load import load
from pipeline.explain.colour import jet
from pipeline.finetune.strip import BAR, GAP, GUTTER, HEADER, LINE, MARGIN, draw, look


@pytest.fixture
def clip(tiny_root, tiny_checkpoint, make_checkpoint):
    video = PreparedDataset.open(tiny_root).videos("validation")[1]  # 5 frames, so 3 of the clip are padding
    network, again = load(tiny_checkpoint), load(tiny_checkpoint)
    edited_V = np.array([0.0, 1.0, np.nan, 0.5, 1.0], np.float32)
    return look({"before": network, "after": again}, tiny_root, video, edited_V)


def test_a_clip_is_shown_with_what_networks_and_people_say(clip):
    assert [row.name for row in clip.rows] == ["before", "after", "people"]
    assert [row.above for row in clip.rows] == [True, False, False]
    assert clip.rows[2].known_T.tolist() == [True, True, False, True, True, False, False, False]
    assert len(clip.verdicts) == 2
    np.testing.assert_array_equal(clip.rows[0].values_T, clip.rows[1].values_T)


def test_bars_have_the_colour_of_their_value_and_unset_frames_none(clip):
    tile = 60
    sheet = draw(clip, tile=tile, columns=4)
    top = MARGIN + HEADER + 2 * LINE + LINE
    places = {"before": top, "after": top + BAR + GAP + tile + GAP, "people": top + 2 * (BAR + GAP) + tile + GAP}
    for row in clip.rows:
        for t in range(4):
            x = MARGIN + GUTTER + t * (tile + GAP)
            corner_C = sheet[places[row.name] + 1, x + 1]
            expected_C = jet(row.values_T[t : t + 1])[0] if row.known_T[t] else sheet[0, 0]
            assert corner_C.tolist() == expected_C.tolist(), (row.name, t)
    assert sheet.dtype == np.uint8
