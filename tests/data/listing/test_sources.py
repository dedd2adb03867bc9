"""Names lead to parsers, and absent videos are counted and named, whatever the file system."""

import pytest

from pipeline.core.errors import UserError
from pipeline.data.listing.sources import load_listing, missing_files, require_files
from pipeline.data.records import Listing, VideoRecord


def listing(root: str, *paths: str) -> Listing:
    records = tuple(VideoRecord(id=path, path=path, label=0, split=("train",)) for path in paths)
    return Listing(name="folder", root=root, classes=("a",), records=records)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="ssv2, ssv1, ucf101, hmdb51, folder"):
        load_listing("kinetics", ".")


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_missing_files_are_found_in_listed_order(tmp_path, scheme):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "2.avi").touch()
    (tmp_path / "frames").mkdir()
    (tmp_path / "1.webm").touch()
    listed = listing(f"{scheme}{tmp_path}", "y/3.avi", "1.webm", "x/2.avi", "frames", "x/0#%.avi")
    assert [r.path for r in missing_files(listed)] == ["y/3.avi", "x/0#%.avi"]


def test_the_error_counts_and_names_the_first(tmp_path):
    listed = listing(str(tmp_path), *(f"{n}.webm" for n in range(8)))
    (tmp_path / "3.webm").touch()
    with pytest.raises(UserError, match=r"7 of 8 .*0\.webm, 1\.webm, 2\.webm, 4\.webm, 5\.webm \.\.\.") as error:
        require_files(listed)
    assert "6.webm" not in str(error.value)
    assert require_files(listing(str(tmp_path), "3.webm")) is None
