"""Data sets that people bring are what they are said to be."""

import pytest

from jobs.reproduce import main
from pipeline.core.errors import UserError
from pipeline.data.listing.sources import LOADERS
from pipeline.reproduce.catalogue import choose, world_of
from pipeline.reproduce.given import check_given, lacking
from pipeline.reproduce.world import DATA, PAPERS


def test_a_folder_without_a_prepared_data_set_is_told_with_what_was_received(tmp_path):
    (tmp_path / "manifest").touch()
    with pytest.raises(UserError) as error:
        check_given({"ucf101": str(tmp_path)})
    assert f"Received: {tmp_path}. Allowed: a folder or URI with manifest.json" in str(error.value)
    with pytest.raises(UserError, match="--name ucf101"):
        world_of([f"ucf101={tmp_path}"])


def test_another_data_set_is_refused_with_the_option_that_fits(tmp_path, lay_frames):
    given = lay_frames(tmp_path, "ssv2").replace("ssv2=", "ssv1=")
    with pytest.raises(UserError) as error:
        main(["s1-table-1", "--data", given, "--dry-run"])
    assert f"Received: {tmp_path}, which is ssv2. Allowed: ssv1. Fix: write ssv2={tmp_path}" in str(error.value)
    assert set(DATA) <= set(LOADERS), "names of data sets are those of their listings"


def test_tables_on_a_part_of_the_data_say_so(tmp_path, lay_frames):
    lay_frames(tmp_path / "v1", "ssv1", train=86_017, validation=11_522)
    lay_frames(tmp_path / "v2", "ssv2", train=100, validation=7)
    given = {"ssv1": str(tmp_path / "v1"), "ssv2": str(tmp_path / "v2")}
    (told,) = lacking(given).values()
    assert told.startswith("Something-Something V2 ")
    assert "train 100 of 168,913, validation 7 of 24,777" in told
    tables = choose(PAPERS, ["s1-table-1", "thesis-table-4.1"], given=given).tables
    assert told in tables["s1-table-1"].notes
    assert told not in tables["thesis-table-4.1"].notes


def test_the_first_fold_counts(tmp_path):
    (tmp_path / "manifest.json").write_text(
        '{"name": "hmdb51", "counts": {"by_split": {"test/1": 1530, "test/2": 9, "train/1": 3570, "train/2": 9}}}'
    )
    assert lacking({"hmdb51": str(tmp_path)}) == {}
