from types import SimpleNamespace

import pytest

from pipeline.data.prepare.progress import Progress, duration, summary
from pipeline.data.prepare.run import Report
from pipeline.data.store.catalog import CatalogRow, Counts


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 00 s"),
        (750, "12 min 30 s"),
        (3599.6, "1 h 00 min"),
        (11_100, "3 h 05 min"),
    ],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_a_line_comes_every_few_seconds_and_one_at_the_end():
    lines, time = [], SimpleNamespace(now=100.0)
    progress = Progress(1000, lines.append, every_s=5, clock=lambda: time.now)
    for second in range(1, 20):
        time.now = 100.0 + second
        progress(50 * second, second // 4)
    time.now = 120.5
    progress(1000, 5)
    progress(1000, 5)
    assert lines == [
        "250 of 1,000 videos (25.0%), 50.0 a second, 15 s left, 1 quarantined",
        "500 of 1,000 videos (50.0%), 50.0 a second, 10 s left, 2 quarantined",
        "750 of 1,000 videos (75.0%), 50.0 a second, 5 s left, 3 quarantined",
        "1,000 of 1,000 videos (100.0%), 48.7 a second, in 20 s, 5 quarantined",
    ]


def test_nothing_is_said_before_the_first_video():
    lines, time = [], SimpleNamespace(now=0.0)
    progress = Progress(10, lines.append, clock=lambda: time.now)
    time.now = 60.0
    progress(0, 0)
    assert lines == []


def test_the_pace_is_counted_from_the_first_video_on():
    lines, time = [], SimpleNamespace(now=0.0)
    progress = Progress(103, lines.append, every_s=5, clock=lambda: time.now)
    for time.now, done in [(20.0, 3), (30.0, 53)]:  # the cluster took twenty seconds to start
        progress(done, 0)
    assert lines == [
        "3 of 103 videos (2.9%), 0 quarantined",
        "53 of 103 videos (51.5%), 5.0 a second, 10 s left, 0 quarantined",
    ]


def row(number, **values):
    return CatalogRow(id=f"v{number}", path=f"v{number}.webm", label=0, split=("train",), **values)


def test_the_summary_adds_up_and_names_examples():
    bad = [row(i, status="quarantined", reason="truncated", detail=f"lacks {i} bytes") for i in range(5)]
    counts = Counts(1205, 1200, 5, {"truncated": 5}, {"train": 1000, "validation": 200})
    noted = (row(9, status="readable", note="decord failed"),)
    text = summary(Report(counts, tuple(bad), noted, "abc", 2, 17, True), "s3://bucket/x")
    assert text.splitlines() == [
        "2 shards written, 17 were up to date.",
        "1,205 videos listed = 1,200 readable + 5 quarantined",
        "  train: 1,000 readable",
        "  validation: 200 readable",
        "  truncated: 5",
        "    v0.webm: lacks 0 bytes",
        "    v1.webm: lacks 1 bytes",
        "    v2.webm: lacks 2 bytes",
        "    and 2 more, all in quarantine.parquet",
        "1 readable videos carry a note, such as v9.webm: decord failed",
        "passport abc",
        "prepared data set s3://bucket/x",
    ]


def test_the_summary_says_when_there_was_nothing_to_do():
    text = summary(Report(Counts(3, 3, 0, {}, {"train": 3}), (), (), "abc", 0, 1, False), "/data")
    assert text.splitlines()[0] == "Nothing to do: everything is up to date."
