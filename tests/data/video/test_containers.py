import io

import pytest

from pipeline.data.video.containers import Container, inspect


@pytest.fixture(scope="module")
def files(tmp_path_factory, make_video):
    folder = tmp_path_factory.mktemp("containers")
    return {kind: make_video(folder / f"v.{kind}").read_bytes() for kind in ("avi", "mp4", "webm")}


KINDS = {"avi": "avi", "mp4": "mp4", "webm": "matroska"}


@pytest.mark.parametrize("suffix", KINDS)
def test_a_whole_file_is_whole(files, suffix):
    assert inspect(io.BytesIO(files[suffix])) == Container(KINDS[suffix], "", sized=True)


@pytest.mark.parametrize("suffix", KINDS)
def test_every_cut_is_seen(files, suffix):
    whole = files[suffix]
    for end in [*range(16, len(whole) - 2, max(1, len(whole) // 97)), len(whole) - 2]:
        found = inspect(io.BytesIO(whole[:end]))
        assert found.kind == KINDS[suffix]
        assert found.missing, end


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("tail", [b"appended by another program", bytes(50), b"\xff" * 50])
def test_bytes_after_the_end_are_no_matter(files, suffix, tail):
    assert inspect(io.BytesIO(files[suffix] + tail)).missing == ""


def test_the_last_pad_byte_of_an_avi_is_no_matter():
    odd = b"RIFF" + (7).to_bytes(4, "little") + b"AVI " + b"abc"
    assert inspect(io.BytesIO(odd)).missing == ""
    assert inspect(io.BytesIO(odd + b"\0")).missing == ""
    assert inspect(io.BytesIO(odd[:-1])).missing.startswith("2 of the 16 bytes")


def test_an_opendml_avi_is_a_row_of_riff_chunks(files):
    whole = files["avi"]
    second = b"RIFF" + (12).to_bytes(4, "little") + b"AVIX" + b"LIST1234"
    assert inspect(io.BytesIO(whole + second)).missing == ""
    assert inspect(io.BytesIO(whole + second[:-4])).missing.startswith("4 of the")


def test_a_riff_that_leaves_its_size_open_is_not_short():
    assert inspect(io.BytesIO(b"RIFF" + b"\xff" * 4 + b"AVI " + bytes(100))).missing == ""


def test_an_mp4_may_leave_its_last_box_open_and_use_long_sizes():
    moov = (8).to_bytes(4, "big") + b"moov"
    ftyp = (16).to_bytes(4, "big") + b"ftyp" + bytes(8)
    long = (1).to_bytes(4, "big") + b"mdat" + (20).to_bytes(8, "big") + b"data"
    last = bytes(4) + b"mdat" + b"data until the end"
    assert inspect(io.BytesIO(ftyp + moov + long + last)).missing == ""
    assert inspect(io.BytesIO(ftyp + moov + long[:-1])).missing == "1 bytes of the last box"
    assert inspect(io.BytesIO(ftyp + long)).missing == "the index (moov box)"


def test_a_live_webm_is_judged_by_its_clusters():
    head = b"\x1aE\xdf\xa3\x80" + b"\x18\x53\x80\x67" + b"\x01" + b"\xff" * 7
    cluster = b"\x1f\x43\xb6\x75" + b"\x84" + b"body"
    assert inspect(io.BytesIO(head + cluster)) == Container("matroska", "", sized=False)
    assert inspect(io.BytesIO(head + cluster + cluster[:-1])).missing == "1 bytes of the last cluster"


@pytest.mark.parametrize("content", [b"", b"x", b"hello, this is text", bytes(100), b"RIFF1234WAVE"])
def test_anything_else_is_left_to_the_demuxers(content):
    assert inspect(io.BytesIO(content)) == Container("other", "", sized=False)
