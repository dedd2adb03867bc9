"""From sealed batches to targets: what counts as a person's word, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data.config import ClipConfig
from pipeline.data.feed.sampling import view_indices
from pipeline.data.records import PreparedVideo
from pipeline.finetune.edits import check_edits, read_edits, targets

RAMP = tuple(i / 16 for i in range(12))


def test_flipping_one_byte_of_any_file_of_a_batch_stops_with_its_name(sealed, row):
    folder = Path(sealed(row("train-0", 12, 0)))
    for file in sorted(folder.iterdir()):
        whole = file.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(UserError, match=rf"damaged.*{file.name}"):
                read_edits([str(folder)])
        file.write_bytes(whole)
    assert read_edits([str(folder)]).rows == 1


def test_targets_are_gathered_by_the_frames_of_the_clip_and_padding_is_masked(sealed, row):
    edits = read_edits([sealed(row("a", 12, 0, scores=RAMP), row("short", 5, 1, scores=RAMP[:5], source=(0,) * 5))])
    for sampling in ("dense", "uniform"):
        clip = ClipConfig(frames=8, sampling=sampling, size=32, short_side=32)
        (a_T, valid_a_T), (short_T, valid_short_T) = (view_indices(frames, clip, 0, 1) for frames in (12, 5))
        target_BT, mask_BT = targets(
            edits.train,
            ("a", "unknown", "short"),
            np.stack([a_T, a_T, short_T]),
            np.stack([valid_a_T, valid_a_T, valid_short_T]),
        )
        assert target_BT[0].tolist() == [RAMP[i] for i in a_T]
        assert not mask_BT[1].any()
        assert mask_BT[2].tolist() == valid_short_T.tolist()
        assert target_BT[2][valid_short_T].tolist() == [RAMP[i] for i in short_T[valid_short_T]]
        assert valid_short_T.all() == (sampling == "uniform")
    assert target_BT.dtype == np.float32


def test_only_frames_that_a_person_set_count(sealed, row):
    scores = (0.0, 0.5, 1.0, None, 0.75)
    edits = read_edits([sealed(row("v", 5, 1, scores=scores, source=(0, 1, 2, None, 2)))])
    edit = edits.train["v"]
    assert edit.set_V.tolist() == [True, True, False, False, False]
    assert edit.scores_V.tolist() == [0.0, 0.5, 0.0, 0.0, 0.0]


def test_the_last_answer_counts_and_a_video_held_out_once_is_never_trained_on(sealed, row):
    first = sealed(
        row("a", 2, 0, scores=(0.0, 0.0), source=(0, 0), submitted_at=5.0),
        row("b", 2, 1, source=(0, 0), scores=(1.0, 1.0), split="heldout_edit"),
    )
    second = sealed(
        row("a", 2, 0, scores=(1.0, 1.0), source=(0, 0), submitted_at=4.0),
        row("b", 2, 1, source=(0, 0), scores=(0.0, 1.0), submitted_at=9.0),
        row("c", 2, 4, source=(0, 0), scores=(0.0, 1.0)),
    )
    edits = read_edits([second, first, second])
    assert sorted(edits.train) == ["a", "c"]
    assert edits.train["a"].scores_V.tolist() == [0.0, 0.0]
    assert edits.heldout["b"].scores_V.tolist() == [0.0, 1.0]
    assert (edits.rows, edits.superseded, edits.classes) == (5, 2, (0, 1, 4))
    assert edits.rows == len(edits.train) + len(edits.heldout) + edits.superseded
    assert "2 edited videos to train on (4 frames" in edits.sentence()


def test_nothing_to_train_on_is_refused(sealed, row):
    with pytest.raises(UserError, match=r"no edit to train on.*1 videos held out"):
        read_edits([sealed(row("a", 3, 0, split="heldout_edit"))])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scores": (0.5, 1.5, 0.0)}, "from 0 to 1.5"),
        ({"scores": (0.5, 1.0), "source": (0, 0)}, "2 scores"),
        ({"index_base": 1}, "counted from 0"),
    ],
)
def test_scores_that_are_no_answer_are_refused(sealed, row, values, words):
    with pytest.raises(UserError, match=f"video v are no answer.*{words}"):
        read_edits([sealed(row("v", 3, 0, **values))])


def test_edited_videos_that_are_not_the_ones_trained_on_are_named(sealed, row):
    held = row("held", 4, 0, split="heldout_edit")
    edits = read_edits([sealed(row("a", 3, 0), row("b", 3, 0), row("c", 3, 2), row("d", 3, 1), held)])
    videos = [PreparedVideo(*facts, "s", 0) for facts in (("a", 0, 3), ("b", 0, 4), ("c", 1, 3), ("held", 0, 4))]
    with pytest.raises(UserError, match=r"^3 edited videos do not fit split train") as refused:
        check_edits(edits, videos, "split train")
    text = str(refused.value)
    assert "b has 4 frames and class 0, edited with 3 frames as class 0" in text
    assert "c has 3 frames and class 1, edited with 3 frames as class 2" in text
    assert "d is not in it" in text
    mended = {"b": (0, 3), "c": (2, 3), "d": (1, 3)}
    right = [PreparedVideo(name, *facts, "s", 0) for name, facts in mended.items()]
    check_edits(edits, [videos[0], *right, videos[3]], "split train")
