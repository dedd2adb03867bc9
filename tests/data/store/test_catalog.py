import io
import random
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.store import catalog
from pipeline.data.store.catalog import PASSPORT_COLUMNS, CatalogRow, compare_passports, passport_of

REST = {"classes": ("a", "b"), "codec": {"format": "jpeg", "quality": 95}, "short_side": 256}


def rows(count=6):
    return tuple(
        CatalogRow(
            id=f"v{i}",
            path=f"videos/v{i}.webm",
            label=i % 2,
            split=("train", "test") if i % 3 else ("test", "train"),
            status="readable",
            frames=40 + i,
            fps=12.0,
            width=427,
            height=240,
            bytes=1000 + i,
            sha256=f"{i:064x}",
            decoder="decord",
            shard="shards/0.arrow",
            row=i,
        )
        for i in range(count)
    )


def bad(row, reason="truncated"):
    return replace(row, status="quarantined", reason=reason, frames=0, shard="", row=-1)


def test_rows_survive_parquet_and_the_bytes_are_the_same():
    given = (*rows(), bad(replace(rows()[0], id="x", label=-1)))
    data = catalog.to_parquet(given)
    assert catalog.from_parquet(data) == given
    assert catalog.to_parquet(given) == data
    assert catalog.from_parquet(catalog.to_parquet(())) == ()


def test_another_parquet_file_is_refused():
    file = io.BytesIO()
    pq.write_table(pa.table({"id": ["v0"]}), file)
    with pytest.raises(ValueError, match="the columns are"):
        catalog.from_parquet(file.getvalue())


def test_where_things_lie_is_no_part_of_the_passport():
    given = rows()
    moved = [replace(r, path="elsewhere/" + r.path, shard="shards/7.arrow", row=r.row + 3, note="x") for r in given]
    random.Random(0).shuffle(moved)
    assert passport_of(given, **REST) == passport_of(moved, **REST)


CHANGES = {
    "label": 5,
    "split": ("train", "train"),
    "status": "quarantined",
    "reason": "timeout",
    "frames": 1,
    "width": 1,
    "height": 1,
    "bytes": 1,
    "sha256": "0" * 64,
    "decoder": "pyav",
}


def test_every_compared_column_is_tried_below():
    assert set(CHANGES) == set(PASSPORT_COLUMNS)


@pytest.mark.parametrize("column", PASSPORT_COLUMNS)
def test_every_column_changes_the_passport_and_is_named(column):
    expected, actual = rows(), list(rows())
    actual[2] = replace(actual[2], **{column: CHANGES[column]})
    one, two = passport_of(expected, **REST), passport_of(actual, **REST)
    assert one.digest != two.digest
    assert compare_passports(one, two) == (f"{column} differs",)
    (line,) = compare_passports(one, two, expected, actual)
    assert line.startswith(f"{column} differs in 1 of 6 videos: v2 (")


@pytest.mark.parametrize(
    ("part", "value"), [("classes", ("b", "a")), ("codec", {"format": "jpeg", "quality": 90}), ("short_side", 128)]
)
def test_what_holds_for_all_videos_is_named(part, value):
    one, two = passport_of(rows(), **REST), passport_of(rows(), **{**REST, part: value})
    assert one.digest != two.digest
    assert compare_passports(one, two) == (f"{part} differs",)
    assert compare_passports(one, two, rows(), rows()) == (f"{part} differs",)


def test_equal_data_sets_have_nothing_to_tell():
    assert compare_passports(passport_of(rows(), **REST), passport_of(rows(), **REST)) == ()


def test_missing_extra_and_changed_videos_are_counted_and_named():
    expected = rows(8)
    actual = (
        *(replace(r, frames=r.frames + 1, sha256="f" * 64) for r in expected[:5]),
        expected[5],
        replace(expected[0], id="new"),
    )
    lines = compare_passports(passport_of(expected, **REST), passport_of(actual, **REST), expected, actual)
    assert lines == (
        "2 videos are missing: v6, v7",
        "1 videos are extra: new",
        "frames differs in 5 of 6 videos: v0 (40 -> 41), v1 (41 -> 42), v2 (42 -> 43) and 2 more",
        "sha256 differs in 5 of 6 videos: v0 (000000000000... -> ffffffffffff...), "
        "v1 (000000000000... -> ffffffffffff...), v2 (000000000000... -> ffffffffffff...) and 2 more",
    )
    without_catalogs = compare_passports(passport_of(expected, **REST), passport_of(actual, **REST))
    assert "ids differs" in without_catalogs


def test_counts_add_up():
    given = (*rows(), bad(replace(rows()[1], id="x")), bad(replace(rows()[1], id="y"), "empty"))
    counts = catalog.count(given)
    assert (counts.listed, counts.readable, counts.quarantined) == (8, 6, 2)
    assert counts.by_reason == {"empty": 1, "truncated": 1}
    assert counts.by_split == {"train/1": 4, "test/2": 4, "test/1": 2, "train/2": 2}
    one_fold = [replace(row, split=("train",)) for row in given]
    assert catalog.count(one_fold).by_split == {"train": 6}


@pytest.mark.parametrize("change", [{"shard": ""}, {"row": -1}, {"reason": "empty"}, {"status": "quarantined"}])
def test_a_video_that_is_neither_readable_nor_quarantined_cannot_be_counted(change):
    with pytest.raises(AssertionError, match="readable or quarantined"):
        catalog.count([replace(rows()[0], **change)])
