"""Batch health, counted by hand."""

from dataclasses import replace

import pytest

from pipeline.annotate.batches import BatchRow, read_batch, write_batch
from pipeline.core import storage
from pipeline.retrain.health import health_of

CLASSES = ("Lifting", "Moving", "Turning")
ROW = BatchRow(
    video_id="a",
    dataset="folder",
    label=0,
    num_frames=4,
    fps=12.0,
    scores=(0.0, 0.0, 0.5, 1.0),
    source=(0, 0, 0, 0),
    init="blank",
    annotators=("p1",),
    n_annotators=1,
    kappa=None,
    decision="single",
    model_version_shown="m",
    editor_version="1",
    submitted_at=1.0,
    seconds_spent=20.0,
)


@pytest.fixture
def health(tmp_path):
    def measure(*batches, **facts):
        manifests = [write_batch(str(tmp_path), rows, facts) for rows in batches]
        return health_of([read_batch(storage.join(str(tmp_path), m["batch"])) for m in manifests], CLASSES)

    return measure


def test_two_batches_are_counted_together(health):
    twice = {"annotators": ("p1", "p2"), "n_annotators": 2}
    found = health(
        [ROW, replace(ROW, video_id="b", label=2, scores=(None, None, 1.0, 1.0), kappa=0.5, **twice)],
        [replace(ROW, video_id="c", label=2, scores=(0.0,) * 4, kappa=0.9, **twice),
         replace(ROW, video_id="d", label=2, kappa=None, **twice)],
    )  # fmt: skip
    assert found.clips == 4
    assert found.doubled == 3
    assert found.kappa == pytest.approx(0.7)
    assert found.levels == pytest.approx((8 / 14, 2 / 14, 4 / 14))
    assert found.unset == pytest.approx(2 / 16)
    assert found.by_class == {"Lifting": 1, "Turning": 3}
    assert found.blank_by_class == {"Lifting": 0, "Turning": 1}
    assert found.flagged == 0.0


def test_values_between_levels_count_as_the_nearest(health):
    found = health([replace(ROW, scores=(0.2, 0.3, 0.7, 0.8))])
    assert found.levels == (0.25, 0.5, 0.25)


def test_steadiness_of_runs_and_of_flicker(health):
    steady = replace(ROW, num_frames=8, scores=(0.0,) * 4 + (1.0,) * 4, source=(0,) * 8)
    flicker = replace(steady, video_id="b", label=1, scores=(0.0, 1.0) * 4)
    found = health([steady, flicker])
    # Of 7 pairs of neighbours 4 in 7 differ when shuffled: 4 expected changes, 1 and 7 seen.
    assert found.steadiness_by_class == pytest.approx({"Lifting": 1 - 1 / 4, "Moving": 1 - 7 / 4})
    assert found.steadiness == pytest.approx(1 - 8 / 8)


def test_nobody_answered_twice_and_nothing_varies(health):
    found = health([replace(ROW, scores=(0.5,) * 4)])
    assert (found.kappa, found.doubled, found.steadiness, found.steadiness_by_class) == (None, 0, None, {})


def test_flagged_clips_are_a_share_of_all_that_people_saw(health):
    assert health([ROW], flagged=3).flagged == 0.75
