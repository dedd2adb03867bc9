"""Reading official text files: marks, line ends, blanks, and what no data set may contain."""

import pytest

from pipeline.core.errors import UserError
from pipeline.data.listing import official
from pipeline.data.records import HIDDEN_LABEL, VideoRecord


def record(number, label=0):
    return VideoRecord(id=str(number), path=f"{number}.webm", label=label, split=("train",))


def test_lines_keep_their_numbers_without_marks_carriage_returns_and_blank_lines(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfone \r\n\r\n two\nthree")
    assert official.read_lines(str(tmp_path / "list.txt")) == [(1, "one"), (3, "two"), (4, "three")]


def test_other_encodings_are_named_with_the_byte(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"abc\xff")
    with pytest.raises(UserError, match=r"not UTF-8.*byte 3"):
        official.read_text(str(tmp_path / "list.txt"))


def test_the_first_folder_and_name_that_exist_win_and_a_missing_file_is_named_with_where_it_was_looked_for(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "y.txt").write_text("")
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert official.require_file(folders, ["x.txt", "y.txt"], "classes") == str(tmp_path / "b" / "y.txt")
    with pytest.raises(UserError) as error:
        official.require_file(folders, ["z.txt"], "classes")
    assert all(part in str(error.value) for part in ("with classes", *folders, "z.txt"))


@pytest.mark.parametrize(
    ("classes", "records", "words"),
    [
        ([], [record(1)], "0 classes, 1 videos"),
        (["a", "a"], [record(1)], "class of set is named twice"),
        (["a"], [record(1), record(1)], "video of set is listed twice"),
        (["a"], [record(1, label=1)], "out of range"),
    ],
)
def test_an_impossible_listing_is_refused(classes, records, words):
    with pytest.raises(UserError, match=words):
        official.checked_listing("set", "/root", classes, records)


def test_a_hidden_label_is_no_label_out_of_range():
    assert official.checked_listing("set", "/root", ["a"], [record(1, HIDDEN_LABEL)]).records[0].label == HIDDEN_LABEL
