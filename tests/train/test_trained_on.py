"""A run's folder remembers its videos, so that other data are told video by video when the catalog is gone."""

from dataclasses import replace

import pytest

from pipeline.core.errors import UserError
from pipeline.data.feed.plan import Plan
from pipeline.data.store.catalog import CatalogRow, Passport, passport_of
from pipeline.train.trained_on import ROWS, TrainedOn, refuse_other_data

REST = {"classes": ("a", "b"), "codec": {"format": "jpeg"}, "short_side": 32}
THEN = tuple(
    CatalogRow(id=f"v{i}", path=f"far/v{i}.mp4", label=i % 2, split=("train",), status="readable", frames=9, shard="s")
    for i in range(4)
)
NOW = (replace(THEN[0], frames=7), *THEN[1:3], replace(THEN[3], id="v9"))


def test_what_differs_is_named_though_the_catalog_is_gone(tmp_path):
    data = TrainedOn(passport_of(THEN, **REST), str(tmp_path))
    data.keep(THEN)
    assert data.differences(passport_of(NOW, **REST), NOW) == (
        "1 videos are missing: v3",
        "1 videos are extra: v9",
        "frames differs in 1 of 3 videos: v0 (9 -> 7)",
    )
    assert data.differences(passport_of(THEN, **REST), THEN) == ()


def test_only_what_a_passport_compares_is_kept_and_kept_once(tmp_path):
    data = TrainedOn(passport_of(THEN, **REST), str(tmp_path))
    data.keep(THEN)
    assert passport_of(data.rows(), **REST) == data.passport
    assert {(row.path, row.shard, row.row) for row in data.rows()} == {("", "", -1)}
    written = (tmp_path / ROWS).stat().st_mtime_ns
    data.keep(NOW)
    assert (tmp_path / ROWS).stat().st_mtime_ns == written


@pytest.mark.parametrize("content", [None, b"half of a fi"])
def test_without_the_rows_columns_are_named(tmp_path, content):
    if content:
        (tmp_path / ROWS).write_bytes(content)
    for run in (str(tmp_path), ""):
        data = TrainedOn(passport_of(THEN, **REST), run)
        assert set(data.differences(passport_of(NOW, **REST), NOW)) == {"ids differs", "frames differs"}


def test_rows_that_show_no_difference_do_not_hide_that_the_passports_differ(tmp_path):
    data = TrainedOn(Passport("p", {"frames": "1"}), str(tmp_path))
    data.keep(THEN)
    assert data.differences(Passport("q", {"frames": "2"}), THEN) == ("frames differs",)


def test_a_feed_without_a_catalog_keeps_nothing(tmp_path):
    data = TrainedOn(Passport("p", {"ids": "1"}), str(tmp_path))
    data.keep(())
    assert not (tmp_path / ROWS).exists()
    assert data.differences(Passport("q", {"ids": "2"}), ()) == ("ids differs",)


def test_other_data_is_refused_with_all_that_differs():
    of_run = (TrainedOn(Passport("p", {"ids": "1", "codec": "2"}), ""), Plan(0, 10, 4, 2))
    refuse_other_data("The data", Passport("p", {"ids": "1", "codec": "2"}), Plan(0, 10, 4, 2), of_run=of_run)
    with pytest.raises(
        UserError, match=r"^The data is not of .*: codec differs; plan samples 10 -> 9; .*epochs 2 -> 3\."
    ):
        refuse_other_data("The data", Passport("q", {"ids": "1", "codec": "3"}), Plan(0, 9, 4, 3), of_run=of_run)
